package main

import (
	"context"
	"crypto/x509"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/kedge-ca/kedge/api/zones"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/journal"
	"github.com/kedge-ca/kedge/rotation/primary"
)

// leading is the primary of a process that has a root. It opens when it can: its
// bundle key may be in Vault, and no start waits for that. Until then the process
// issues as one that has no zones, and whoever asks for more is told to come back.
type leading struct {
	config primary.Config
	roots  ca.RootFor // asked until it is open
	log    *slog.Logger
	opened atomic.Pointer[primary.Primary]
}

var (
	_ zones.Primary  = (*leading)(nil)
	_ primary.Source = (*leading)(nil)
)

// open opens the primary, unless it is open.
func (l *leading) open(ctx context.Context) error {
	if l.opened.Load() != nil {
		return nil
	}
	p, err := primary.Open(ctx, l.config)
	if err != nil {
		return err
	}
	l.opened.Store(p)
	return nil
}

// reopenEvery spaces attempts to open.
const reopenEvery = 10 * time.Second

// run opens the primary and works until ctx ends.
func (l *leading) run(ctx context.Context) {
	ticker := time.NewTicker(reopenEvery)
	defer ticker.Stop()
	for {
		err := l.open(ctx)
		if err == nil {
			break
		}
		if ctx.Err() == nil {
			l.log.Error("no zones and no rotation yet; issuing goes on", "error", err, "reason", ca.ReasonOf(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
	var told time.Time
	l.opened.Load().Run(ctx, func(err error) {
		if now := l.config.Now(); now.Sub(told) >= tellEvery {
			told = now
			l.log.Error("the primary is not well; issuing goes on", "error", err, "reason", ca.ReasonOf(err))
		}
	})
}

// get is the primary once it is open.
func (l *leading) get() (*primary.Primary, error) {
	if p := l.opened.Load(); p != nil {
		return p, nil
	}
	return nil, ca.Refuse(ca.ReasonNotReady, "the primary has not opened its bundle key yet")
}

// rootFor implements ca.RootFor for this process's own replica.
func (l *leading) rootFor(ctx context.Context, anchor ca.AnchorID) (ca.Root, error) {
	if p := l.opened.Load(); p != nil {
		return p.RootFor(l.config.Zone, l.config.Replica)(ctx, anchor)
	}
	return l.roots(ctx, anchor)
}

// Follow implements primary.Source.
func (l *leading) Follow(ctx context.Context, have primary.Have) (primary.Directive, error) {
	p, err := l.get()
	if err != nil {
		return primary.Directive{}, err
	}
	return p.Follow(ctx, have)
}

// Report implements primary.Source.
func (l *leading) Report(ctx context.Context, r rotation.Report) error {
	p, err := l.get()
	if err != nil {
		return err
	}
	return p.Report(ctx, r)
}

// Bundles implements zones.Primary.
func (l *leading) Bundles(ctx context.Context, after uint64) ([]bundle.Signed, error) {
	p, err := l.get()
	if err != nil {
		return nil, err
	}
	return p.Bundles(ctx, after)
}

// Join implements zones.Primary.
func (l *leading) Join(ctx context.Context, r primary.JoinRequest) (primary.JoinAnswer, error) {
	p, err := l.get()
	if err != nil {
		return primary.JoinAnswer{}, err
	}
	return p.Join(ctx, r)
}

// Replica implements zones.Primary.
func (l *leading) Replica(ctx context.Context, keyHash [32]byte) (rotation.Zone, string, error) {
	p, err := l.get()
	if err != nil {
		return "", "", err
	}
	return p.Replica(ctx, keyHash)
}

// SignIntermediate implements zones.Primary.
func (l *leading) SignIntermediate(ctx context.Context, zone rotation.Zone, replica string, csr []byte, anchor ca.AnchorID, want time.Duration) ([]*x509.Certificate, error) {
	p, err := l.get()
	if err != nil {
		return nil, err
	}
	return p.SignIntermediate(ctx, zone, replica, csr, anchor, want)
}

// replaceExpired publishes a new root in the place of one that has expired.
func (l *leading) replaceExpired(ctx context.Context, anchor *x509.Certificate) error {
	p, err := l.get()
	if err != nil {
		return err
	}
	return p.ReplaceExpired(ctx, anchor, "system")
}

// Token implements admin.Zones.
func (l *leading) Token(ctx context.Context, zone rotation.Zone, ttl time.Duration, actor string) (string, error) {
	p, err := l.get()
	if err != nil {
		return "", err
	}
	return p.Token(ctx, zone, ttl, actor)
}

// Status implements admin.Zones.
func (l *leading) Status(ctx context.Context) (primary.Status, error) {
	p, err := l.get()
	if err != nil {
		return primary.Status{}, err
	}
	return p.Status(ctx)
}

// RemoveZone implements admin.Zones.
func (l *leading) RemoveZone(ctx context.Context, zone rotation.Zone, actor, reason string) error {
	p, err := l.get()
	if err != nil {
		return err
	}
	return p.RemoveZone(ctx, zone, actor, reason)
}

// RemoveReplica implements admin.Zones.
func (l *leading) RemoveReplica(ctx context.Context, zone rotation.Zone, replica string, why journal.Removal) error {
	p, err := l.get()
	if err != nil {
		return err
	}
	return p.RemoveReplica(ctx, zone, replica, why)
}
