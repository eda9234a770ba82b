package admin_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kedge-ca/kedge/api/admin"
	"github.com/kedge-ca/kedge/api/apitest"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// store keeps records in memory; a real one has its own conformance suite.
type store struct {
	Log     catest.Events
	mu      sync.Mutex
	records []ca.Record
	tokens  []ca.JoinToken
	queries []ca.Query
	fail    error
}

func (s *store) add(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		seq := uint64(len(s.records) + 1)
		s.records = append(s.records, ca.Record{Seq: seq, Serial: fmt.Sprintf("%x", seq), Identity: "spiffe://cluster.local/ns/default/sa/a"})
	}
}

// Records implements admin.Records as a real store does for queries without a filter.
func (s *store) Records(_ context.Context, q ca.Query) ([]ca.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	s.queries = append(s.queries, q)
	var found []ca.Record
	for i := range s.records {
		r := s.records[i]
		if q.Newest {
			r = s.records[len(s.records)-1-i]
		}
		if r.Seq > q.AfterSeq && len(found) < q.Limit {
			found = append(found, r)
		}
	}
	return found, nil
}

func (s *store) Events(context.Context, uint64, bool, int) ([]ca.Event, error) {
	return []ca.Event{{Seq: 1, At: catest.Start, Actor: "system", Action: "server.start", Detail: map[string]string{"version": "1"}}}, s.fail
}

func (s *store) Verify(context.Context) (uint64, error) { return uint64(len(s.records)), s.fail }

func (s *store) CreateJoinToken(_ context.Context, t ca.JoinToken) error {
	s.tokens = append(s.tokens, t)
	return s.fail
}

// operations does what the fields say.
type operations struct {
	status func() (*kedgev1.StatusResponse, error)
	done   []string
	err    error
	ca     *catest.CA
}

func (o *operations) Status(context.Context) (*kedgev1.StatusResponse, error) { return o.status() }

func (o *operations) FIPSReport(_ context.Context, sign bool) ([]byte, error) {
	return fmt.Appendf(nil, "signed: %t", sign), o.err
}

func (o *operations) SelfTest(context.Context) []fips.TestResult {
	o.done = append(o.done, "selftest")
	return []fips.TestResult{{Name: "sha256", OK: true}, {Name: "ecdsa", OK: false, Detail: "broken"}}
}

func (o *operations) RenewIntermediate(context.Context) (*ca.Intermediate, error) {
	o.done = append(o.done, "renew")
	return o.ca.Intermediate, o.err
}

func (o *operations) Repair(_ context.Context, dryRun bool) (*kedgev1.RepairResponse, error) {
	o.done = append(o.done, fmt.Sprintf("repair dry=%t", dryRun))
	return &kedgev1.RepairResponse{Steps: []string{"nothing"}}, o.err
}

func (o *operations) Reload(context.Context) error {
	o.done = append(o.done, "reload")
	return o.err
}

// world is an admin server on a socket, and a client of it.
type world struct {
	store  *store
	ops    *operations
	log    *apitest.Log
	socket string
	client kedgev1.AdminClient
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{store: &store{}, ops: &operations{ca: catest.New(t)}, log: &apitest.Log{}, socket: socketPath(t)}
	log := slog.New(slog.NewJSONHandler(w.log, nil))
	server := grpc.NewServer(grpc.Creds(admin.Credentials()),
		grpc.UnaryInterceptor(admin.UnaryInterceptor(log)), grpc.StreamInterceptor(admin.StreamInterceptor(log)))
	require.NoError(t, admin.Register(server, config(w)))
	listener, err := admin.Listen(w.socket)
	require.NoError(t, err)
	serve(t, server, listener)
	w.client = dial(t, w.socket)
	return w
}

func dial(t *testing.T, socket string) kedgev1.AdminClient {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(admin.Credentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return kedgev1.NewAdminClient(conn)
}

func config(w *world) admin.Config {
	return admin.Config{
		Records: w.store, Tokens: w.store, Events: &w.store.Log, Operations: w.ops, Domain: w.ops.ca.Domain,
		Now: func() time.Time { return catest.Start }, Poll: time.Millisecond,
	}
}

func serve(t *testing.T, server *grpc.Server, l net.Listener) {
	t.Helper()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; !errors.Is(err, grpc.ErrServerStopped) {
			require.NoError(t, err)
		}
	})
}

// socketPath is short enough for a socket, which t.TempDir may not be.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kedge")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return filepath.Join(dir, "admin.sock")
}

// plain is a client without the server's credentials, over any listener.
func plain(t *testing.T, address string) kedgev1.AdminClient {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return kedgev1.NewAdminClient(conn)
}

// uid is the operator as events name it: this process.
func uid() string { return fmt.Sprintf("uid:%d", os.Getuid()) }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
