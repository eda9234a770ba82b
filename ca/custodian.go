package ca

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// CustodianConfig is what a Custodian works with. Lifetime, MaxLeafTTL and Skew
// have defaults; everything else is needed.
type CustodianConfig struct {
	TrustDomain TrustDomain
	Roots       RootFor
	Keys        KeyStore
	State       StateStore
	Events      EventLog
	Policy      fips.Policy
	Lifetime    time.Duration // of an intermediate; 0 means 7 days, at most 14 days
	MaxLeafTTL  time.Duration // longest leaf that was signed; 0 means 24 h
	Skew        time.Duration // clock error that verifiers may have; 0 means 5 min
}

// Custodian keeps a replica supplied with an intermediate: it makes one when
// there is none, renews it at half of its life, and destroys an old key when the
// last leaf under it has died. It keeps nothing in memory; every step is durable
// before the next, and a crash anywhere is resumed by the next call. One
// Custodian runs at a time over one StateStore; a second loses the
// compare-and-swap and changes nothing.
type Custodian struct {
	c CustodianConfig
}

// NewCustodian checks c.
func NewCustodian(c CustodianConfig) (*Custodian, error) {
	setDefault(&c.Lifetime, IntermediateLifetime)
	setDefault(&c.MaxLeafTTL, MaxLeafTTL)
	setDefault(&c.Skew, 5*time.Minute)
	switch {
	case c.Roots == nil || c.Keys == nil || c.State == nil || c.Events == nil || c.TrustDomain.IsZero():
		return nil, fmt.Errorf("custodian needs a trust domain, a root, a key store, a state store and an event log")
	case c.Lifetime > MaxIntermediateLifetime:
		return nil, fmt.Errorf("intermediate lifetime %s is above %s", c.Lifetime, MaxIntermediateLifetime)
	case c.Lifetime < 2*c.MaxLeafTTL:
		return nil, fmt.Errorf("intermediate lifetime %s is below twice the longest leaf, %s: leaves would be cut short", c.Lifetime, c.MaxLeafTTL)
	}
	return &Custodian{c: c}, nil
}

// Initialise stores the first state of an authority: its anchors as bundle 1.
// It refuses when there is a state already.
func (c *Custodian) Initialise(ctx context.Context, now time.Time, anchors []Anchor) error {
	if _, err := NewBundle(c.c.TrustDomain, 1, anchors); err != nil {
		return fmt.Errorf("first bundle: %w", err)
	}
	state := State{TrustDomain: c.c.TrustDomain.String(), BundleSeq: 1, Anchors: stateAnchors(anchors)}
	if _, err := c.c.State.Replace(ctx, 0, state); err != nil {
		return fmt.Errorf("storing the first state: %w", err)
	}
	return c.event(ctx, now, "bundle.create", map[string]string{"sequence": "1"})
}

// Supply is what a Custodian has found or made.
type Supply struct {
	Intermediate *Intermediate // nil if there is none and none could be made
	Bundle       *Bundle
	Signer       AnchorID  // the anchor under which Intermediate has to be
	Renewed      bool      // Intermediate is new
	RenewAfter   time.Time // when the next renewal is due
	Retired      int       // old keys whose leaves still live
}

// Due tells whether a Tick at now would make an intermediate.
func (s Supply) Due(now time.Time) bool {
	return s.Intermediate == nil || s.HasToMove() || mustRenew(s.Intermediate, now)
}

// HasToMove tells whether Intermediate is under another anchor than the one that has
// to sign: a command has come and its root did not answer yet.
func (s Supply) HasToMove() bool { return s.Intermediate != nil && s.Intermediate.anchorID != s.Signer }

// Tick brings the supply up to date at now. When the root cannot be reached the
// intermediate in force is returned together with the error: issuing goes on,
// and the caller tries again later. With force, an intermediate is renewed
// before its time.
func (c *Custodian) Tick(ctx context.Context, now time.Time, force bool) (Supply, error) {
	t, err := c.load(ctx)
	if err != nil {
		return Supply{}, err
	}
	current, openErr := c.open(ctx, t)
	if err := c.clearPending(ctx, t); err != nil {
		return t.supply(current), errors.Join(openErr, err)
	}
	if isOutage(openErr) && !force {
		return t.supply(current), openErr
	}
	if openErr != nil || force || c.due(current, t, now) {
		next, err := c.renew(ctx, t, now, openErr)
		if next != nil {
			current, t.renewed = next, true
		}
		if err != nil {
			return t.supply(current), errors.Join(openErr, err)
		}
	}
	err = c.destroyDead(ctx, t, now)
	return t.supply(current), err
}

