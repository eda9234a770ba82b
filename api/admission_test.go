package api_test

import (
	"context"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/apitest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
)

func identity(t testing.TB, name string) ca.Identity {
	t.Helper()
	id, err := ca.ParseIdentity("spiffe://cluster.local/ns/default/sa/" + name)
	require.NoError(t, err)
	return id
}

func TestAQuotaGivesItsBurstThenItsRate(t *testing.T) {
	q, err := api.NewQuota(2, 5)
	require.NoError(t, err)
	a, now := identity(t, "a"), catest.Start
	for i := range 5 {
		require.NoError(t, q.Spend(a, now), "the burst, %d", i)
	}
	for range 3 { // a refusal costs nothing
		err = q.Spend(a, now)
		require.Equal(t, ca.ReasonIdentityQuota, ca.ReasonOf(err))
		require.Equal(t, 500*time.Millisecond, api.RetryAfter(err), "when the next one is due")
	}
	require.NoError(t, q.Spend(identity(t, "b"), now), "others have buckets of their own")
	require.Error(t, q.Spend(a, now.Add(499*time.Millisecond)))
	require.NoError(t, q.Spend(a, now.Add(500*time.Millisecond)), "it came when it was told to")
	require.Error(t, q.Spend(a, now.Add(500*time.Millisecond)))
	now = now.Add(time.Hour)
	for i := range 5 {
		require.NoError(t, q.Spend(a, now), "the burst again, not more, %d", i)
	}
	require.Error(t, q.Spend(a, now))
}

// What one identity can have alive is burst + rate × lifetime, in any such time, and
// so the memory that its keys cost is bounded.
func TestAFloodGetsItsBurstAndItsRateInAnyDay(t *testing.T) {
	const rate, burst, day = 1, 5000, 24 * 60 // in minutes
	q, err := api.NewQuota(rate, burst)
	require.NoError(t, err)
	var granted [2 * day]int
	for minute := range granted {
		for q.Spend(identity(t, "a"), catest.Start.Add(time.Duration(minute)*time.Minute)) == nil {
			granted[minute]++
		}
	}
	alive := 0
	for minute, n := range granted {
		if alive += n; minute >= day {
			alive -= granted[minute-day]
		}
		require.LessOrEqual(t, alive, burst+rate*day*60)
	}
	require.Equal(t, burst, granted[0])
	require.Equal(t, rate*day*60, alive, "it is refused no more than that on the second day")
}

// TestARetryTimeIsBounded: a rate of almost nothing does not overflow.
func TestARetryTimeIsBounded(t *testing.T) {
	for _, rate := range []float64{1e-4, 1e-9, 1e-30, 5e-324} {
		q, err := api.NewQuota(rate, 1)
		require.NoError(t, err)
		require.NoError(t, q.Spend(identity(t, "a"), catest.Start))
		require.Equal(t, time.Hour, api.RetryAfter(q.Spend(identity(t, "a"), catest.Start)), rate)
	}
	q, err := api.NewQuota(1e6, 1)
	require.NoError(t, err)
	require.NoError(t, q.Spend(identity(t, "a"), catest.Start))
	require.Equal(t, time.Millisecond, api.RetryAfter(q.Spend(identity(t, "a"), catest.Start)), "never at once")
}

func TestAQuotaOfNothingOrOfEverythingIsNotMade(t *testing.T) {
	for _, row := range []struct {
		rate  float64
		burst int
	}{{0, 1}, {-1, 1}, {1, 0}, {1, -1}, {math.NaN(), 1}, {math.Inf(1), 1}, {math.Inf(-1), 1}} {
		_, err := api.NewQuota(row.rate, row.burst)
		require.Error(t, err, "%+v", row)
	}
	for _, limit := range []int{0, -1} {
		_, err := api.NewGate(limit)
		require.Error(t, err)
	}
}

// TestQuotasAreBounded: who called longest ago is forgotten first.
func TestQuotasAreBounded(t *testing.T) {
	q, err := api.NewQuota(1e-9, 1)
	require.NoError(t, err)
	first, second, now := identity(t, "first"), identity(t, "second"), catest.Start
	require.NoError(t, q.Spend(first, now))
	require.NoError(t, q.Spend(second, now))
	require.Error(t, q.Spend(first, now), "first is now the more recent one")
	for i := range api.MaxQuotas - 1 {
		require.NoError(t, q.Spend(identity(t, strconv.Itoa(i)), now))
	}
	require.Equal(t, api.MaxQuotas, q.Buckets())
	require.Error(t, q.Spend(first, now), "still known")
	require.NoError(t, q.Spend(second, now), "forgotten")
	require.Equal(t, api.MaxQuotas, q.Buckets())
}

func TestAQuotaIsExactUnderConcurrency(t *testing.T) {
	q, err := api.NewQuota(1e-9, 100)
	require.NoError(t, err)
	var granted atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 50 {
				if q.Spend(identity(t, "a"), catest.Start) == nil {
					granted.Add(1)
				}
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 100, granted.Load())
}

