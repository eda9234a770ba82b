package ca

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Enrol stores the first state of a replica of a zone: the bundle that it has joined
// with, whose history the caller has checked (package rotation/bundle). It refuses
// where there is a state already.
func (c *Custodian) Enrol(ctx context.Context, now time.Time, a Adoption) error {
	if a.Bundle.domain != c.c.TrustDomain {
		return Refuse(ReasonBundleForeign, "bundle of trust domain %s", a.Bundle.domain)
	}
	if len(a.Signed) == 0 {
		return fmt.Errorf("a zone begins with a signed bundle, and bundle %d is not", a.Bundle.seq)
	}
	state := State{
		TrustDomain: c.c.TrustDomain.String(), BundleSeq: a.Bundle.seq, Anchors: stateAnchors(a.Bundle.anchors), SignedBundle: a.Signed,
	}
	if _, err := c.c.State.Replace(ctx, 0, state); err != nil {
		return fmt.Errorf("storing the first state: %w", err)
	}
	return c.event(ctx, now, "bundle.enrol", map[string]string{"sequence": strconv.FormatUint(a.Bundle.seq, 10)})
}
