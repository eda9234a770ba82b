package agent_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/agent"
	"github.com/kedge-ca/kedge/api/client"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

func identity(t *testing.T, s string) ca.Identity {
	t.Helper()
	id, err := ca.ParseIdentity(s)
	require.NoError(t, err)
	return id
}

const (
	web = "spiffe://example.org/ns/default/sa/web"
	db  = "spiffe://example.org/ns/default/sa/db"
)

// source is a server that says what the functions say.
type source struct {
	issue func() (*client.Certificate, error)
	renew func() (*client.Certificate, error)
	news  chan client.News
}

func (s *source) Issue(context.Context) (*client.Certificate, error) { return s.issue() }

func (s *source) Renew(context.Context, tls.Certificate) (*client.Certificate, error) {
	return s.renew()
}

func (s *source) Watch(ctx context.Context, each func(client.News)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case n := <-s.news:
			each(n)
		}
	}
}

// certificate lives for a day from now and is due after an hour.
func certificate(of string, sequence uint64) *client.Certificate {
	return &client.Certificate{
		Identity: of, Sequence: sequence, RenewAt: time.Now().Add(time.Hour),
		Chain:  []*x509.Certificate{{NotBefore: time.Now(), NotAfter: time.Now().Add(24 * time.Hour)}},
		Bundle: []*x509.Certificate{{}},
	}
}

// events keeps what the agent told.
type events struct {
	mu      sync.Mutex
	renewed int
	failed  []string
}

func (e *events) Renewed(*client.Certificate) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.renewed++
}

func (e *events) Failed(_ ca.Identity, err error, _ time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failed = append(e.failed, err.Error())
}

func (e *events) failures() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.failed)
}

func value[T any](v T) *T { return &v }

func config(t *testing.T, workloads ...agent.Workload) agent.Config {
	t.Helper()
	domain, err := ca.ParseTrustDomain("example.org")
	require.NoError(t, err)
	return agent.Config{TrustDomain: domain, Workloads: workloads, Digest: agent.DigestOf, Now: time.Now, Events: &events{}}
}

func TestAnAgentIsRefusedWithout(t *testing.T) {
	whole := func() agent.Config {
		return config(t, agent.Workload{Identity: identity(t, web), Selector: agent.Selector{UID: value(uint32(1))}, Source: &source{}})
	}
	_, err := agent.New(whole())
	require.NoError(t, err)
	for name, spoil := range map[string]func(*agent.Config){
		"a trust domain":                 func(c *agent.Config) { c.TrustDomain = ca.TrustDomain{} },
		"a clock":                        func(c *agent.Config) { c.Now = nil },
		"a reader of executables":        func(c *agent.Config) { c.Digest = nil },
		"somebody to tell":               func(c *agent.Config) { c.Events = nil },
		"workloads":                      func(c *agent.Config) { c.Workloads = nil },
		"a selector":                     func(c *agent.Config) { c.Workloads[0].Selector = agent.Selector{} },
		"a source":                       func(c *agent.Config) { c.Workloads[0].Source = nil },
		"identities of its domain":       func(c *agent.Config) { c.Workloads[0].Identity = identity(t, "spiffe://other.org/a") },
		"an identity for each":           func(c *agent.Config) { c.Workloads[0].Identity = ca.Identity{} },
		"one workload for each identity": func(c *agent.Config) { c.Workloads = append(c.Workloads, c.Workloads[0]) },
	} {
		c := whole()
		spoil(&c)
		_, err := agent.New(c)
		require.Error(t, err, name)
	}
}

func TestAProcessIsWhatEverythingThatIsSetSays(t *testing.T) {
	ours, other := agent.Digest(sha256.Sum256([]byte("ours"))), agent.Digest(sha256.Sum256([]byte("other")))
	c := config(t,
		agent.Workload{Identity: identity(t, web), Selector: agent.Selector{UID: value(uint32(1)), GID: value(uint32(2))}, Source: &source{}},
		agent.Workload{Identity: identity(t, db), Selector: agent.Selector{UID: value(uint32(1)), Executable: &ours}, Source: &source{}},
	)
	unreadable := errors.New("unreadable")
	c.Digest = func(pid int32) (agent.Digest, error) {
		switch pid {
		case 7:
			return ours, nil
		case 8:
			return other, nil
		}
		return agent.Digest{}, unreadable
	}
	a, err := agent.New(c)
	require.NoError(t, err)
	for name, row := range map[string]struct {
		peer agent.Peer
		want []ca.Identity
		err  error
	}{
		"both":                      {agent.Peer{UID: 1, GID: 2, PID: 7}, []ca.Identity{identity(t, web), identity(t, db)}, nil},
		"another executable":        {agent.Peer{UID: 1, GID: 2, PID: 8}, []ca.Identity{identity(t, web)}, nil},
		"another group":             {agent.Peer{UID: 1, GID: 3, PID: 7}, []ca.Identity{identity(t, db)}, nil},
		"another user":              {agent.Peer{UID: 2, GID: 2, PID: 7}, nil, agent.ErrUnknown},
		"nothing but the user":      {agent.Peer{UID: 1, GID: 3, PID: 8}, nil, agent.ErrUnknown},
		"an unreadable executable":  {agent.Peer{UID: 1, GID: 2, PID: 9}, nil, unreadable},
		"unreadable, but no matter": {agent.Peer{UID: 3, GID: 2, PID: 9}, nil, agent.ErrUnknown},
	} {
		got, err := a.Attest(row.peer)
		require.ErrorIs(t, err, row.err, name)
		require.Equal(t, row.want, got, name)
	}
}

