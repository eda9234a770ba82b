package vault_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/vault"
)

// run runs the client's Run until the test ends or the returned function is called.
func run(t *testing.T, c *vault.Client) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		c.Run(ctx)
		close(done)
	}()
	stop = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("Run does not end with its context")
		}
	}
	t.Cleanup(stop)
	return stop
}

// askFor asks again and again for d, and counts what failed.
func askFor(t *testing.T, c *vault.Client, d time.Duration) (asked int, failed []error) {
	t.Helper()
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-pace.C {
		asked++
		if _, err := c.Do(t.Context(), probe); err != nil {
			failed = append(failed, err)
		}
	}
	return asked, failed
}

func TestRevokedTokenIsReplacedOnceForAllCallers(t *testing.T) {
	s := newServer(t)
	var o observations
	c := s.connect(&o, s.appRole(map[string]any{"token_ttl": "1h"}))
	run(t, c)
	require.NoError(t, ask(t, c))
	for round := 2; round < 5; round++ {
		s.revokeAll("approle")
		var callers sync.WaitGroup
		errs := make([]error, 16)
		for i := range errs {
			callers.Go(func() { _, errs[i] = c.Do(t.Context(), probe) })
		}
		callers.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		require.Equal(t, round, len(o.of("login")))
	}
}

func TestRequestsSucceedOverManyMaxTTLs(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var o observations
	c := s.connect(&o, s.appRole(map[string]any{"token_ttl": "2s", "token_explicit_max_ttl": "4s"}))
	run(t, c)
	asked, failed := askFor(t, c, 14*time.Second)
	require.Empty(t, failed, "of %d", asked)
	logins := o.of("login")
	require.GreaterOrEqual(t, len(logins), 3, "a token lives for 4 s")
	require.LessOrEqual(t, len(logins), 8, "and most of its life is used")
	require.Equal(t, len(logins), o.count("login", vault.OK))
	require.Greater(t, o.count("renew_token", vault.OK), 2)
}

// TestOutageEndsByItself has the token end while the server is away.
func TestOutageEndsByItself(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	login := s.appRole(map[string]any{"token_ttl": "3s", "token_explicit_max_ttl": "3s"})
	for _, row := range []struct {
		name       string
		fail, mend func()
		reason     ca.Reason
	}{
		{"sealed", s.Seal, s.Unseal, ca.ReasonRootSealed},
		{"stopped", s.Stop, func() { s.Restart(); s.Unseal() }, ca.ReasonRootUnreachable},
		{"hanging", s.Pause, s.Resume, ca.ReasonRootTimeout},
	} {
		t.Run(row.name, func(t *testing.T) {
			var o observations
			c := s.connect(&o, login, within(time.Second))
			run(t, c)
			require.Eventually(t, func() bool { return c.Status().LoggedIn }, patience, 10*time.Millisecond)
			row.fail()
			begin := time.Now()
			require.Eventually(t, func() bool { return o.count("login", row.reason) >= 2 }, patience, 10*time.Millisecond)
			require.False(t, c.Status().LoggedIn)
			require.Equal(t, row.reason, ca.ReasonOf(ask(t, c)))
			// A pause has 1 s at least.
			took := time.Since(begin)
			require.LessOrEqual(t, len(o.of("login")), 3+int(took/time.Second), "in %s", took)
			row.mend()
			require.Eventually(t, func() bool { return c.Status().LoggedIn }, patience, 10*time.Millisecond, "nobody asks, Run logs in")
			require.NoError(t, ask(t, c))
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	p := newPKI(t)
	lives := func(seconds int) http.Handler {
		mux := http.NewServeMux()
		mux.HandleFunc("/v1/auth/approle/login", answer(200, "application/json",
			fmt.Sprintf(`{"request_id":"1","auth":{"client_token":"hvs.x","lease_duration":%d,"renewable":true}}`, seconds)))
		mux.HandleFunc("/v1/auth/token/renew-self", answer(200, "application/json",
			fmt.Sprintf(`{"request_id":"1","auth":{"client_token":"hvs.x","lease_duration":%d,"renewable":true}}`, seconds)))
		return mux
	}
	for name, h := range map[string]http.Handler{
		"while the token lives":    lives(3600),
		"with a short token":       lives(3),
		"with a token without end": lives(0),
		"while it pauses":          status(503, "Vault is sealed"),
		"while it logs in":         http.HandlerFunc(silent),
	} {
		t.Run(name, func(t *testing.T) {
			var o observations
			asked := make(chan struct{}, 100)
			s := p.serve(p.issue(nil), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked <- struct{}{}
				h.ServeHTTP(w, r)
			}))
			c := p.connect(s.URL, &o, approle(t))
			stop := run(t, c)
			<-asked
			stop()
			s.CloseClientConnections()
			require.Eventually(t, func() bool { return !strings.Contains(stacks(), "LifetimeWatcher") }, patience, 10*time.Millisecond)
		})
	}
}

func approle(t *testing.T) func(*vault.Config) {
	return func(c *vault.Config) {
		c.Login = vault.Login{Type: vault.LoginAppRole, RoleID: "r", SecretIDFile: write(t, "secret-id", "s")}
	}
}

func stacks() string {
	buffer := make([]byte, 4<<20)
	return string(buffer[:runtime.Stack(buffer, true)])
}

func TestTokenFileThatAnAgentReplacesKeepsRequestsGoing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	token := func() string { return s.PolicyToken(policy(), map[string]any{"ttl": "4s", "explicit_max_ttl": "4s"}) }
	file := write(t, "token", token())
	var o observations
	c := s.connect(&o, vault.Login{Type: vault.LoginToken, TokenFile: file})
	run(t, c)
	for range 4 {
		asked, failed := askFor(t, c, 2500*time.Millisecond)
		require.Empty(t, failed, "of %d", asked)
		replace(t, file, token())
	}
	require.LessOrEqual(t, len(o.of("login")), 14)
	// Without the agent, it is over, and an agent that is back is noticed.
	require.Eventually(t, func() bool { return o.count("login", ca.ReasonRootLogin) > 1 }, patience, 10*time.Millisecond)
	require.False(t, c.Status().LoggedIn)
	replace(t, file, token())
	require.Eventually(t, func() bool { return c.Status().LoggedIn }, patience, 10*time.Millisecond)
}

