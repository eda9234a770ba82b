package vault

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/fips"
)

// PKIConfig names an issuer of a PKI engine.
type PKIConfig struct {
	Client *vault.Client
	Mount  string
	Issuer string // name or id of the issuer; "" uses the mount's default by the classic paths
	Policy fips.Policy
}

// PKI has Vault sign. It implements ca.Root and is safe for concurrent use.
type PKI struct{ c PKIConfig }

var _ ca.Root = (*PKI)(nil)

// NewPKI checks c. It asks no server.
func NewPKI(c PKIConfig) (*PKI, error) {
	if c.Client == nil {
		return nil, fmt.Errorf("root: there is no connection to vault")
	}
	if err := vault.CheckMount(c.Mount); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if c.Issuer != "" {
		if err := vault.CheckName(c.Issuer); err != nil {
			return nil, fmt.Errorf("root: issuer: %w", err)
		}
	}
	return &PKI{c: c}, nil
}

// issuer is the certificate that signs, and what stands above it.
type issuer struct {
	cert   *x509.Certificate
	above  []*x509.Certificate // between cert and the anchor
	anchor *x509.Certificate   // cert itself, when that is self-signed
}

// Anchor implements ca.Root. It needs no permission: Vault publishes its issuers.
func (p *PKI) Anchor(ctx context.Context) (*x509.Certificate, error) {
	i, err := p.issuer(ctx)
	if err != nil {
		return nil, err
	}
	return i.anchor, nil
}

// SignPath is the path that signs an intermediate.
func (p *PKI) SignPath() string {
	if p.c.Issuer == "" {
		return p.c.Mount + "/root/sign-intermediate"
	}
	return p.c.Mount + "/issuer/" + p.c.Issuer + "/sign-intermediate"
}

func (p *PKI) issuer(ctx context.Context) (*issuer, error) {
	path := p.c.Mount + "/issuer/" + p.c.Issuer + "/json"
	if p.c.Issuer == "" {
		path = p.c.Mount + "/cert/ca_chain"
	}
	data, err := p.c.Client.Do(ctx, vault.Request{Operation: "read_issuer", Method: http.MethodGet, Path: path, Anonymous: true})
	if ca.ReasonOf(err) == ca.ReasonRootDenied { // everybody may read it, where it is
		return nil, &ca.Error{Reason: ca.ReasonRootMissing, Err: fmt.Errorf("PKI engine %s: %w: %w", p.c.Mount, vault.ErrAway, err)}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the root's issuer: %w", err)
	}
	// The classic path has the whole chain in one text, the other a list.
	texts := append([]string{data.Text("certificate")}, data.Texts("ca_chain")...)
	certs, err := parseChain(texts)
	if err != nil {
		return nil, &ca.Error{Reason: ca.ReasonRootAnswer, Err: fmt.Errorf("reading the root's issuer: %w", err)}
	}
	if len(certs) == 0 {
		return nil, ca.Refuse(ca.ReasonRootMissing, "mount %s has no issuer %q; make one with ca init", p.c.Mount, p.c.Issuer)
	}
	above, anchor := splitAnchor(certs)
	if anchor == nil {
		return nil, ca.Refuse(ca.ReasonRootMismatch, "the chain of issuer %q has no self-signed end; import the root's certificate into mount %s", p.c.Issuer, p.c.Mount)
	}
	return &issuer{cert: certs[0], above: above, anchor: anchor}, nil
}

