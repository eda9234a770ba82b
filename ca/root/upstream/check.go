package upstream

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"fmt"
	"io"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

const (
	// maxChain is the intermediate and what may stand between it and an anchor.
	maxChain = 4
	// slack is how far a time may be from what was asked for: an upstream that
	// signs by its own clock rounds.
	slack = time.Minute
)

func parseChain(der [][]byte) ([]*x509.Certificate, error) {
	if len(der) == 0 || len(der) > maxChain {
		return nil, fmt.Errorf("a chain of %d certificates, want 1 to %d", len(der), maxChain)
	}
	var chain []*x509.Certificate
	for i, raw := range der {
		cert, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i, err)
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

// checkAnchor holds an anchor to what every root of Kedge is (RFC 5280 §6.1.1d):
// a CA that signed itself with a key and an algorithm that policy allows.
func (r *Root) checkAnchor(anchor *x509.Certificate) error {
	switch {
	case !anchor.BasicConstraintsValid || !anchor.IsCA:
		return fmt.Errorf("not a CA certificate")
	case !bytes.Equal(anchor.RawIssuer, anchor.RawSubject):
		return fmt.Errorf("not self-signed: it is issued by another name")
	}
	for _, d := range []fips.Decision{
		r.c.Policy.CheckKey(anchor.PublicKey, fips.UseCA, anchor.NotAfter),
		r.c.Policy.CheckSignatureAlgorithm(anchor.SignatureAlgorithm),
	} {
		if !d.Allow {
			return fmt.Errorf("%s: %s", d.Code, d.Detail)
		}
	}
	if err := anchor.CheckSignatureFrom(anchor); err != nil {
		return fmt.Errorf("not self-signed: %w", err)
	}
	return nil
}

// asked is what a chain must be.
type asked struct {
	key     crypto.PublicKey
	anchor  *x509.Certificate
	request ca.IntermediateRequest
}

// checkChain holds a chain to what was asked for. What makes an intermediate
// usable at all is judged by the code that will use it.
func (r *Root) checkChain(chain []*x509.Certificate, a asked) error {
	for i, link := range chain {
		if bytes.Equal(link.RawSubjectPublicKeyInfo, a.anchor.RawSubjectPublicKeyInfo) {
			return fmt.Errorf("certificate %d is that of the anchor", i)
		}
		if i > 0 && (!link.BasicConstraintsValid || !link.IsCA) {
			return fmt.Errorf("certificate %d is not a CA certificate", i)
		}
	}
	bundle, err := ca.NewBundle(a.request.TrustDomain, 1, []ca.Anchor{{Certificate: a.anchor, Slot: ca.SlotActive}})
	if err != nil {
		return fmt.Errorf("its anchor: %w", err)
	}
	usable, err := ca.NewIntermediate(ca.IntermediateConfig{
		Chain: chain, Bundle: bundle, Signer: publicOnly{a.key}, Policy: r.c.Policy,
	})
	if err != nil {
		return err
	}
	if err := checkNames(chain[0]); err != nil {
		return err
	}
	return checkTimes(usable, a.request)
}

// checkNames refuses what NewIntermediate lets pass because a caller may have its
// reasons: an upstream has none to add names or constraints.
func checkNames(cert *x509.Certificate) error {
	switch {
	case len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.EmailAddresses) != 0:
		return fmt.Errorf("the intermediate has names that nobody asked for")
	case cert.PermittedDNSDomainsCritical || len(cert.UnhandledCriticalExtensions) != 0:
		return fmt.Errorf("the intermediate has a critical extension that nobody asked for")
	case cert.SerialNumber.Sign() <= 0 || cert.SerialNumber.BitLen() < 64:
		return fmt.Errorf("the intermediate's serial number has %d bits, want 64 random ones", cert.SerialNumber.BitLen())
	}
	return nil
}

// checkTimes holds an intermediate to the time that was asked for: its end is the
// lease that bounds what a lost replica can do, and one that ends early would be
// renewed all day. The anchor and the chain may cut it short.
func checkTimes(i *ca.Intermediate, want ca.IntermediateRequest) error {
	cert := i.Certificate()
	bound := i.Anchor().NotAfter
	for _, link := range i.Chain()[1:] {
		if link.NotAfter.Before(bound) {
			bound = link.NotAfter
		}
	}
	end := want.NotAfter
	if bound.Before(end) {
		end = bound
	}
	switch {
	case cert.NotAfter.After(want.NotAfter.Add(slack)):
		return fmt.Errorf("it ends at %s, later than %s", cert.NotAfter, want.NotAfter)
	case cert.NotAfter.Before(end.Add(-slack)):
		return fmt.Errorf("it ends at %s, earlier than %s", cert.NotAfter, end)
	case cert.NotBefore.After(want.NotBefore.Add(ca.CABackdate)):
		return fmt.Errorf("it begins at %s, in the future", cert.NotBefore)
	case cert.NotBefore.Before(want.NotBefore.Add(-slack)):
		return fmt.Errorf("it begins at %s, before %s", cert.NotBefore, want.NotBefore)
	}
	return nil
}

// publicOnly stands for a key that signs elsewhere.
type publicOnly struct{ public crypto.PublicKey }

func (p publicOnly) Public() crypto.PublicKey { return p.public }

func (p publicOnly) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, fmt.Errorf("only the public key is known here")
}
