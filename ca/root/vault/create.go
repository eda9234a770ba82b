package vault

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/kedge-ca/kedge/ca"
	transit "github.com/kedge-ca/kedge/ca/keystore/vault"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/fips"
)

// NewRoot is what a root that is made in Vault shall be.
type NewRoot struct {
	TrustDomain ca.TrustDomain
	KeyType     fips.KeyType
	Now         time.Time
	Policy      fips.Policy
}

// pkiKeys are the PKI engine's names of our kinds of keys.
var pkiKeys = map[fips.KeyType]struct {
	kind string
	bits int
}{
	fips.ECDSAP256: {"ec", 256}, fips.ECDSAP384: {"ec", 384}, fips.RSA3072: {"rsa", 3072}, fips.RSA4096: {"rsa", 4096},
}

// Create makes a root inside Vault, without path length and of ten years, under
// the configured issuer name. It refuses a name that is taken. The key never
// leaves Vault.
func (p *PKI) Create(ctx context.Context, n NewRoot) (*x509.Certificate, error) {
	if err := p.Vacant(ctx); err != nil {
		return nil, err
	}
	key, ok := pkiKeys[n.KeyType]
	if !ok {
		return nil, fmt.Errorf("making a root in vault: its PKI engine makes no %s", n.KeyType)
	}
	var id [8]byte
	if err := fips.Random(id[:]); err != nil {
		return nil, fmt.Errorf("naming the root: %w", err)
	}
	body := map[string]any{
		"common_name": "Root " + hex.EncodeToString(id[:]), "organization": "Kedge", "issuer_name": p.c.Issuer,
		"uri_sans": n.TrustDomain.URI(), "exclude_cn_from_sans": true, "max_path_length": -1,
		"key_type": key.kind, "key_bits": key.bits,
		"not_after":           n.Now.Add(ca.RootLifetime).UTC().Format(time.RFC3339),
		"not_before_duration": fmt.Sprintf("%ds", int(ca.CABackdate/time.Second)),
	}
	if n.KeyType == fips.ECDSAP384 {
		body["signature_bits"] = 384
	}
	_, err := p.c.Client.Do(ctx, vault.Request{
		Operation: "create_root", Method: http.MethodPost, Path: p.c.Mount + "/root/generate/internal", Body: body,
	})
	if err != nil {
		return nil, fmt.Errorf("making a root in vault: %w", err)
	}
	return p.fit(ctx, n)
}

// Import gives Vault a root that was made elsewhere: its certificate and its key in
// PEM. Destroy the original afterwards.
func (p *PKI) Import(ctx context.Context, bundle []byte, n NewRoot) (*x509.Certificate, error) {
	if err := checkImport(bundle, n); err != nil {
		return nil, &ca.Error{Reason: ca.ReasonRootRefused, Err: fmt.Errorf("importing a root into vault: %w; nothing was sent", err)}
	}
	if err := p.Vacant(ctx); err != nil {
		return nil, err
	}
	data, err := p.c.Client.Do(ctx, vault.Request{
		Operation: "import_root", Method: http.MethodPost, Path: p.c.Mount + "/issuers/import/bundle",
		Body: map[string]any{"pem_bundle": string(bundle)},
	})
	if err != nil {
		return nil, fmt.Errorf("importing a root into vault: %w", err)
	}
	issuers := data.Texts("imported_issuers")
	if len(issuers) != 1 || len(data.Texts("imported_keys")) > 1 {
		return nil, ca.Refuse(ca.ReasonRootRefused, "vault imported %d issuers, not one; give one certificate with its key, and one that is not there yet", len(issuers))
	}
	_, err = p.c.Client.Do(ctx, vault.Request{
		Operation: "name_issuer", Method: http.MethodPost, Path: p.c.Mount + "/issuer/" + issuers[0],
		Body: map[string]any{"issuer_name": p.c.Issuer},
	})
	if err != nil {
		return nil, fmt.Errorf("naming the imported root: %w", err)
	}
	return p.fit(ctx, n)
}

// Use takes the issuer that is there.
func (p *PKI) Use(ctx context.Context, n NewRoot) (*x509.Certificate, error) { return p.fit(ctx, n) }

// Vacant refuses where the issuer's name is taken. It changes nothing.
func (p *PKI) Vacant(ctx context.Context) error {
	if p.c.Issuer == "" {
		return fmt.Errorf("a new root in vault needs an issuer name, so that a root that is there is not taken for it")
	}
	_, err := p.issuer(ctx)
	switch {
	case err == nil:
		return ca.Refuse(ca.ReasonRootRefused, "mount %s has an issuer %q already; nothing was made. Use it as it is (--root-from existing), or choose another name", p.c.Mount, p.c.Issuer)
	case errors.Is(err, vault.ErrAway), ca.ReasonOf(err) != ca.ReasonRootMissing:
		return err
	}
	return nil
}

