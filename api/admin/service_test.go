package admin_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kedge-ca/kedge/api/admin"
	"github.com/kedge-ca/kedge/api/apitest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
)

const workload = "spiffe://cluster.local/ns/default/sa/a"

func TestJoinTokensAreBoundedHashedAndRecorded(t *testing.T) {
	w := newWorld(t)
	rows := map[string]struct {
		identity string
		ttl      *durationpb.Duration
		life     time.Duration // 0 is refused
	}{
		"no lifetime":              {workload, nil, time.Hour},
		"zero":                     {workload, &durationpb.Duration{}, time.Hour},
		"1 s":                      {workload, durationpb.New(time.Second), time.Second},
		"24 h":                     {workload, durationpb.New(24 * time.Hour), 24 * time.Hour},
		"1 ns":                     {workload, durationpb.New(1), 0},
		"negative":                 {workload, durationpb.New(-time.Hour), 0},
		"24 h and 1 ns":            {workload, durationpb.New(24*time.Hour + 1), 0},
		"2^63-1 s":                 {workload, &durationpb.Duration{Seconds: math.MaxInt64}, 0},
		"nanoseconds out of range": {workload, &durationpb.Duration{Nanos: math.MaxInt32}, 0},
		"no identity":              {"", nil, 0},
		"another trust domain":     {"spiffe://other/ns/default/sa/a", nil, 0},
		"a trust domain alone":     {"spiffe://cluster.local", nil, 0},
		"no SPIFFE ID":             {"https://cluster.local/a", nil, 0},
		"a dot segment":            {"spiffe://cluster.local/a/../b", nil, 0},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			stored, events := len(w.store.tokens), len(w.store.Log.Actions())
			r, err := w.client.CreateJoinToken(t.Context(), &kedgev1.CreateJoinTokenRequest{Identity: row.identity, Ttl: row.ttl})
			if row.life == 0 {
				require.Equal(t, codes.InvalidArgument, apitest.RequireRefused(t, ca.ReasonRequest, err).Code)
				require.Len(t, w.store.tokens, stored)
				require.Len(t, w.store.Log.Actions(), events)
				return
			}
			require.NoError(t, err)
			require.Equal(t, catest.Start.Add(row.life), r.GetExpiresAt().AsTime())
			kept := w.store.tokens[len(w.store.tokens)-1]
			require.Equal(t, sha256.Sum256([]byte(r.GetToken())), kept.Hash)
			require.Equal(t, workload, kept.Identity.String())
			require.Equal(t, uid(), kept.CreatedBy)
			require.Equal(t, catest.Start.Add(row.life), kept.ExpiresAt)
			require.Len(t, w.store.Log.Actions(), events+1)
			require.NotContains(t, w.log.String(), r.GetToken())
		})
	}
}

func recordsOf(t *testing.T, stream grpc.ServerStreamingClient[kedgev1.Record], err error) []uint64 {
	t.Helper()
	require.NoError(t, err)
	var seqs []uint64
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return seqs
		}
		require.NoError(t, err)
		seqs = append(seqs, r.GetSeq())
	}
}

// TestASearchGoesThroughAllPages: 1 201 records are three pages.
func TestASearchGoesThroughAllPages(t *testing.T) {
	w := newWorld(t)
	w.store.add(1201)
	rows := map[string]struct {
		request     *kedgev1.SearchRecordsRequest
		first, last uint64
		n           int
	}{
		"the default":           {&kedgev1.SearchRecordsRequest{}, 1, 100, 100},
		"a page":                {&kedgev1.SearchRecordsRequest{Limit: 500}, 1, 500, 500},
		"a page and one":        {&kedgev1.SearchRecordsRequest{Limit: 501}, 1, 501, 501},
		"all":                   {&kedgev1.SearchRecordsRequest{Limit: 1201}, 1, 1201, 1201},
		"more than there are":   {&kedgev1.SearchRecordsRequest{Limit: math.MaxUint32}, 1, 1201, 1201},
		"from the middle":       {&kedgev1.SearchRecordsRequest{AfterSeq: 600, Limit: 5000}, 601, 1201, 601},
		"newest first":          {&kedgev1.SearchRecordsRequest{NewestFirst: true}, 1201, 1102, 100},
		"newest first, a lot":   {&kedgev1.SearchRecordsRequest{NewestFirst: true, Limit: math.MaxUint32}, 1201, 1, 1201},
		"after the end":         {&kedgev1.SearchRecordsRequest{AfterSeq: 1201}, 0, 0, 0},
		"after everything ever": {&kedgev1.SearchRecordsRequest{AfterSeq: math.MaxUint64}, 0, 0, 0},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			stream, err := w.client.SearchRecords(t.Context(), row.request)
			seqs := recordsOf(t, stream, err)
			require.Len(t, seqs, row.n)
			if row.n > 0 {
				require.Equal(t, row.first, seqs[0])
				require.Equal(t, row.last, seqs[len(seqs)-1])
			}
		})
	}
}

func TestASearchPassesItsFilters(t *testing.T) {
	w := newWorld(t)
	stream, err := w.client.SearchRecords(t.Context(), &kedgev1.SearchRecordsRequest{
		Serial: "ab", Identity: workload, Method: "oidc", Cluster: "east", AfterSeq: 7, Limit: 3,
	})
	recordsOf(t, stream, err)
	require.Equal(t, []ca.Query{{Serial: "ab", Identity: workload, Method: ca.MethodOIDC, Cluster: "east", AfterSeq: 7, Limit: 3}}, w.store.queries)
}