func TestAGateIsFullAtItsLimit(t *testing.T) {
	g, err := api.NewGate(2)
	require.NoError(t, err)
	now := catest.Start
	leave, err := g.Enter(t.Context(), now)
	require.NoError(t, err)
	_, err = g.Enter(t.Context(), now)
	require.NoError(t, err)
	_, err = g.Enter(t.Context(), now)
	require.Equal(t, ca.ReasonOverloaded, ca.ReasonOf(err))
	require.Positive(t, api.RetryAfter(err))
	require.EqualValues(t, 2, g.Inside(), "who was refused takes no place")
	leave(now)
	_, err = g.Enter(t.Context(), now)
	require.NoError(t, err)
}

// TestAGateRefusesWhatWouldBeTooLate: under load, an order whose deadline is
// nearer than orders take is refused before any work is lost on it.
func TestAGateRefusesWhatWouldBeTooLate(t *testing.T) {
	g, err := api.NewGate(4)
	require.NoError(t, err)
	now := time.Now() // contexts know no other clock
	for range 200 {   // orders take a second
		leave, err := g.Enter(t.Context(), now)
		require.NoError(t, err)
		leave(now.Add(time.Second))
	}
	hurried, cancel := context.WithDeadline(t.Context(), now.Add(500*time.Millisecond))
	defer cancel()
	patient, cancelPatient := context.WithDeadline(t.Context(), now.Add(time.Minute))
	defer cancelPatient()

	leave, err := g.Enter(hurried, now)
	require.NoError(t, err, "without load, the average says little")
	leave(now.Add(time.Second))
	for range 2 { // half full
		_, err = g.Enter(patient, now)
		require.NoError(t, err)
	}
	_, err = g.Enter(hurried, now)
	require.Equal(t, ca.ReasonOverloaded, ca.ReasonOf(err))
	_, err = g.Enter(patient, now)
	require.NoError(t, err)
	_, err = g.Enter(t.Context(), now)
	require.NoError(t, err, "no deadline, no hurry")
}

// TestOneSlowOrderShutsNoGate: a single stall of the disk is no reason to turn
// everybody away.
func TestOneSlowOrderShutsNoGate(t *testing.T) {
	g, err := api.NewGate(4)
	require.NoError(t, err)
	now := time.Now()
	for _, took := range []time.Duration{time.Millisecond, time.Millisecond, 5 * time.Second} {
		leave, err := g.Enter(t.Context(), now)
		require.NoError(t, err)
		leave(now.Add(took))
	}
	ctx, cancel := context.WithDeadline(t.Context(), now.Add(time.Second))
	defer cancel()
	for range 4 {
		_, err = g.Enter(ctx, now)
		require.NoError(t, err)
	}
}

// TestRefusedOrdersAreToldWhenToComeBack over the wire, with a quota and a gate.
func TestRefusedOrdersAreToldWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := apitest.New(t, apitest.Options{
			Memory: true, Queue: 1, Rate: 0.5, Burst: 1,
			Issuer: func(real api.Issuer) api.Issuer {
				return fakeIssuer{real, func(context.Context) error {
					<-release
					return nil
				}}
			},
		})
		client := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil))
		first := make(chan error, 1)
		ctx, request := s.As(t, "a"), &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")}
		go func() {
			_, err := client.Issue(ctx, request)
			first <- err
		}()
		synctest.Wait()

		_, err := client.Issue(s.As(t, "b"), request)
		r := apitest.RequireRefused(t, ca.ReasonOverloaded, err)
		require.Equal(t, codes.ResourceExhausted, r.Code)
		require.GreaterOrEqual(t, r.Retry.GetRetryDelay().AsDuration(), time.Second)

		close(release)
		require.NoError(t, <-first)
		_, err = client.Issue(ctx, request)
		r = apitest.RequireRefused(t, ca.ReasonIdentityQuota, err)
		require.Equal(t, codes.ResourceExhausted, r.Code)
		require.Equal(t, 2*time.Second, r.Retry.GetRetryDelay().AsDuration())
		require.Zero(t, s.Gate.Inside())
	})
}

// TestAStormIsShedAndSurvived: ten times what fits comes at once; what fits is
// served, the rest is refused, and nothing stays behind.
func TestAStormIsShedAndSurvived(t *testing.T) {
	s := apitest.New(t, apitest.Options{Queue: 4})
	client := kedgev1.NewCertificateAuthorityClient(s.Dial(t, nil))
	var served, shed atomic.Int32
	var all sync.WaitGroup
	for i := range 64 {
		ctx, request := s.As(t, "w"+strconv.Itoa(i)), &kedgev1.IssueRequest{Csr: apitest.CSR(t, "")}
		all.Go(func() {
			_, err := client.Issue(ctx, request)
			if err == nil {
				served.Add(1)
			} else if apitest.RefusalOf(t, err).Reason == ca.ReasonOverloaded {
				shed.Add(1)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 64, served.Load()+shed.Load())
	require.Positive(t, served.Load())
	require.Len(t, s.CA.Recorder.Records(), 1+int(served.Load()))
	require.Zero(t, s.Gate.Inside())
}