func TestTheDigestIsThatOfTheRunningFile(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	content, err := os.ReadFile(exe)
	require.NoError(t, err)
	got, err := agent.DigestOf(int32(os.Getpid()))
	require.NoError(t, err)
	require.Equal(t, agent.Digest(sha256.Sum256(content)), got)
	_, err = agent.DigestOf(-1)
	require.Error(t, err)
}

// start runs an agent of one workload in a bubble.
func start(t *testing.T, s *source) (*agent.Agent, *events) {
	t.Helper()
	s.news = make(chan client.News)
	c := config(t, agent.Workload{Identity: identity(t, web), Selector: agent.Selector{UID: value(uint32(1))}, Source: s})
	a, err := agent.New(c)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return a, c.Events.(*events)
}

func held(t *testing.T, a *agent.Agent) (agent.Grant, <-chan struct{}) {
	t.Helper()
	return a.Grant([]ca.Identity{identity(t, web), identity(t, db)})
}

func TestAFirstCertificateIsTriedUntilItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		a, told := start(t, &source{issue: func() (*client.Certificate, error) {
			if tries++; tries < 4 {
				return nil, errors.New("down")
			}
			return certificate(web, 1), nil
		}})
		none, changed := held(t, a)
		require.Equal(t, agent.Grant{}, none)
		<-changed
		got, _ := held(t, a)
		require.Len(t, got.Certificates, 1)
		require.Equal(t, uint64(1), got.Bundle.Sequence)
		require.Len(t, told.failures(), 3)
	})
}

func TestACertificateOfAnotherIdentityIsHandedToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, told := start(t, &source{issue: func() (*client.Certificate, error) { return certificate(db, 1), nil }})
		time.Sleep(time.Hour)
		got, _ := held(t, a)
		require.Equal(t, agent.Grant{}, got)
		require.NotEmpty(t, told.failures())
		require.Contains(t, told.failures()[0], "to the workload "+web)
	})
}

func TestAFailedRenewalDropsNothingAndAnEndedCertificateBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var issued atomic.Int32
		a, told := start(t, &source{
			issue: func() (*client.Certificate, error) { issued.Add(1); return certificate(web, 1), nil },
			renew: func() (*client.Certificate, error) { return nil, errors.New("down") },
		})
		synctest.Wait()
		first, changed := held(t, a)
		time.Sleep(23 * time.Hour)
		still, _ := held(t, a)
		require.True(t, first.Equal(still))
		require.NotEmpty(t, told.failures())
		require.EqualValues(t, 1, issued.Load())
		<-changed // when it has ended
		next, _ := held(t, a)
		require.False(t, first.Equal(next))
		require.EqualValues(t, 2, issued.Load())
	})
}

func TestABundleIsPushedAndNeverGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{issue: func() (*client.Certificate, error) { return certificate(web, 5), nil }}
		a, _ := start(t, s)
		synctest.Wait()
		_, changed := held(t, a)
		anchors := []*x509.Certificate{{}, {}}
		s.news <- client.News{Sequence: 4, Bundle: anchors}
		synctest.Wait()
		got, same := held(t, a)
		require.Equal(t, uint64(5), got.Bundle.Sequence)
		require.Equal(t, changed, same, "nobody is woken for nothing")
		s.news <- client.News{Sequence: 6, Bundle: anchors}
		<-changed
		got, _ = held(t, a)
		require.Equal(t, &agent.Bundle{Sequence: 6, Anchors: anchors}, got.Bundle)
		require.Len(t, got.Certificates, 1)
	})
}