// SignIntermediate implements ca.Root.
func (p *PKI) SignIntermediate(ctx context.Context, der []byte, request ca.IntermediateRequest) ([]*x509.Certificate, error) {
	csr, err := ca.CheckIntermediateCSR(der, p.c.Policy, request.NotAfter)
	if err != nil {
		return nil, fmt.Errorf("signing intermediate: %w", err)
	}
	i, err := p.issuer(ctx)
	if err != nil {
		return nil, err
	}
	body, err := p.signBody(i, csr, request)
	if err != nil {
		return nil, fmt.Errorf("signing intermediate: %w", err)
	}
	data, err := p.c.Client.Do(ctx, vault.Request{Operation: "sign_intermediate", Method: http.MethodPost, Path: p.SignPath(), Body: body})
	if err != nil {
		return nil, fmt.Errorf("signing intermediate: %w", err)
	}
	signed, err := parseChain([]string{data.Text("certificate")})
	if err != nil || len(signed) != 1 {
		return nil, ca.Refuse(ca.ReasonRootAnswer, "signing intermediate: the answer does not have one certificate: %v", err)
	}
	// The one field that Check cannot judge: other roots choose it themselves.
	if keyID, err := fips.KeyIDFromSPKI(csr.RawSubjectPublicKeyInfo); err != nil || !bytes.Equal(keyID, signed[0].SubjectKeyId) {
		return nil, ca.Refuse(ca.ReasonRootMismatch, "signing intermediate: its subject key id is %x, not the one asked for", signed[0].SubjectKeyId)
	}
	chain := signed
	if !isSelfSigned(i.cert) {
		chain = append(append(chain, i.cert), i.above...)
	}
	err = ca.SignedIntermediate{Chain: chain, Anchor: i.anchor, CSR: csr, Request: request, Policy: p.c.Policy}.Check()
	if err != nil {
		return nil, err
	}
	return chain, nil
}

// signBody asks for exactly the intermediate of docs/certificate-spec.md. Nothing
// is taken from the request but its key (use_csr_values=false), and the subject
// key id is ours: Vault's own is a SHA-1.
func (p *PKI) signBody(i *issuer, csr *x509.CertificateRequest, request ca.IntermediateRequest) (map[string]any, error) {
	keyID, err := fips.KeyIDFromSPKI(csr.RawSubjectPublicKeyInfo)
	if err != nil {
		return nil, err
	}
	end := request.NotAfter
	for _, above := range append([]*x509.Certificate{i.cert, i.anchor}, i.above...) {
		if above.NotAfter.Before(end) {
			end = above.NotAfter
		}
	}
	body := map[string]any{
		"csr":         string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr.Raw})),
		"common_name": "Intermediate " + hex.EncodeToString(keyID[:8]), "organization": "Kedge",
		"uri_sans": request.TrustDomain.URI(), "exclude_cn_from_sans": true, "use_csr_values": false,
		"max_path_length": 0, "skid": hex.EncodeToString(keyID), "format": "pem",
		"not_after":           end.UTC().Format(time.RFC3339),
		"not_before_duration": fmt.Sprintf("%ds", int(ca.CABackdate/time.Second)),
	}
	if _, isRSA := i.cert.PublicKey.(*rsa.PublicKey); isRSA {
		scheme, err := p.c.Policy.SchemeFor(i.cert.PublicKey)
		if err != nil {
			return nil, err
		}
		body["signature_bits"] = 8 * scheme.Hash.Size()
	}
	return body, nil
}

// parseChain reads the certificates of several PEM texts, each once.
func parseChain(texts []string) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for rest := []byte(strings.Join(texts, "\n")); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return chain, nil
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a PEM block is a %.40q, not a certificate", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if !contains(chain, cert) {
			chain = append(chain, cert)
		}
		if len(chain) > maxChain {
			return nil, fmt.Errorf("there are more than %d certificates in the chain", maxChain)
		}
	}
}

// maxChain bounds what stands above an intermediate.
const maxChain = 8

func contains(chain []*x509.Certificate, cert *x509.Certificate) bool {
	for _, c := range chain {
		if bytes.Equal(c.Raw, cert.Raw) {
			return true
		}
	}
	return false
}

// splitAnchor finds the self-signed end of a chain, and what is between it and
// the first certificate.
func splitAnchor(chain []*x509.Certificate) (between []*x509.Certificate, anchor *x509.Certificate) {
	for n, cert := range chain {
		if isSelfSigned(cert) {
			return chain[min(1, n):n], cert
		}
	}
	return nil, nil
}

func isSelfSigned(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }
