package ca

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Adoption is a bundle that takes the place of the one that is held.
type Adoption struct {
	Bundle *Bundle
	Signed []byte // its signed form, which is kept with it
}

// Adopt stores a bundle whose history the caller has checked (package
// rotation/bundle). One of a lower sequence is an *Error with ReasonStale, whatever
// cache or relay it came from; the same sequence again changes nothing unless it was
// held without its signed form. The intermediate in force stays until the next Tick.
func (c *Custodian) Adopt(ctx context.Context, now time.Time, a Adoption) error {
	t, err := c.load(ctx)
	if err != nil {
		return err
	}
	held := t.bundle.seq
	switch {
	case a.Bundle.domain != c.c.TrustDomain:
		return Refuse(ReasonBundleForeign, "bundle of trust domain %s", a.Bundle.domain)
	case a.Bundle.seq < held:
		return Refuse(ReasonStale, "bundle %d is older than %d, which is held", a.Bundle.seq, held)
	case a.Bundle.seq == held && len(t.state.SignedBundle) > 0:
		return nil
	}
	next := t.state
	next.BundleSeq, next.Anchors, next.SignedBundle = a.Bundle.seq, stateAnchors(a.Bundle.anchors), a.Signed
	if err := t.replace(ctx, next); err != nil {
		return fmt.Errorf("storing bundle %d: %w", a.Bundle.seq, err)
	}
	if a.Bundle.seq == held {
		return nil
	}
	return c.event(ctx, now, "bundle.adopt", map[string]string{"sequence": strconv.FormatUint(a.Bundle.seq, 10)})
}

// Command is an order of the primary: under which anchor to sign.
type Command struct {
	Signer AnchorID `json:"signer"`
	Epoch  uint64   `json:"epoch"` // its number; a higher one takes its place
}

// Obey stores a command; the next Tick makes the intermediate that follows from it.
// An epoch below the one that is held is an *Error with ReasonStale: the command was
// overtaken on its way. So is an anchor that the held bundle does not have, because
// nobody signs under what its own verifiers may not know. The same command again
// changes nothing.
func (c *Custodian) Obey(ctx context.Context, now time.Time, command Command) error {
	t, err := c.load(ctx)
	if err != nil {
		return err
	}
	switch {
	case command.Epoch < t.state.Epoch:
		return Refuse(ReasonStale, "command %d was overtaken by command %d", command.Epoch, t.state.Epoch)
	case command.Epoch == t.state.Epoch && command.Signer == t.state.Signer:
		return nil
	case command.Epoch == t.state.Epoch:
		return Refuse(ReasonStale, "command %d says anchor %s, and said %s before", command.Epoch, command.Signer, t.state.Signer)
	case !t.bundle.Contains(command.Signer):
		return Refuse(ReasonStale, "anchor %s of command %d is not in bundle %d, which is held", command.Signer, command.Epoch, t.bundle.seq)
	}
	next := t.state
	next.Signer, next.Epoch = command.Signer, command.Epoch
	if err := t.replace(ctx, next); err != nil {
		return fmt.Errorf("storing command %d: %w", command.Epoch, err)
	}
	return c.event(ctx, now, "rotation.command", map[string]string{
		"epoch": strconv.FormatUint(command.Epoch, 10), "signer": command.Signer.String(),
	})
}

// Halt stores why nothing may be issued; "" lets issuing go on. It outlives a restart.
func (c *Custodian) Halt(ctx context.Context, now time.Time, why string) error {
	t, err := c.load(ctx)
	if err != nil {
		return err
	}
	if t.state.Halted == why {
		return nil
	}
	next := t.state
	next.Halted = why
	if err := t.replace(ctx, next); err != nil {
		return fmt.Errorf("storing the halt: %w", err)
	}
	if why == "" {
		return c.event(ctx, now, "issuance.resume", nil)
	}
	return c.event(ctx, now, "issuance.halt", map[string]string{"because": why})
}

// Held is what a replica holds, as it reports it.
type Held struct {
	Bundle *Bundle
	Signed []byte // the signed form of Bundle, empty if it has none
	// Command is the last that was stored.
	Command Command
	// Followed is the epoch of the last command that the newest intermediate follows:
	// that of Command once it is under its anchor.
	Followed uint64
	// Lease is when the last of the replica's intermediates ends, and with it every
	// leaf that it can still sign.
	Lease  time.Time
	Halted string
}

// Held loads what this replica holds.
func (c *Custodian) Held(ctx context.Context) (Held, error) {
	t, err := c.load(ctx)
	if err != nil {
		return Held{}, err
	}
	h := Held{
		Bundle: t.bundle, Signed: t.state.SignedBundle, Halted: t.state.Halted,
		Command: Command{t.state.Signer, t.state.Epoch},
	}
	for _, stored := range t.state.Intermediates {
		chain, err := parseChain(stored.Chain)
		if err != nil {
			return Held{}, fmt.Errorf("stored intermediate %s: %w", stored.KeyName, err)
		}
		if end := chain[0].NotAfter; end.After(h.Lease) {
			h.Lease = end
		}
		h.Followed = stored.Epoch // the newest is the last
		if anchor, err := findAnchor(chain, t.bundle); err == nil && AnchorIDOf(anchor) == AnchorIDOf(t.state.signer(t.bundle)) {
			h.Followed = t.state.Epoch
		}
	}
	return h, nil
}
