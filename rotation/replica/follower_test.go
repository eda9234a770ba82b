package replica_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/journal"
	"github.com/kedge-ca/kedge/rotation/primary"
	"github.com/kedge-ca/kedge/rotation/replica"
	"github.com/kedge-ca/kedge/rotation/rotationtest"
)

// source is a primary that can be away.
type source struct {
	primary.Source
	mu      sync.Mutex
	err     error
	reports []rotation.Report
}

func (s *source) away(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *source) fails() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *source) Follow(ctx context.Context, have primary.Have) (primary.Directive, error) {
	if err := s.fails(); err != nil {
		return primary.Directive{}, err
	}
	return s.Source.Follow(ctx, have)
}

func (s *source) Report(ctx context.Context, r rotation.Report) error {
	if err := s.fails(); err != nil {
		return err
	}
	s.mu.Lock()
	s.reports = append(s.reports, r)
	s.mu.Unlock()
	return s.Source.Report(ctx, r)
}

func (s *source) last() rotation.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reports[len(s.reports)-1]
}

// follower is one of a replica of a world, beside the harness's own.
type follower struct {
	*replica.Follower
	w      *rotationtest.World
	p      *rotationtest.Process
	source *source
	upkeep error // what the next upkeep fails with

	mu     sync.Mutex
	failed []error
}

func newFollower(t *testing.T, seed uint64) *follower {
	t.Helper()
	w := rotationtest.New(t, rotationtest.Config{Zones: 1, Replicas: 1, Seed: seed})
	f := &follower{w: w, p: w.Zones["zone-0"][0], source: &source{Source: w.Primary()}}
	var err error
	f.Follower, err = replica.New(replica.Config{
		Zone: "zone-0", Replica: "r0", Version: "test", Source: f.source, Custodian: f.p.Custodian, Authority: f.p.Authority, Now: w.Clock.Now,
		Upkeep: func(ctx context.Context) error {
			if f.upkeep != nil {
				return f.upkeep
			}
			return f.p.Upkeep(ctx)
		},
		Failed: func(err error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.failed = append(f.failed, err)
		},
	})
	require.NoError(t, err)
	return f
}

// held is what the replica holds, for comparing.
func (f *follower) held(t *testing.T) []any {
	t.Helper()
	h, err := f.p.Custodian.Held(t.Context())
	require.NoError(t, err)
	return []any{h.Bundle.Sequence(), string(h.Bundle.PEM()), string(h.Signed), h.Command, h.Halted}
}

// command gives the replica's zone a command at the primary.
func (f *follower) command(t *testing.T, signer ca.AnchorID, epoch uint64) ca.Command {
	t.Helper()
	c := rotation.Command{Zone: "zone-0", Command: ca.Command{Signer: signer, Epoch: epoch}}
	_, err := journal.NewCommands(f.w.Docs).Give(t.Context(), c)
	require.NoError(t, err)
	return c.Command
}

func (f *follower) failures() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.failed)
}

func TestFollowerNeedsWhatItWorksWith(t *testing.T) {
	_, err := replica.New(replica.Config{})
	require.Error(t, err)
}

// TestFollowerTakesWhatIsNewAndReportsIt in the time of a bubble.
func TestFollowerTakesWhatIsNewAndReportsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollower(t, 41)
		ctx, stop := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { f.Run(ctx) })
		synctest.Wait()
		require.Equal(t, f.p.Authority.Bundle().Sequence(), f.source.last().Sequence)

		require.NoError(t, f.w.Primary().AddStandby(ctx, f.w.NewRoot(), "uid:0"))
		require.NoError(t, f.w.Primary().Halt(ctx, "uid:0", "a drill"))
		synctest.Wait()
		require.EqualValues(t, 2, f.p.Authority.Bundle().Sequence())
		require.Equal(t, ca.ReasonHalted, ca.ReasonOf(f.p.Authority.Ready(f.w.Clock.Now())))
		last := f.source.last()
		require.Equal(t, "a drill", last.Halted)
		require.EqualValues(t, 2, last.Sequence)
		s, err := f.w.Primary().Status(ctx)
		require.NoError(t, err)
		require.Equal(t, s.Hash.String(), last.BundleHash)

		before := len(f.source.reports)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		require.Len(t, f.source.reports, before+2, "every five seconds")
		require.Zero(t, f.failures())
		stop()
		run.Wait()
	})
}

