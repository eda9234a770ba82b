package ca

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// obtain has the root sign key and checks what comes back.
func (c *Custodian) obtain(ctx context.Context, t *custody, key Key, now time.Time) (*Intermediate, error) {
	bundle, signer := t.bundle, t.state.signer(t.bundle)
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	// A root that was replaced under us is not made to sign first.
	root, err := c.c.Roots(ctx, AnchorIDOf(signer))
	if err != nil {
		return nil, rootError(err)
	}
	anchor, err := root.Anchor(ctx)
	if err != nil {
		return nil, rootError(err)
	}
	if !bytes.Equal(anchor.RawSubjectPublicKeyInfo, signer.RawSubjectPublicKeyInfo) {
		return nil, Refuse(ReasonRootMismatch, "the root is anchor %s (%s), and %s signs in bundle %d; configure the root of the anchor that signs: only a rotation makes another one sign",
			AnchorIDOf(anchor), orNone(bundle.slot(AnchorIDOf(anchor))), AnchorIDOf(signer), bundle.seq)
	}
	chain, err := root.SignIntermediate(ctx, csr, IntermediateRequest{
		TrustDomain: c.c.TrustDomain, NotBefore: now.Add(-CABackdate), NotAfter: now.Add(c.c.Lifetime),
	})
	if err != nil {
		return nil, rootError(err)
	}
	next, err := NewIntermediate(IntermediateConfig{Chain: chain, Bundle: bundle, Signer: key, Policy: c.c.Policy})
	if err == nil {
		err = errors.Join(checkSignedUnder(next, signer, bundle), checkFresh(next, now, c.c.Lifetime))
	}
	if err != nil {
		return nil, &Error{Reason: ReasonRootMismatch, Err: fmt.Errorf("checking the root's answer: %w", err)}
	}
	return next, nil
}

// orNone is what a slot is called in a sentence.
func orNone(s Slot) Slot {
	if s == "" {
		return "in no bundle"
	}
	return s
}

// rootError keeps the reason that a root gave; one that gave none is unavailable.
func rootError(err error) error {
	if ReasonOf(err) != ReasonInternal {
		return err
	}
	return &Error{Reason: ReasonRootUnavailable, Err: err}
}

// checkSignedUnder refuses an intermediate under another anchor than the one that
// signs: it would be due for renewal from its first moment, at every tick.
func checkSignedUnder(i *Intermediate, signer *x509.Certificate, bundle *Bundle) error {
	if i.anchorID == AnchorIDOf(signer) {
		return nil
	}
	return fmt.Errorf("the root signs under anchor %s (%s), and %s signs in bundle %d; configure the root of the anchor that signs, or make this one sign by a rotation",
		i.anchorID, bundle.slot(i.anchorID), AnchorIDOf(signer), bundle.seq)
}

// checkFresh refuses an intermediate that is not usable now or lives longer than
// was asked for: its end is the lease that bounds what a lost replica can do.
func checkFresh(i *Intermediate, now time.Time, lifetime time.Duration) error {
	switch {
	case i.cert.NotBefore.After(now):
		return fmt.Errorf("it begins in the future, at %s", i.cert.NotBefore)
	case i.notAfter.Sub(now) < 2*MinLeafTTL:
		return fmt.Errorf("it ends too soon, at %s", i.notAfter)
	case i.cert.NotAfter.Sub(now) > lifetime+time.Minute:
		return fmt.Errorf("it ends at %s, later than was asked for", i.cert.NotAfter)
	}
	return nil
}
