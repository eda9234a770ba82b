package vault

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/fips"
)

// warnIssuer is how long before its end a certificate above an intermediate is a
// warning: replacing an anchor takes weeks.
const warnIssuer = 60 * 24 * time.Hour

// Preflight looks at the issuer and tries the permission to sign with a request
// that Vault cannot sign: nothing is made.
func (p *PKI) Preflight(ctx context.Context, now time.Time) []ca.Finding {
	var findings []ca.Finding
	i, err := p.issuer(ctx)
	if err != nil {
		findings = append(findings, vault.Failed("root-issuer", p.c.Mount, err, "check mount, issuer and namespace, or make the root with ca init"))
	} else {
		chain := append([]*x509.Certificate{i.cert}, i.above...)
		if !isSelfSigned(i.cert) {
			chain = append(chain, i.anchor)
		}
		findings = append(findings, ca.Finding{
			ID: "root-issuer", Level: ca.LevelOK, Subject: p.c.Mount, Detail: fmt.Sprintf("signs under anchor %.8s (%s)", ca.AnchorIDOf(i.anchor), i.anchor.Subject.CommonName),
		})
		findings = append(findings, chainLife(chain, now)...)
	}
	err = p.trySigning(ctx)
	permission := vault.Permission(p.Rules()[0], err)
	if ca.ReasonOf(err) == ca.ReasonRootRefused && !isOfTheRequest(err) {
		permission = vault.Failed("root-issuer", p.c.Issuer, err, "give the issuer its key and the usage issuing-certificates back")
	}
	return append(findings, permission)
}

// trySigning asks for a signature under a request that is none.
func (p *PKI) trySigning(ctx context.Context) error {
	_, err := p.c.Client.Do(ctx, vault.Request{
		Operation: "preflight", Method: http.MethodPost, Path: p.SignPath(), Body: map[string]any{"csr": "kedge preflight"},
	})
	return err
}

// isOfTheRequest tells whether Vault refuses the request that is none, which it
// reads after it has found an issuer that can sign.
func isOfTheRequest(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "csr") || strings.Contains(text, "certificate request")
}

// Permitted tells whether the token may have intermediates signed, also by an issuer
// that is still to be made.
func (p *PKI) Permitted(ctx context.Context) error { return denied(p.trySigning(ctx), p.Rules()[0]) }

// Permitted tells whether the token may use the key, also one that is still to be
// made.
func (t *Transit) Permitted(ctx context.Context) error {
	rules := t.Rules()
	for _, try := range []struct {
		rule vault.Rule
		call vault.Request
	}{
		{rules[0], vault.Request{Operation: "preflight", Method: http.MethodGet, Path: t.c.Mount + "/keys/" + t.c.Key}},
		{rules[1], vault.Request{Operation: "preflight", Method: http.MethodPost, Path: t.c.Mount + "/sign/" + t.c.Key + "/sha2-256", Body: map[string]any{}}},
	} {
		if _, err := t.c.Client.Do(ctx, try.call); err != nil {
			if err := denied(err, try.rule); err != nil {
				return err
			}
		}
	}
	return nil
}

// denied keeps of an error whether the server permits, or could not be asked.
func denied(err error, r vault.Rule) error {
	switch ca.ReasonOf(err) {
	case ca.ReasonRootDenied:
		return fmt.Errorf("the login of the server lacks a line of its policy: %s: %w", r.HCL(), err)
	case ca.ReasonRootRefused, ca.ReasonRootMissing:
		return nil // permitted; there is nothing to use yet
	}
	return err
}

// chainLife judges what is left of each certificate above an intermediate.
func chainLife(chain []*x509.Certificate, now time.Time) []ca.Finding {
	var findings []ca.Finding
	for _, cert := range chain {
		left := cert.NotAfter.Sub(now)
		f := ca.Finding{ID: "root-chain-life", Level: ca.LevelOK, Subject: cert.Subject.CommonName, Detail: fmt.Sprintf("ends in %d days", int(left.Hours()/24))}
		switch {
		case left <= 0:
			f.Level, f.Detail, f.Next = ca.LevelFail, fmt.Sprintf("ended at %s", cert.NotAfter.UTC().Format(time.RFC3339)), "ca repair"
		case left < warnIssuer:
			f.Level, f.Next = ca.LevelWarn, "rotate it now: it takes weeks to reach every workload"
		}
		findings = append(findings, f)
	}
	return findings
}

// Preflight looks at the key and has it sign a sentence that is no certificate.
func (t *Transit) Preflight(ctx context.Context, now time.Time) []ca.Finding {
	anchor, err := t.c.Anchor()
	if err != nil {
		return []ca.Finding{vault.Failed("root-issuer", t.c.Key, err, "run ca init, or restore the root's certificate")}
	}
	findings := []ca.Finding{{
		ID: "root-issuer", Level: ca.LevelOK, Subject: t.c.Mount, Detail: fmt.Sprintf("signs under anchor %.8s (%s)", ca.AnchorIDOf(anchor), anchor.Subject.CommonName),
	}}
	findings = append(findings, chainLife([]*x509.Certificate{anchor}, now)...)
	rules := t.Rules()
	key, _, err := t.Key(ctx)
	if ca.ReasonOf(err) == ca.ReasonRootDenied {
		return append(findings, vault.Permission(rules[0], err))
	}
	if err != nil {
		return append(findings, vault.Failed("root-key", t.c.Key, err, "compare key and keyVersion with the server"))
	}
	findings = append(findings, vault.Permission(rules[0], nil), ca.Finding{
		ID: "root-key", Level: ca.LevelOK, Subject: t.c.Key, Detail: fmt.Sprintf("version %d is the key of the certificate and cannot leave the server", key.Version()),
	})
	scheme, err := t.c.Policy.SchemeFor(key.Public())
	if err == nil {
		_, err = fips.Sign(key, scheme, []byte("kedge preflight: this is no certificate"))
	}
	return append(findings, vault.Permission(rules[1], err))
}