// custody is the stored state while a Custodian works on it.
type custody struct {
	store   StateStore
	state   State
	version Version
	bundle  *Bundle
	renewed bool
}

// replace stores next; on any error custody keeps what it had.
func (t *custody) replace(ctx context.Context, next State) error {
	version, err := t.store.Replace(ctx, t.version, next)
	if err != nil {
		return err
	}
	t.state, t.version = next, version
	return nil
}

func (t *custody) supply(current *Intermediate) Supply {
	s := Supply{
		Intermediate: current, Bundle: t.bundle, Signer: AnchorIDOf(t.state.signer(t.bundle)),
		Renewed: t.renewed, RenewAfter: renewAfter(current),
	}
	for _, i := range t.state.Intermediates {
		if !i.RetiredAt.IsZero() {
			s.Retired++
		}
	}
	return s
}

func (c *Custodian) load(ctx context.Context) (*custody, error) {
	state, version, err := c.c.State.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading state: %w", err)
	}
	if version == 0 {
		return nil, Refuse(ReasonNotFound, "there is no authority here yet; run ca init")
	}
	if state.TrustDomain != c.c.TrustDomain.String() {
		return nil, fmt.Errorf("%w: the store holds that of %s, and %s was asked for", ErrForeignState, state.TrustDomain, c.c.TrustDomain)
	}
	bundle, err := state.Bundle()
	if err != nil {
		return nil, fmt.Errorf("stored bundle: %w", err)
	}
	return &custody{store: c.c.State, state: state, version: version, bundle: bundle}, nil
}

// clearPending removes a key that a crash or a failed renewal left half made.
func (c *Custodian) clearPending(ctx context.Context, t *custody) error {
	if t.state.PendingKey == "" {
		return nil
	}
	if err := c.c.Keys.Destroy(ctx, t.state.PendingKey); err != nil {
		return fmt.Errorf("removing half-made key %s: %w", t.state.PendingKey, err)
	}
	next := t.state
	next.PendingKey = ""
	if err := t.replace(ctx, next); err != nil {
		return fmt.Errorf("forgetting half-made key: %w", err)
	}
	return nil
}

// open opens the newest intermediate that has not been retired; nil if there is none.
func (c *Custodian) open(ctx context.Context, t *custody) (*Intermediate, error) {
	for _, stored := range slices.Backward(t.state.Intermediates) {
		if !stored.RetiredAt.IsZero() {
			continue
		}
		chain, err := parseChain(stored.Chain)
		if err != nil {
			return nil, fmt.Errorf("stored intermediate %s: %w", stored.KeyName, err)
		}
		key, err := c.c.Keys.Open(ctx, stored.KeyName)
		if err != nil {
			return nil, fmt.Errorf("opening key %s: %w", stored.KeyName, err)
		}
		return NewIntermediate(IntermediateConfig{Chain: chain, Bundle: t.bundle, Signer: key, Policy: c.c.Policy})
	}
	return nil, nil
}

func (c *Custodian) due(current *Intermediate, t *custody, now time.Time) bool {
	return current == nil || current.anchorID != AnchorIDOf(t.state.signer(t.bundle)) || mustRenew(current, now)
}

// mustRenew tells whether half of i's life is over, or i begins in the future:
// only a clock that was ahead for a moment can have made that, and waiting for it
// would stop issuance. When now is before even the anchor begins, the clock is
// wrong now, and i is not.
func mustRenew(i *Intermediate, now time.Time) bool {
	if now.Before(i.cert.NotBefore) {
		return !now.Before(i.anchor.NotBefore)
	}
	return !now.Before(renewAfter(i))
}

// renewAfter is the half of an intermediate's life.
func renewAfter(i *Intermediate) time.Time {
	if i == nil {
		return time.Time{}
	}
	begin := i.cert.NotBefore.Add(CABackdate)
	return begin.Add(i.notAfter.Sub(begin) / 2)
}