// TestNoAnswerMakesRunBusy counts what Run asks of servers that behave oddly.
func TestNoAnswerMakesRunBusy(t *testing.T) {
	const seconds = 4
	p := newPKI(t)
	grant := func(lease int, renewable bool) http.HandlerFunc {
		return answer(200, "application/json", fmt.Sprintf(
			`{"request_id":"1","auth":{"client_token":"hvs.x","lease_duration":%d,"renewable":%t,"policies":["kedge"]}}`, lease, renewable))
	}
	for _, row := range []struct {
		name         string
		login, renew http.HandlerFunc
		logins       int // at most, in the time of the test
		renewals     int
	}{
		{"renewals fail", grant(10, true), status(500, "internal error"), 1, 3},
		{"renewals fail, and tokens are short", grant(1, true), status(500), seconds + 1, seconds + 2},
		{"renewals are refused", grant(10, true), status(403, "permission denied"), 1, 2},
		{"renewals grant nothing", grant(10, true), grant(0, true), 1, 2},
		{"renewals grant little", grant(10, true), grant(1, true), seconds + 1, 4 * seconds},
		{"renewals are HTML", grant(10, true), answer(200, "text/html", "<html>"), 1, 3},
		{"tokens end at once", grant(1, false), status(500), seconds + 1, 0},
		{"tokens never end", grant(0, false), status(500), 1, 0},
		{"logins fail", status(500), status(500), 4, 0},
		{"logins are refused", status(400, "invalid role or secret ID"), status(500), 4, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := &pki{t: t, cert: p.cert, key: p.key}
			mux := http.NewServeMux()
			mux.HandleFunc("/v1/auth/approle/login", row.login)
			mux.HandleFunc("/v1/auth/token/renew-self", row.renew)
			var o observations
			c := p.connect(p.serve(p.issue(nil), mux).URL, &o, approle(t))
			stop := run(t, c)
			<-time.After(seconds * time.Second) // the time in which it is counted
			stop()
			require.NotEmpty(t, o.of("login"))
			require.LessOrEqual(t, len(o.of("login")), row.logins)
			require.LessOrEqual(t, len(o.of("renew_token")), row.renewals)
		})
	}
}

func TestRenewalsThatFailAreObserved(t *testing.T) {
	p := newPKI(t)
	for _, row := range []struct {
		h      http.HandlerFunc
		reason ca.Reason
	}{
		{status(503, "Vault is sealed"), ca.ReasonRootSealed},
		{status(403, "permission denied"), ca.ReasonRootDenied},
		{status(307), ca.ReasonRootRedirected},
		{answer(200, "application/json", `{"request_id":"1","auth":{"client_token":"hvs.x","lease_duration":60,"renewable":true}}`), vault.OK},
		{raw(true, send("")), ca.ReasonRootUnreachable},
	} {
		t.Run(string(row.reason), func(t *testing.T) {
			mux := http.NewServeMux()
			mux.HandleFunc("/v1/auth/approle/login", answer(200, "application/json",
				`{"request_id":"1","auth":{"client_token":"hvs.x","lease_duration":60,"renewable":true}}`))
			mux.HandleFunc("/v1/auth/token/renew-self", row.h)
			var o observations
			run(t, p.connect(p.serve(p.issue(nil), mux).URL, &o, approle(t)))
			require.Eventually(t, func() bool { return len(o.of("renew_token")) > 0 }, patience, time.Millisecond)
			require.Equal(t, row.reason, o.of("renew_token")[0])
		})
	}
}

