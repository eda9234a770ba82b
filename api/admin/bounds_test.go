package admin_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/kedge-ca/kedge/api/admin"
	"github.com/kedge-ca/kedge/api/apitest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
)

// endless is a store without an end; it notes how much was asked of it at once.
type endless struct{ limits []int }

func (e *endless) Records(_ context.Context, q ca.Query) ([]ca.Record, error) {
	e.limits = append(e.limits, q.Limit)
	records := make([]ca.Record, q.Limit)
	for i := range records {
		records[i].Seq = q.AfterSeq + uint64(i) + 1
	}
	return records, nil
}

func (e *endless) Events(_ context.Context, _ uint64, _ bool, limit int) ([]ca.Event, error) {
	e.limits = append(e.limits, limit)
	return nil, nil
}

func (e *endless) Verify(context.Context) (uint64, error) { return 0, nil }

// registered catches the service instead of serving it.
type registered struct{ service kedgev1.AdminServer }

func (r *registered) RegisterService(_ *grpc.ServiceDesc, service any) {
	r.service = service.(kedgev1.AdminServer)
}

// counted is a stream that counts what is sent.
type counted[T any] struct {
	grpc.ServerStream
	ctx context.Context
	n   int
}

func (c *counted[T]) Context() context.Context { return c.ctx }

func (c *counted[T]) Send(*T) error {
	c.n++
	return nil
}

// TestNoAnswerIsEndless: whatever is asked for, a search ends and asks the store
// for no more than it holds in memory well.
func TestNoAnswerIsEndless(t *testing.T) {
	rows := map[string]struct {
		call  func(t *testing.T, s kedgev1.AdminServer) int // how much it sent
		sent  int
		limit int // the largest that the store was asked for
	}{
		"a search": {func(t *testing.T, s kedgev1.AdminServer) int {
			stream := &counted[kedgev1.Record]{ctx: t.Context()}
			require.NoError(t, s.SearchRecords(&kedgev1.SearchRecordsRequest{Limit: math.MaxUint32}, stream))
			return stream.n
		}, 100_000, 500},
		"a search from the newest": {func(t *testing.T, s kedgev1.AdminServer) int {
			stream := &counted[kedgev1.Record]{ctx: t.Context()}
			require.NoError(t, s.SearchRecords(&kedgev1.SearchRecordsRequest{Limit: math.MaxUint32, NewestFirst: true}, stream))
			return stream.n
		}, 10_000, 10_000},
		"a tail": {func(t *testing.T, s kedgev1.AdminServer) int {
			stream := &counted[kedgev1.Record]{ctx: t.Context()}
			require.NoError(t, s.TailRecords(&kedgev1.TailRecordsRequest{Last: math.MaxUint32}, stream))
			return stream.n
		}, 10_000, 10_000},
		"events": {func(t *testing.T, s kedgev1.AdminServer) int {
			stream := &counted[kedgev1.Event]{ctx: t.Context()}
			require.NoError(t, s.ListEvents(&kedgev1.ListEventsRequest{Limit: math.MaxUint32}, stream))
			return stream.n
		}, 0, 100_000},
	}
	c := catest.New(t)
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			records, r := &endless{}, &registered{}
			require.NoError(t, admin.Register(r, admin.Config{
				Records: records, Tokens: &store{}, Events: &catest.Events{}, Operations: &operations{ca: c}, Domain: c.Domain,
				Now: func() time.Time { return catest.Start }, Poll: time.Hour,
			}))
			require.Equal(t, row.sent, row.call(t, r.service))
			most := 0
			for _, limit := range records.limits {
				most = max(most, limit)
			}
			require.Equal(t, row.limit, most)
		})
	}
}

// fullLog is an event log that cannot be written.
type fullLog struct{}

func (fullLog) Append(context.Context, ca.Event) error { return errors.New("disk full") }

// TestWhatCannotBeRecordedIsNotDone: a token that was made may not be handed out
// either.
func TestWhatCannotBeRecordedIsNotDone(t *testing.T) {
	w := newWorld(t)
	c := config(w)
	c.Events = fullLog{}
	server := grpc.NewServer(grpc.Creds(admin.Credentials()), grpc.UnaryInterceptor(admin.UnaryInterceptor(discard())))
	require.NoError(t, admin.Register(server, c))
	path := socketPath(t)
	l, err := admin.Listen(path)
	require.NoError(t, err)
	serve(t, server, l)
	client := dial(t, path)
	calls := map[string]func() error{
		"repair": func() error { _, err := client.Repair(t.Context(), &kedgev1.RepairRequest{}); return err },
		"renew": func() error {
			_, err := client.RenewIntermediate(t.Context(), &kedgev1.RenewIntermediateRequest{})
			return err
		},
		"reload": func() error { _, err := client.Reload(t.Context(), &kedgev1.ReloadRequest{}); return err },
		"tests":  func() error { _, err := client.SelfTest(t.Context(), &kedgev1.SelfTestRequest{}); return err },
		"a token": func() error {
			_, err := client.CreateJoinToken(t.Context(), &kedgev1.CreateJoinTokenRequest{Identity: workload})
			return err
		},
	}
	for name, call := range calls {
		r := apitest.RequireRefused(t, ca.ReasonRecordFailed, call())
		require.Equal(t, codes.Unavailable, r.Code, name)
	}
	require.Empty(t, w.ops.done)
}
