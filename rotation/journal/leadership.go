package journal

import (
	"context"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// Leader is the process that runs the plans, for as long as its lease lasts.
type Leader struct {
	Holder string `json:"holder"`
	// Epoch rises whenever another holder takes the lease: a fencing number for the
	// audit trail.
	Epoch uint64    `json:"epoch"`
	Until time.Time `json:"until"`
}

// Leadership is who leads. It spares two processes from doing the same work and is no
// argument of safety: two that believe to lead still change the plan by
// compare-and-swap.
type Leadership struct{ leader kind[Leader] }

// NewLeadership is the lease in docs.
func NewLeadership(docs ca.Documents) *Leadership { return &Leadership{kind[Leader]{docs, "lease"}} }

const leaderName = "leader"

// Leader is who leads, or led last.
func (l *Leadership) Leader(ctx context.Context) (Leader, error) {
	e, err := l.leader.get(ctx, leaderName)
	return e.value, err
}

// Take renews the lease of holder, or takes one that has ended, until now plus term.
// It returns who leads then, which another may be. A lease that lasts longer from now
// than any term can, by a clock that was wrong, counts as ended.
func (l *Leadership) Take(ctx context.Context, holder string, now time.Time, term time.Duration) (Leader, error) {
	return l.leader.change(ctx, leaderName, func(was Leader, _ bool) (Leader, error) {
		isHeld := now.Before(was.Until) && was.Until.Sub(now) <= 10*term
		switch {
		case was.Holder != holder && isHeld:
			return was, nil
		case was.Holder != holder:
			was.Epoch++
		}
		return Leader{Holder: holder, Epoch: was.Epoch, Until: now.Add(term).UTC()}, nil
	})
}

// GiveUp ends the lease of holder, so that another need not wait for its end.
func (l *Leadership) GiveUp(ctx context.Context, holder string, now time.Time) error {
	_, err := l.leader.change(ctx, leaderName, func(was Leader, _ bool) (Leader, error) {
		if was.Holder == holder && now.Before(was.Until) {
			was.Until = now.UTC()
		}
		return was, nil
	})
	return err
}