func TestATailWithoutFollowing(t *testing.T) {
	w := newWorld(t)
	w.store.add(30)
	for last, want := range map[uint32]int{0: 0, 1: 1, 20: 20, 100: 30, math.MaxUint32: 30} {
		stream, err := w.client.TailRecords(t.Context(), &kedgev1.TailRecordsRequest{Last: last})
		seqs := recordsOf(t, stream, err)
		require.Len(t, seqs, want)
		for i, seq := range seqs {
			require.EqualValues(t, 30-want+i+1, seq, "oldest of the newest first")
		}
	}
}

// TestATailFollowsFromEmptyAndThroughBursts: no record is lost or sent twice.
func TestATailFollowsFromEmptyAndThroughBursts(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := w.client.TailRecords(ctx, &kedgev1.TailRecordsRequest{Follow: true, Last: 5})
	require.NoError(t, err)
	next := uint64(1)
	for _, burst := range []int{1, 3, 1700, 1} {
		w.store.add(burst)
		for range burst {
			r, err := stream.Recv()
			require.NoError(t, err)
			require.Equal(t, next, r.GetSeq())
			next++
		}
	}
	cancel()
	_, err = stream.Recv()
	require.Equal(t, codes.Canceled, status.Code(err))
}

func TestEventsAndVerification(t *testing.T) {
	w := newWorld(t)
	w.store.add(3)
	stream, err := w.client.ListEvents(t.Context(), &kedgev1.ListEventsRequest{})
	require.NoError(t, err)
	e, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, "server.start", e.GetAction())
	require.Equal(t, map[string]string{"version": "1"}, e.GetDetail())
	v, err := w.client.VerifyRecords(t.Context(), &kedgev1.VerifyRecordsRequest{})
	require.NoError(t, err)
	require.EqualValues(t, 3, v.GetRecords())
}

// TestAnOperatorsActIsRecordedBeforeItIsDone, and is not done if that fails.
func TestAnOperatorsActIsRecordedBeforeItIsDone(t *testing.T) {
	w := newWorld(t)
	renewed, err := w.client.RenewIntermediate(t.Context(), &kedgev1.RenewIntermediateRequest{})
	require.NoError(t, err)
	require.Equal(t, w.ops.ca.Intermediate.KeyID(), renewed.GetIntermediate().GetKeyId())
	require.Equal(t, w.ops.ca.Intermediate.Certificate().Raw, renewed.GetIntermediate().GetChain()[0])
	_, err = w.client.Repair(t.Context(), &kedgev1.RepairRequest{DryRun: true})
	require.NoError(t, err)
	_, err = w.client.Repair(t.Context(), &kedgev1.RepairRequest{})
	require.NoError(t, err)
	_, err = w.client.Reload(t.Context(), &kedgev1.ReloadRequest{})
	require.NoError(t, err)
	results, err := w.client.SelfTest(t.Context(), &kedgev1.SelfTestRequest{})
	require.NoError(t, err)
	require.Len(t, results.GetResults(), 2)
	require.False(t, results.GetResults()[1].GetOk())
	require.Equal(t, []string{"renew", "repair dry=true", "repair dry=false", "reload", "selftest"}, w.ops.done)
	require.Equal(t, []string{"intermediate.renew_request", "repair.request", "config.reload_request", "fips.selftest"}, w.store.Log.Actions())
}

func TestReportsAreSignedOnDemand(t *testing.T) {
	w := newWorld(t)
	for _, sign := range []bool{false, true} {
		r, err := w.client.FIPSReport(t.Context(), &kedgev1.FIPSReportRequest{Sign: sign})
		require.NoError(t, err)
		require.Equal(t, sign, strings.Contains(string(r.GetReport()), "true"))
	}
}

// TestAnOperatorSeesTheDetailAndTheReason, which clients on the network do not.
func TestAnOperatorSeesTheDetailAndTheReason(t *testing.T) {
	w := newWorld(t)
	w.ops.err = ca.Refuse(ca.ReasonRootUnavailable, "vault at 10.1.2.3 is sealed")
	_, err := w.client.RenewIntermediate(t.Context(), &kedgev1.RenewIntermediateRequest{})
	r := apitest.RequireRefused(t, ca.ReasonRootUnavailable, err)
	require.Equal(t, codes.Unavailable, r.Code)
	require.Contains(t, r.Message, "10.1.2.3")
	w.store.fail = errors.New("disk full")
	_, err = w.client.VerifyRecords(t.Context(), &kedgev1.VerifyRecordsRequest{})
	r = apitest.RequireRefused(t, ca.ReasonInternal, err)
	require.Contains(t, r.Message, "disk full")
}

func TestAPanicEndsACallAndNotTheServer(t *testing.T) {
	w := newWorld(t)
	w.ops.status = func() (*kedgev1.StatusResponse, error) { panic("a defect") }
	_, err := w.client.Status(t.Context(), &kedgev1.StatusRequest{})
	apitest.RequireRefused(t, ca.ReasonInternal, err)
	require.Contains(t, w.log.String(), "service_test.go")
	w.ops.status = func() (*kedgev1.StatusResponse, error) { return &kedgev1.StatusResponse{Version: "1"}, nil }
	r, err := w.client.Status(t.Context(), &kedgev1.StatusRequest{})
	require.NoError(t, err)
	require.Equal(t, "1", r.GetVersion())
}

func TestAnIncompleteServiceIsNotMade(t *testing.T) {
	require.Error(t, admin.Register(grpc.NewServer(), admin.Config{}))
}
