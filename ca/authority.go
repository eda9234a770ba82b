package ca

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// AuthorityConfig is what an Authority is made of. All fields but Gate are needed.
type AuthorityConfig struct {
	FIPS     fips.Policy
	Policy   *Policy
	Recorder Recorder
	Now      func() time.Time
	Gate     func() error // non-nil error stops issuance, such as a failed self-test
}

// Authority issues leaves. Its issuing state is one immutable snapshot behind an
// atomic pointer: a request works with the snapshot that it took first, whatever
// is swapped meanwhile, and no request waits for a lock.
type Authority struct {
	fips     fips.Policy
	recorder Recorder
	now      func() time.Time
	gate     func() error
	owners   *keyOwners
	leaves   *leafTracker

	mu       sync.Mutex // serialises writers of snapshot, guards retired
	snapshot atomic.Pointer[snapshot]
	retired  []*snapshot // that requests may still work with
}

type snapshot struct {
	policy       *Policy
	intermediate *Intermediate // nil until there is one
	bundle       *Bundle       // nil until there is one
	caKeys       map[[32]byte]struct{}
	reissue      Reissue
	changed      chan struct{} // closed when bundle or reissue is replaced
	halted       string        // why nothing may be issued; "" while it may
	requests     *atomic.Int64 // that work with it and are not over
}

// Issued is a certificate that was signed and recorded.
type Issued struct {
	Leaf      []byte   // DER
	Chain     [][]byte // DER, the intermediate first, without the anchor
	Bundle    *Bundle  // in force when the leaf was issued
	Serial    string   // lower-case hex
	Identity  Identity
	Profile   string
	NotBefore time.Time
	NotAfter  time.Time
	RenewAt   time.Time // when the holder should renew, spread over the fleet

	Intermediate *Intermediate
}

// NewAuthority makes an Authority that is not ready until Swap gives it an
// intermediate.
func NewAuthority(c AuthorityConfig) (*Authority, error) {
	if c.Policy == nil || c.Recorder == nil || c.Now == nil {
		return nil, fmt.Errorf("authority needs a policy, a recorder and a clock")
	}
	if c.Gate == nil {
		c.Gate = func() error { return nil }
	}
	a := &Authority{fips: c.FIPS, recorder: c.Recorder, now: c.Now, gate: c.Gate, owners: newKeyOwners(), leaves: newLeafTracker()}
	a.snapshot.Store(&snapshot{policy: c.Policy, changed: make(chan struct{}), requests: new(atomic.Int64)})
	return a, nil
}

// Policy is the FIPS policy that requests are judged by.
func (a *Authority) Policy() fips.Policy { return a.fips }

// Swap puts a new intermediate and bundle in force for requests that begin from
// now on, and returns the intermediate that was in force before.
func (a *Authority) Swap(next *Intermediate, bundle *Bundle) (*Intermediate, error) {
	if next == nil || bundle == nil {
		return nil, fmt.Errorf("swapping to no intermediate or no bundle")
	}
	if !bundle.Contains(next.anchorID) {
		return nil, fmt.Errorf("anchor %s of the intermediate is not in bundle %d", next.anchorID, bundle.seq)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.snapshot.Load()
	if old.bundle != nil && bundle.seq < old.bundle.seq {
		return nil, Refuse(ReasonStale, "bundle %d is older than %d", bundle.seq, old.bundle.seq)
	}
	fresh := *old
	fresh.intermediate, fresh.bundle, fresh.caKeys = next, bundle, next.keyHashes(bundle)
	a.publish(old, &fresh)
	return old.intermediate, nil
}

// PublishBundle puts a bundle in force for an authority that has no intermediate
// to issue with, so that anchors can be had even then.
func (a *Authority) PublishBundle(bundle *Bundle) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.snapshot.Load()
	if old.bundle != nil && bundle.seq <= old.bundle.seq {
		return
	}
	fresh := *old
	fresh.bundle = bundle
	a.publish(old, &fresh)
}

// Reissue asks those who watch the bundle and whose certificate is under another
// anchor to renew, at a moment that each draws evenly from Over. The zero value asks
// nobody.
type Reissue struct {
	Anchor AnchorID
	Over   time.Duration
}

// AskReissue puts r before the watchers of the bundle.
func (a *Authority) AskReissue(r Reissue) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.snapshot.Load()
	if old.reissue == r {
		return
	}
	fresh := *old
	fresh.reissue, fresh.changed = r, make(chan struct{})
	a.snapshot.Store(&fresh)
	close(old.changed)
}

// Reissue is what was asked last.
func (a *Authority) Reissue() Reissue { return a.snapshot.Load().reissue }

// Halt stops all issuance for requests that begin from now on; "" lets it go on. Who
// calls it keeps it durable (Custodian.Halt).
func (a *Authority) Halt(why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.snapshot.Load()
	fresh := *old
	fresh.halted = why
	a.publish(old, &fresh)
}

// SetPolicy puts a new policy in force for requests that begin from now on.
func (a *Authority) SetPolicy(p *Policy) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.snapshot.Load()
	fresh := *old
	fresh.policy = p
	a.publish(old, &fresh)
}