func TestEnvironmentHasNoEffect(t *testing.T) {
	p := newPKI(t)
	other := p.serve(p.issue(nil), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s asked elsewhere", r.URL) }))
	for name, value := range map[string]string{
		"VAULT_ADDR": other.URL, "VAULT_AGENT_ADDR": other.URL, "VAULT_TOKEN": "hvs.environment", "VAULT_NAMESPACE": "environment",
		"VAULT_WRAP_TTL": "60s", "VAULT_SKIP_VERIFY": "true", "VAULT_HEADERS": `{"X-Environment":"1"}`, "VAULT_MAX_RETRIES": "5",
		"VAULT_CLIENT_TIMEOUT": "1ms", "VAULT_TLS_SERVER_NAME": "environment", "VAULT_RATE_LIMIT": "0.001:1", "VAULT_SRV_LOOKUP": "true",
		"VAULT_PROXY_ADDR": other.URL, "VAULT_HTTP_PROXY": other.URL, "HTTPS_PROXY": other.URL, "https_proxy": other.URL, "ALL_PROXY": other.URL,
		"VAULT_DISABLE_REDIRECTS": "false", "VAULT_MFA": "environment",
	} {
		t.Setenv(name, value)
	}
	var mu sync.Mutex
	seen := map[string]http.Header{}
	count := map[string]int{}
	h := http.NewServeMux()
	h.HandleFunc("/v1/auth/approle/login", answer(200, "application/json", `{"request_id":"1","auth":{"client_token":"hvs.x","lease_duration":60,"renewable":true}}`))
	h.HandleFunc("/v1/auth/token/renew-self", answer(200, "application/json", `{"request_id":"1","auth":{"client_token":"hvs.x","lease_duration":60,"renewable":true}}`))
	h.HandleFunc("/v1/sys/health", answer(200, "application/json", `{"version":"1.19.0","server_time_utc":1790000000}`))
	h.HandleFunc("/v1/fine", answer(200, "application/json", issuer))
	h.HandleFunc("/v1/busy", status(503))
	s := p.serve(p.issue(nil), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.URL.Path] = r.Header.Clone()
		count[r.URL.Path]++
		mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	var o observations
	c := p.connect(s.URL, &o, approle(t))
	run(t, c)
	_, err := c.Health(t.Context())
	require.NoError(t, err)
	_, err = c.Do(t.Context(), vault.Request{Operation: "read", Method: http.MethodGet, Path: "fine"})
	require.NoError(t, err)
	_, err = c.Do(t.Context(), vault.Request{Operation: "busy", Method: http.MethodPost, Path: "busy", Anonymous: true})
	require.Equal(t, ca.ReasonRootUnavailable, ca.ReasonOf(err))
	require.Eventually(t, func() bool { return o.count("renew_token", vault.OK) > 0 }, patience, time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, 1, count["/v1/busy"], "a request is made once")
	for path, token := range map[string]string{
		"/v1/auth/approle/login": "", "/v1/sys/health": "", "/v1/busy": "", "/v1/fine": "hvs.x", "/v1/auth/token/renew-self": "hvs.x",
	} {
		require.Contains(t, seen, path)
		require.Equal(t, token, seen[path].Get("X-Vault-Token"), path)
		require.Equal(t, "true", seen[path].Get("X-Vault-Request"), path)
		for _, name := range []string{"X-Vault-Namespace", "X-Vault-Wrap-Ttl", "X-Environment", "X-Vault-Mfa"} {
			require.Empty(t, seen[path].Get(name), "%s: %s", path, name)
		}
	}
	t.Run("nor does VAULT_SKIP_VERIFY let another server in", func(t *testing.T) {
		stranger := newPKI(t)
		c := p.connect(stranger.serve(stranger.issue(nil), h).URL, &o, approle(t))
		_, err := c.Do(t.Context(), vault.Request{Operation: "read", Method: http.MethodGet, Path: "fine"})
		require.Equal(t, ca.ReasonRootTLS, ca.ReasonOf(err))
	})
}

// The library reads it before it can be told not to; the failure says what to do.
func TestEnvironmentThatCannotBeReadIsNamed(t *testing.T) {
	t.Setenv("VAULT_MAX_RETRIES", "many")
	_, err := vault.New(vault.Config{
		Address: "https://vault.example:8200", CAFile: newPKI(t).file(), Now: time.Now,
		Login: vault.Login{Type: vault.LoginToken, TokenFile: "/run/token"},
	})
	require.ErrorContains(t, err, "VAULT_*")
}

func TestNamespaceIsSent(t *testing.T) {
	p := newPKI(t)
	headers := make(chan http.Header, 4)
	var o observations
	c := p.connect(p.serve(p.issue(nil), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers <- r.Header.Clone()
		answer(200, "application/json", lookup)(w, r)
	})).URL, &o, func(c *vault.Config) { c.Namespace = "team/kedge" })
	_, err := c.Do(t.Context(), vault.Request{Operation: "read", Method: http.MethodGet, Path: "fine"})
	require.NoError(t, err)
	require.Equal(t, "team/kedge", (<-headers).Get("X-Vault-Namespace"), "in the login")
	require.Equal(t, "team/kedge", (<-headers).Get("X-Vault-Namespace"), "in the request")
}