// renew makes a new key and has the root sign it. The order keeps a crash
// harmless: name the key in the state, make it, have it signed and checked,
// store the new intermediate and retire the old in one step. because is why the
// old one could not be opened, nil if it could. Once it is stored, the new
// intermediate is returned even with an error: the old one signs no more.
func (c *Custodian) renew(ctx context.Context, t *custody, now time.Time, because error) (*Intermediate, error) {
	name, err := newKeyName()
	if err != nil {
		return nil, fmt.Errorf("naming the new intermediate's key: %w", err)
	}
	pending := t.state
	pending.PendingKey = name
	if err := t.replace(ctx, pending); err != nil {
		return nil, fmt.Errorf("storing the intent to make key %s: %w", name, err)
	}
	key, err := c.c.Keys.Create(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("making the new intermediate's key: %w", err)
	}
	next, err := c.obtain(ctx, t, key, now)
	if err != nil {
		return nil, fmt.Errorf("obtaining a new intermediate: %w", err)
	}
	state := t.state.withIntermediate(name, next, now)
	for i := range state.Intermediates {
		c.retire(&state.Intermediates[i], name, now)
	}
	if err := t.replace(ctx, state); err != nil {
		return nil, fmt.Errorf("storing the new intermediate: %w", err)
	}
	detail := map[string]string{
		"key_id": next.KeyID(), "not_after": next.notAfter.UTC().Format(time.RFC3339), "anchor": next.anchorID.String(),
	}
	if because != nil {
		detail["because"] = because.Error()
	}
	return next, c.event(ctx, now, "intermediate.renew", detail)
}

// isOutage tells whether a key could not be opened because the store that has it
// is out of reach: the key is as good as before, and is waited for. Whatever else
// keeps a key from being opened makes it one that will never sign again.
func isOutage(err error) bool {
	return err != nil && ReasonOf(err).Class() == Unavailable
}

// retire marks an intermediate that no longer signs. Its leaves end at the
// latest a leaf lifetime from now, and never after it.
func (c *Custodian) retire(old *StateIntermediate, except string, now time.Time) {
	if old.KeyName == except || !old.RetiredAt.IsZero() {
		return
	}
	old.RetiredAt = now
	old.DestroyAfter = now.Add(c.c.MaxLeafTTL + c.c.Skew)
}

// destroyDead destroys the keys of retired intermediates whose last leaf is dead:
// first the key, then its entry, so that no key is ever left without a name.
func (c *Custodian) destroyDead(ctx context.Context, t *custody, now time.Time) error {
	next := t.state
	next.Intermediates = nil
	for _, i := range t.state.Intermediates {
		if i.RetiredAt.IsZero() || now.Before(i.DestroyAfter) {
			next.Intermediates = append(next.Intermediates, i)
			continue
		}
		if err := c.c.Keys.Destroy(ctx, i.KeyName); err != nil {
			return fmt.Errorf("destroying retired key %s: %w", i.KeyName, err)
		}
		if err := c.event(ctx, now, "intermediate.destroy", map[string]string{"key_name": i.KeyName}); err != nil {
			return err
		}
	}
	if len(next.Intermediates) == len(t.state.Intermediates) {
		return nil
	}
	if err := t.replace(ctx, next); err != nil {
		return fmt.Errorf("forgetting retired intermediates: %w", err)
	}
	return nil
}

// ReplaceExpired puts a new active anchor in the place of one that has expired,
// the repair of last resort: nothing under the old anchor verifies any more, so
// nothing is lost, but every verifier must be given the new bundle. It refuses
// while the active anchor lives, because only a rotation replaces that safely.
func (c *Custodian) ReplaceExpired(ctx context.Context, now time.Time, anchor *x509.Certificate) (*Bundle, error) {
	t, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	if end := t.bundle.Active().NotAfter; now.Before(end) {
		return nil, fmt.Errorf("the active anchor lives until %s; use a rotation to replace it", end.UTC().Format(time.RFC3339))
	}
	anchors := []Anchor{{Certificate: anchor, Slot: SlotActive}}
	for _, a := range t.bundle.Anchors() {
		if now.Before(a.Certificate.NotAfter) {
			anchors = append(anchors, a)
		}
	}
	next := t.state
	next.BundleSeq++
	next.Anchors = stateAnchors(anchors)
	bundle, err := next.Bundle()
	if err != nil {
		return nil, fmt.Errorf("repaired bundle: %w", err)
	}
	if err := t.replace(ctx, next); err != nil {
		return nil, fmt.Errorf("storing the repaired bundle: %w", err)
	}
	return bundle, c.event(ctx, now, "bundle.repair", map[string]string{"anchor": AnchorIDOf(anchor).String()})
}

func (c *Custodian) event(ctx context.Context, now time.Time, action string, detail map[string]string) error {
	if err := c.c.Events.Append(ctx, Event{At: now.UTC(), Actor: "system", Action: action, Detail: detail}); err != nil {
		return fmt.Errorf("recording %s: %w", action, err)
	}
	return nil
}

func newKeyName() (string, error) {
	var b [8]byte
	if err := fips.Random(b[:]); err != nil {
		return "", err
	}
	return "intermediate-" + hex.EncodeToString(b[:]), nil
}