func (a *Authority) publish(old, fresh *snapshot) {
	isNew := old.bundle != fresh.bundle && (old.bundle == nil || fresh.bundle.seq != old.bundle.seq)
	if isNew {
		fresh.changed = make(chan struct{})
	}
	fresh.requests = new(atomic.Int64)
	a.snapshot.Store(fresh)
	if isNew {
		close(old.changed)
	}
	a.retire(old)
}

// Bundle is the bundle in force, nil before there is one.
func (a *Authority) Bundle() *Bundle { return a.snapshot.Load().bundle }

// BundleChanged is closed at the next change of the bundle or of what Reissue asks.
// Take it before reading either, or a change in between is missed.
func (a *Authority) BundleChanged() <-chan struct{} { return a.snapshot.Load().changed }

// Intermediate is the issuing intermediate in force, nil before there is one.
func (a *Authority) Intermediate() *Intermediate { return a.snapshot.Load().intermediate }

// LiveKeys is the number of keys with a live certificate that this authority knows.
func (a *Authority) LiveKeys() int { return a.owners.count() }

// Remember restores from the records, in their order, what is known of a live key and
// its certificate, at start. Where a
// clock that went back has made two owners live again, the one that lives longer
// has the key: what was issued is no reason not to start.
func (a *Authority) Remember(key LiveKey) {
	a.owners.restore(key)
	// Nothing is swept by a time of the past: what is read here has not expired.
	a.leaves.add(key.counted(a.snapshot.Load().policy), time.Time{})
}

// Ready tells why the authority could not issue at now; nil means that it can.
func (a *Authority) Ready(now time.Time) error { return a.ready(a.snapshot.Load(), now) }

func (a *Authority) ready(s *snapshot, now time.Time) error {
	if err := a.gate(); err != nil {
		return &Error{Reason: ReasonFIPS, Err: err}
	}
	switch {
	case s.halted != "":
		return Refuse(ReasonHalted, "issuance is halted: %s", s.halted)
	case s.bundle == nil || s.intermediate == nil:
		return Refuse(ReasonNotReady, "there is no intermediate yet")
	case now.Before(s.intermediate.cert.NotBefore):
		return Refuse(ReasonNotReady, "the intermediate begins at %s; check this machine's clock", s.intermediate.cert.NotBefore)
	case s.intermediate.notAfter.Sub(now) < MinLeafTTL:
		return Refuse(ReasonAuthorityExpired, "the chain ends at %s", s.intermediate.notAfter)
	}
	return nil
}

// Issue gives caller the certificate that r asks for, or an *Error.
//
// Order of effects: policy decides; the exact bytes are made and checked; the
// intent is recorded durably; the leaf is counted; only then are the bytes signed.
// When signing fails the record is voided: it names a certificate that never existed.
// It stays counted, as if it did.
func (a *Authority) Issue(ctx context.Context, caller Caller, r Request) (Issued, error) {
	s := a.enter()
	defer s.requests.Add(-1)
	return a.issue(ctx, s, caller, r)
}

func (a *Authority) issue(ctx context.Context, s *snapshot, caller Caller, r Request) (Issued, error) {
	now := a.now()
	if err := a.ready(s, now); err != nil {
		return Issued{}, err
	}
	grant, err := s.policy.Grant(caller, r)
	if err != nil {
		return Issued{}, err
	}
	p, err := prepare(s, grant, r, now)
	if err != nil {
		return Issued{}, err
	}
	err = a.owners.claim(LiveKey{KeyHash: r.keyHash, Identity: grant.identity.id, NotAfter: p.notAfter}, now)
	if err != nil {
		return Issued{}, err
	}
	if err := a.recorder.Intend(ctx, p.record(caller)); err != nil {
		return Issued{}, recordError(err)
	}
	a.leaves.add(p.counted(caller), now)
	leaf, err := p.sign()
	if err != nil {
		// The caller's context may be over; the void is worth a moment of its own.
		voidCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if voidErr := a.recorder.Void(voidCtx, p.serialHex(), string(ReasonSigningFailed)); voidErr != nil {
			err = fmt.Errorf("%w (and the record of serial %s could not be voided: %w)", err, p.serialHex(), voidErr)
		}
		return Issued{}, &Error{Reason: ReasonSigningFailed, Err: err}
	}
	return p.issued(leaf), nil
}

// recordError keeps the recorder's own reason, such as an overload, and gives
// any other failure the reason that tells the client to retry.
func recordError(err error) error {
	if ReasonOf(err) != ReasonInternal {
		return err
	}
	return &Error{Reason: ReasonRecordFailed, Err: err}
}

// record is the durable intent of p.
func (p *prepared) record(caller Caller) Record {
	return Record{
		Serial: p.serialHex(), Identity: p.grant.identity.id, DNSNames: p.grant.hosts.text(),
		Evidence: caller.evidence, Profile: p.grant.profile.name,
		KeyHash: p.request.keyHash, TBSHash: sha256.Sum256(p.tbs),
		Issuer: p.snapshot.intermediate.KeyID(), Anchor: p.snapshot.intermediate.anchorID,
		BundleSeq: p.snapshot.bundle.seq, IssuedAt: p.now,
		NotBefore: p.notBefore, NotAfter: p.notAfter, RequestID: p.request.requestID,
	}
}

func (p *prepared) serialHex() string { return hex.EncodeToString(p.serial) }
