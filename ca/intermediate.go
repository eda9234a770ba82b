package ca

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// Intermediate is an issuing certificate with its chain and its signer: one
// immutable value, so that a request can never meet a certificate of one issuer
// and the key of another.
type Intermediate struct {
	cert     *x509.Certificate
	chain    []*x509.Certificate // cert first, without the anchor
	chainDER [][]byte
	anchor   *x509.Certificate
	anchorID AnchorID
	signer   crypto.Signer
	scheme   fips.SignatureScheme
	notAfter time.Time // earliest end in the chain, the anchor's included
}

// IntermediateConfig is what an Intermediate is made of.
type IntermediateConfig struct {
	Chain  []*x509.Certificate // the intermediate first, without the anchor
	Bundle *Bundle             // must hold the anchor that the chain ends in
	Signer crypto.Signer       // the intermediate's key
	Policy fips.Policy
}

// NewIntermediate checks everything that issuing relies on: the key is the
// certificate's, the certificate is a CA with path length 0 and the usages of
// one, keys and signatures are approved, and the chain ends in an anchor of the
// bundle. Dates are not judged here, so that an operator can still look at what
// has expired.
func NewIntermediate(c IntermediateConfig) (*Intermediate, error) {
	if len(c.Chain) == 0 || c.Signer == nil || c.Bundle == nil {
		return nil, fmt.Errorf("intermediate needs a chain, a signer and a bundle")
	}
	cert := c.Chain[0]
	if !fips.PublicKeyEqual(cert.PublicKey, c.Signer.Public()) {
		return nil, fmt.Errorf("the key is not that of the intermediate %q", cert.Subject.CommonName)
	}
	if err := checkIntermediate(cert, c.Bundle.domain); err != nil {
		return nil, fmt.Errorf("intermediate %q: %w", cert.Subject.CommonName, err)
	}
	for _, link := range c.Chain {
		if err := checkCAKey(link, c.Policy); err != nil {
			return nil, fmt.Errorf("chain certificate %q: %w", link.Subject.CommonName, err)
		}
	}
	anchor, err := findAnchor(c.Chain, c.Bundle)
	if err != nil {
		return nil, err
	}
	scheme, err := c.Policy.SchemeFor(c.Signer.Public())
	if err != nil {
		return nil, fmt.Errorf("intermediate key: %w", err)
	}
	i := &Intermediate{
		cert: cert, chain: c.Chain, anchor: anchor, anchorID: AnchorIDOf(anchor),
		signer: c.Signer, scheme: scheme, notAfter: anchor.NotAfter,
	}
	for _, link := range c.Chain {
		i.chainDER = append(i.chainDER, link.Raw)
		if link.NotAfter.Before(i.notAfter) {
			i.notAfter = link.NotAfter
		}
	}
	return i, nil
}

// checkIntermediate holds docs/certificate-spec.md, section Intermediate.
func checkIntermediate(c *x509.Certificate, domain TrustDomain) error {
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return fmt.Errorf("not a CA certificate")
	case c.MaxPathLen != 0 || !c.MaxPathLenZero:
		return fmt.Errorf("path length is not 0")
	case c.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign:
		// Kuma refuses other usages on a CA, SPIRE allows only digitalSignature more.
		return fmt.Errorf("key usage is not exactly keyCertSign and cRLSign")
	case len(c.SubjectKeyId) == 0:
		return fmt.Errorf("no subject key id")
	case len(c.ExtKeyUsage) != 0 || len(c.UnknownExtKeyUsage) != 0:
		return fmt.Errorf("extended key usage would bind every leaf")
	case len(c.URIs) != 1 || c.URIs[0].String() != domain.URI():
		return fmt.Errorf("its one URI is not %s, that of the trust domain", domain.URI())
	}
	return nil
}

func checkCAKey(c *x509.Certificate, policy fips.Policy) error {
	if d := policy.CheckKey(c.PublicKey, fips.UseCA, c.NotAfter); !d.Allow {
		return fmt.Errorf("%s: %s", d.Code, d.Detail)
	}
	if d := policy.CheckSignatureAlgorithm(c.SignatureAlgorithm); !d.Allow {
		return fmt.Errorf("%s: %s", d.Code, d.Detail)
	}
	return nil
}

// findAnchor follows the chain link by link to an anchor of the bundle, the active
// one where there are two of one key and name. It checks signatures and names but
// no dates.
func findAnchor(chain []*x509.Certificate, bundle *Bundle) (*x509.Certificate, error) {
	for i := 1; i < len(chain); i++ {
		if err := checkIssuedBy(chain[i-1], chain[i]); err != nil {
			return nil, fmt.Errorf("chain is broken at certificate %d: %w", i, err)
		}
	}
	last := chain[len(chain)-1]
	if active := bundle.Active(); checkIssuedBy(last, active) == nil {
		return active, nil
	}
	for _, a := range bundle.anchors {
		if checkIssuedBy(last, a.Certificate) == nil {
			return a.Certificate, nil
		}
	}
	return nil, fmt.Errorf("the chain of %q ends in no anchor of bundle %d", chain[0].Subject.CommonName, bundle.seq)
}

func checkIssuedBy(child, parent *x509.Certificate) error {
	if !bytes.Equal(child.RawIssuer, parent.RawSubject) {
		return fmt.Errorf("issuer name differs")
	}
	return child.CheckSignatureFrom(parent)
}

// Certificate is the intermediate's own certificate.
func (i *Intermediate) Certificate() *x509.Certificate { return i.cert }

// Chain is the intermediate and what is between it and the anchor.
func (i *Intermediate) Chain() []*x509.Certificate { return i.chain }

// Anchor is the trust anchor above the intermediate.
func (i *Intermediate) Anchor() *x509.Certificate { return i.anchor }

// NotAfter is the earliest end of the chain and its anchor; no leaf outlives it.
func (i *Intermediate) NotAfter() time.Time { return i.notAfter }

// KeyID is the intermediate's subject key id in hex, the name that records use.
func (i *Intermediate) KeyID() string { return hex.EncodeToString(i.cert.SubjectKeyId) }

// Signer is the intermediate's key, for self-tests on the real key. Certificates
// are signed by Authority only.
func (i *Intermediate) Signer() crypto.Signer { return i.signer }

// keyHashes are the hashes of every CA key that a request must not bring.
func (i *Intermediate) keyHashes(bundle *Bundle) map[[32]byte]struct{} {
	hashes := make(map[[32]byte]struct{})
	for _, c := range i.chain {
		hashes[sha256.Sum256(c.RawSubjectPublicKeyInfo)] = struct{}{}
	}
	for _, a := range bundle.anchors {
		hashes[sha256.Sum256(a.Certificate.RawSubjectPublicKeyInfo)] = struct{}{}
	}
	return hashes
}