// fit holds an issuer to what an anchor has to be.
func (p *PKI) fit(ctx context.Context, n NewRoot) (*x509.Certificate, error) {
	anchor, err := p.Anchor(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkRoot(anchor, n); err != nil {
		return nil, &ca.Error{Reason: ca.ReasonRootMismatch, Err: fmt.Errorf("issuer %q: %w", p.c.Issuer, err)}
	}
	return anchor, nil
}

// checkRoot holds a root to what an anchor has to be.
func checkRoot(root *x509.Certificate, n NewRoot) error {
	if d := n.Policy.CheckKey(root.PublicKey, fips.UseCA, root.NotAfter); !d.Allow {
		return fmt.Errorf("%s: %s", d.Code, d.Detail)
	}
	if _, err := ca.NewBundle(n.TrustDomain, 1, []ca.Anchor{{Certificate: root, Slot: ca.SlotActive}}); err != nil {
		return err
	}
	switch {
	case ca.HasNameConstraints(root):
		return fmt.Errorf("it has name constraints, which would bind every leaf")
	case len(root.ExtKeyUsage) > 0 || len(root.UnknownExtKeyUsage) > 0:
		return fmt.Errorf("it has extended key usages, which would bind every leaf")
	case root.MaxPathLen == 0 && root.MaxPathLenZero:
		return fmt.Errorf("path length 0 allows no intermediate below it")
	case root.NotAfter.Sub(n.Now) < ca.IntermediateLifetime:
		return fmt.Errorf("it ends at %s, before an intermediate would", root.NotAfter)
	}
	return nil
}

// CreateTransit makes a root key in a transit engine and the certificate for it,
// which is signed there. The pinned version is c.Version. A key whose certificate
// could not be made stays; UseTransit goes on with it.
func CreateTransit(ctx context.Context, c transit.KeyConfig, n NewRoot) (*x509.Certificate, error) {
	if err := VacantTransit(ctx, c); err != nil {
		return nil, err
	}
	key, err := transit.CreateKey(ctx, c, n.KeyType)
	if err != nil {
		return nil, err
	}
	cert, err := n.certify(key)
	if err != nil {
		return nil, fmt.Errorf("%w; the transit key %s was made and stays: %s", err, c.Name, leftOver(c))
	}
	return cert, nil
}

// UseTransit makes the certificate for a root key that is there, and is what
// CreateTransit would have made. Whether another root has this key already cannot be
// seen; who asks for it has to know.
func UseTransit(ctx context.Context, c transit.KeyConfig, n NewRoot) (*x509.Certificate, error) {
	key, err := FitTransit(ctx, c, n)
	if err != nil {
		return nil, err
	}
	return n.certify(key)
}

// FitTransit opens a root key and holds it to what CreateTransit would have made. It
// changes nothing.
func FitTransit(ctx context.Context, c transit.KeyConfig, n NewRoot) (*transit.Key, error) {
	key, err := transit.OpenKey(ctx, c)
	if err != nil {
		return nil, err
	}
	kind, err := fips.KeyTypeOf(key.Public())
	if err != nil {
		return nil, err
	}
	if kind != n.KeyType {
		return nil, ca.Refuse(ca.ReasonRootKey, "transit key %s is of type %s, not %s as asked", c.Name, kind, n.KeyType)
	}
	return key, nil
}

// certify makes the certificate of a root for a key that signs it.
func (n NewRoot) certify(key *transit.Key) (*x509.Certificate, error) {
	return ca.NewRootCertificate(ca.RootRequest{
		TrustDomain: n.TrustDomain, NotBefore: n.Now.Add(-ca.CABackdate), NotAfter: n.Now.Add(ca.RootLifetime),
		Signer: key, Policy: n.Policy,
	})
}

// VacantTransit refuses where the key's name is taken. It changes nothing.
func VacantTransit(ctx context.Context, c transit.KeyConfig) error {
	_, err := transit.OpenKey(ctx, c)
	switch ca.ReasonOf(err) {
	case ca.ReasonRootMissing:
		return nil
	case ca.ReasonRootKey:
	default:
		if err != nil {
			return err
		}
	}
	return ca.Refuse(ca.ReasonRootRefused, "there is a transit key %s already; nothing was made. Choose another name, or, when an init that failed has left it and no root has it, %s", c.Name, leftOver(c))
}

// leftOver is what to do with a key that has no certificate.
func leftOver(c transit.KeyConfig) string {
	return fmt.Sprintf("go on with it (--root-from existing), or remove it (vault write %[1]s/config deletion_allowed=true && vault delete %[1]s)", c.Mount+"/keys/"+c.Name)
}
