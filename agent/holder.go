package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/api/client"
)

// holder keeps the certificate of one workload.
type holder struct {
	agent    *Agent
	workload Workload
}

func (h *holder) run(ctx context.Context) error {
	keeper := client.Keeper{
		Client: h, Watcher: h.workload.Source, Now: h.agent.now, Store: h.store,
		Failed: func(err error, next time.Time) { h.agent.events.Failed(h.workload.Identity, err, next) },
		Changed: func(n client.News) {
			h.agent.hold(h.workload.Identity, nil, Bundle{n.Sequence, n.Bundle})
		},
	}
	first, err := keeper.Begin(ctx, h.workload.Source.Issue)
	if first == nil {
		return err
	}
	return keeper.Run(ctx, first.TLS(), first.RenewAt)
}

// Renew implements client.Renewer. A certificate that has ended proves nothing any
// more: after an outage longer than its life the agent begins again.
func (h *holder) Renew(ctx context.Context, current tls.Certificate) (*client.Certificate, error) {
	if h.agent.now().After(current.Leaf.NotAfter) {
		return h.workload.Source.Issue(ctx)
	}
	return h.workload.Source.Renew(ctx, current)
}

// store refuses a certificate of another identity: whoever put the wrong token into
// the workload's file must not have its processes take another's place.
func (h *holder) store(c *client.Certificate) error {
	if c.Identity != h.workload.Identity.String() {
		return fmt.Errorf("the server gave a certificate of %s to the workload %s", c.Identity, h.workload.Identity)
	}
	h.agent.hold(h.workload.Identity, c, Bundle{c.Sequence, c.Bundle})
	h.agent.events.Renewed(c)
	return nil
}
