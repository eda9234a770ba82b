package primary

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation/bundle"
)

// ReplaceExpired publishes a new active anchor in the place of one that has expired,
// the repair of last resort: nothing under the old one verifies any more, so nothing
// is lost, but every verifier must be given the new bundle. Anchors that have expired
// leave it. Zones find it by the chain, whose keys do not expire. It refuses, with
// ReasonStale, while the active anchor lives: only a rotation replaces that safely.
// The same anchor again changes nothing.
func (p *Primary) ReplaceExpired(ctx context.Context, anchor *x509.Certificate, actor string) error {
	now := p.c.Now()
	return p.publish(ctx, editing{actor: actor, why: "the active anchor had expired", edit: func(_ context.Context, head *bundle.Accepted) (edition, error) {
		active := head.Bundle().Active()
		if ca.AnchorIDOf(active) == ca.AnchorIDOf(anchor) && now.Before(active.NotAfter) {
			return edition{}, nil
		}
		if now.Before(active.NotAfter) {
			return edition{}, ca.Refuse(ca.ReasonStale, "the active anchor lives until %s; use a rotation to replace it", active.NotAfter.UTC().Format(time.RFC3339))
		}
		all := []ca.Anchor{{Certificate: anchor, Slot: ca.SlotActive}}
		for _, a := range head.Bundle().Anchors() {
			if now.Before(a.Certificate.NotAfter) && ca.AnchorIDOf(a.Certificate) != ca.AnchorIDOf(anchor) {
				all = append(all, a)
			}
		}
		return edition{anchors: all, keys: head.Keys(), changes: true}, nil
	}})
}