// TestPrimaryThatIsAwayStopsNothing in the time of a bubble: it is asked again after
// growing waits, and heard when it is back.
func TestPrimaryThatIsAwayStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollower(t, 42)
		f.source.away(errors.New("no route"))
		ctx, stop := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { f.Run(ctx) })
		time.Sleep(time.Minute)
		synctest.Wait()
		require.NoError(t, f.p.Authority.Ready(f.w.Clock.Now()))
		follows := f.failures() - 13 // reports fail as well, every five seconds
		require.Less(t, follows, 12)
		require.Greater(t, follows, 5)
		require.NoError(t, f.w.Primary().Halt(ctx, "uid:0", "a drill"))
		f.source.away(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, ca.ReasonHalted, ca.ReasonOf(f.p.Authority.Ready(f.w.Clock.Now())))
		stop()
		run.Wait()
	})
}

func TestDirectiveThatMustNotBeTakenIsRefused(t *testing.T) {
	f := newFollower(t, 43)
	root := f.w.NewRoot()
	require.NoError(t, f.w.Primary().AddStandby(t.Context(), root, "uid:0"))
	require.NoError(t, f.w.Primary().AddStandby(t.Context(), f.w.NewRoot(), "uid:0"))
	chain, err := f.w.Primary().Bundles(t.Context(), 0)
	require.NoError(t, err)
	other, err := rotationtest.New(t, rotationtest.Config{Zones: 1, Replicas: 1}).Primary().Bundles(t.Context(), 0)
	require.NoError(t, err)
	forged := bundle.Signed{Payload: chain[1].Payload, Signatures: other[0].Signatures}
	active := ca.AnchorIDOf(f.p.Authority.Intermediate().Anchor())
	require.NoError(t, f.p.Custodian.Obey(t.Context(), f.w.Clock.Now(), ca.Command{Signer: active, Epoch: 4}))
	before := f.held(t)
	for name, refused := range map[string]struct {
		directive primary.Directive
		reason    ca.Reason
	}{
		"a gap":                     {primary.Directive{Bundles: chain[2:]}, ca.ReasonBundleGap},
		"forged":                    {primary.Directive{Bundles: []bundle.Signed{forged}}, ca.ReasonBundleSignature},
		"another history":           {primary.Directive{Bundles: other}, ca.ReasonBundleForked},
		"cut short":                 {primary.Directive{Bundles: []bundle.Signed{{Payload: chain[1].Payload[:40]}}}, ca.ReasonBundleMalformed},
		"an anchor not held":        {primary.Directive{Command: ca.Command{Signer: root, Epoch: 5}}, ca.ReasonStale},
		"a command after a gap":     {primary.Directive{Bundles: chain[2:], Command: ca.Command{Signer: active, Epoch: 5}}, ca.ReasonBundleGap},
		"upkeep that does not work": {primary.Directive{}, ca.ReasonRootUnavailable},
	} {
		f.upkeep = nil
		if refused.reason == ca.ReasonRootUnavailable {
			f.upkeep = ca.Refuse(ca.ReasonRootUnavailable, "sealed")
		}
		require.Equal(t, refused.reason, ca.ReasonOf(f.Take(t.Context(), refused.directive)), name)
		require.Equal(t, before, f.held(t), name)
	}
	f.upkeep = nil
	for name, late := range map[string]primary.Directive{
		"what is held":       {Bundles: chain[:1]},
		"an overtaken order": {Command: ca.Command{Signer: active, Epoch: 3}},
		"nothing":            {},
	} {
		require.NoError(t, f.Take(t.Context(), late), name)
		require.Equal(t, before, f.held(t), name)
	}
	err = f.Take(t.Context(), primary.Directive{Bundles: chain[2:], Halted: "a drill"})
	require.Equal(t, ca.ReasonBundleGap, ca.ReasonOf(err))
	require.Equal(t, ca.ReasonHalted, ca.ReasonOf(f.p.Authority.Ready(f.w.Clock.Now())), "a halt waits for nothing")

	require.NoError(t, f.Take(t.Context(), primary.Directive{Bundles: chain, Command: f.command(t, root, 5)}))
	require.EqualValues(t, 3, f.p.Authority.Bundle().Sequence())
	require.Equal(t, root, ca.AnchorIDOf(f.p.Authority.Intermediate().Anchor()))
}

