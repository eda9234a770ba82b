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
func (c *Custodian) obtain(ctx context.Context, bundle *Bundle, key Key, now time.Time) (*Intermediate, error) {
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	// A root that was replaced under us is not made to sign first.
	anchor, err := c.c.Root.Anchor(ctx)
	if err != nil {
		return nil, rootError(err)
	}
	if active := bundle.Active(); !bytes.Equal(anchor.RawSubjectPublicKeyInfo, active.RawSubjectPublicKeyInfo) {
		return nil, Refuse(ReasonRootMismatch, "the root is anchor %s (%s), and %s is active in bundle %d; configure the root of the active anchor: only a rotation makes another one active",
			AnchorIDOf(anchor), orNone(bundle.slot(AnchorIDOf(anchor))), AnchorIDOf(active), bundle.seq)
	}
	chain, err := c.c.Root.SignIntermediate(ctx, csr, IntermediateRequest{
		TrustDomain: c.c.TrustDomain, NotBefore: now.Add(-CABackdate), NotAfter: now.Add(c.c.Lifetime),
	})
	if err != nil {
		return nil, rootError(err)
	}
	next, err := NewIntermediate(IntermediateConfig{Chain: chain, Bundle: bundle, Signer: key, Policy: c.c.Policy})
	if err == nil {
		err = errors.Join(checkSignedByActive(next, bundle), checkFresh(next, now, c.c.Lifetime))
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

// checkSignedByActive refuses an intermediate under a standby or a draining anchor.
// Standby never signs, and an intermediate that is not under the active anchor is
// due for renewal from its first moment, at every tick.
func checkSignedByActive(i *Intermediate, bundle *Bundle) error {
	active := AnchorIDOf(bundle.Active())
	if i.anchorID == active {
		return nil
	}
	return fmt.Errorf("the root signs under anchor %s (%s), and %s is active in bundle %d; configure the root of the active anchor, or make this one active by a rotation",
		i.anchorID, bundle.slot(i.anchorID), active, bundle.seq)
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