// TestRunThatBreaksOffIsTakenUpToThere: what came before the forged one is good.
func TestRunThatBreaksOffIsTakenUpToThere(t *testing.T) {
	f := newFollower(t, 44)
	require.NoError(t, f.w.Primary().AddStandby(t.Context(), f.w.NewRoot(), "uid:0"))
	require.NoError(t, f.w.Primary().AddStandby(t.Context(), f.w.NewRoot(), "uid:0"))
	chain, err := f.w.Primary().Bundles(t.Context(), 0)
	require.NoError(t, err)
	chain[2].Signatures = nil
	require.Equal(t, ca.ReasonBundleSignature, ca.ReasonOf(f.Take(t.Context(), primary.Directive{Bundles: chain})))
	require.EqualValues(t, 2, f.p.Authority.Bundle().Sequence())
}

// TestReportSaysNoMoreThanIsInForce: what is stored and not in force was given to
// nobody.
func TestReportSaysNoMoreThanIsInForce(t *testing.T) {
	f := newFollower(t, 45)
	old := ca.AnchorIDOf(f.p.Authority.Intermediate().Anchor())
	next := f.w.NewRoot()
	require.NoError(t, f.w.Primary().AddStandby(t.Context(), next, "uid:0"))
	chain, err := f.w.Primary().Bundles(t.Context(), 1)
	require.NoError(t, err)
	f.upkeep = ca.Refuse(ca.ReasonRootUnavailable, "sealed")
	require.Error(t, f.Take(t.Context(), primary.Directive{Bundles: chain, Command: f.command(t, next, 1), Plan: "r1"}))
	look := func() rotation.Report {
		r, err := f.Look(t.Context())
		require.NoError(t, err)
		return r
	}
	r := look()
	require.Equal(t, []any{uint64(1), uint64(0), old, "r1"}, []any{r.Sequence, r.Epoch, r.Signer, r.Plan})
	require.Empty(t, r.BundleHash)
	f.upkeep = nil
	require.NoError(t, f.Take(t.Context(), primary.Directive{}))
	r = look()
	require.Equal(t, []any{uint64(2), uint64(1), next, ""}, []any{r.Sequence, r.Epoch, r.Signer, r.Plan})
	require.NotEmpty(t, r.BundleHash)
	require.Contains(t, r.HighWater, old, "its leaves live on")
	require.Equal(t, f.p.Authority.Intermediate().NotAfter(), r.Lease)
}

// TestBundleFromBeforeTheChainHasToBeItsBeginning where the source is not trusted.
func TestBundleFromBeforeTheChainHasToBeItsBeginning(t *testing.T) {
	f := newFollower(t, 46)
	other, err := rotationtest.New(t, rotationtest.Config{Zones: 1, Replicas: 1}).Primary().Bundles(t.Context(), 0)
	require.NoError(t, err)
	later, err := rotationtest.New(t, rotationtest.Config{Zones: 1, Replicas: 1, Sequence: 5}).Primary().Bundles(t.Context(), 0)
	require.NoError(t, err)
	own, err := f.w.Primary().Bundles(t.Context(), 0)
	require.NoError(t, err)
	f.p.Forget(t)
	for name, came := range map[string][]bundle.Signed{"other anchors": other, "a later beginning": later} {
		require.Equal(t, ca.ReasonBundleForked, ca.ReasonOf(f.Take(t.Context(), primary.Directive{Bundles: came})), name)
	}
	require.NoError(t, f.Take(t.Context(), primary.Directive{Bundles: own}))
	held, err := f.p.Custodian.Held(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, held.Signed)
}
