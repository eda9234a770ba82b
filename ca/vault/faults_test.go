package vault_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/fips"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

const (
	fakeToken = "hvs.fake"
	lookup    = `{"request_id":"1","data":{"ttl":3600,"expire_time":"2099-01-01T00:00:00Z","renewable":true,"policies":["kedge"]}}`
	issuer    = `{"request_id":"2","data":{"certificate":"none"}}`
)

// fault is an answer that no request may survive.
type fault struct {
	name    string
	handler http.HandlerFunc
	reason  ca.Reason
	login   ca.Reason     // when the login meets it; "" is reason
	timeout time.Duration // of the client; 0 is one that is never reached
}

func status(code int, messages ...string) http.HandlerFunc {
	quoted := make([]string, len(messages))
	for i, m := range messages {
		quoted[i] = fmt.Sprintf("%q", m)
	}
	return answer(code, "application/json", fmt.Sprintf(`{"errors":[%s]}`, strings.Join(quoted, ",")))
}

func answer(code int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// raw answers with bytes of its own, and closes the connection with a reset or not.
func raw(reset bool, write func(net.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		write(conn)
		if tcp, ok := conn.(*tls.Conn).NetConn().(*net.TCPConn); ok && reset {
			_ = tcp.SetLinger(0)
			_ = tcp.Close()
			return
		}
		_ = conn.Close()
	}
}

func send(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

// drip sends a space now and then after what it begins with, for as long as
// somebody listens: JSON that never ends.
func drip(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		for ticker := time.NewTicker(10 * time.Millisecond); r.Context().Err() == nil; <-ticker.C {
			if _, err := io.WriteString(w, " "); err != nil {
				ticker.Stop()
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// silent takes the request and never begins to answer. Without its body read, the
// end of the connection would go unseen.
func silent(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

const short = 250 * time.Millisecond

func faults() []fault {
	html := "<html><body>Please log in to the corporate network</body></html>"
	return []fault{
		{name: "200 with HTML", handler: answer(200, "text/html", html), reason: ca.ReasonRootAnswer},
		{name: "200 with HTML that says it is JSON", handler: answer(200, "application/json", html), reason: ca.ReasonRootAnswer},
		{name: "200 with the JSON of something else", handler: answer(200, "application/json", `{"status":"ok"}`), reason: ca.ReasonRootAnswer},
		{name: "200 with errors only", handler: status(200, "failed"), reason: ca.ReasonRootAnswer},
		{name: "200 with nothing", handler: answer(200, "application/json", ""), reason: ca.ReasonRootAnswer},
		{name: "200 with null", handler: answer(200, "application/json", "null"), reason: ca.ReasonRootAnswer},
		{name: "200 with a list", handler: answer(200, "application/json", "[]"), reason: ca.ReasonRootAnswer},
		{name: "200 with truncated JSON", handler: answer(200, "application/json", lookup[:40]), reason: ca.ReasonRootAnswer},
		{name: "200 with 5 MB of JSON", handler: answer(200, "application/json", `{"request_id":"1","data":{"x":"`+strings.Repeat("x", 5<<20)+`"}}`), reason: ca.ReasonRootAnswer},
		{name: "500 with 5 MB of JSON", handler: status(500, strings.Repeat("x", 5<<20)), reason: ca.ReasonRootAnswer},
		{name: "201", handler: answer(201, "application/json", lookup), reason: ca.ReasonRootAnswer},
		{name: "301", handler: status(301), reason: ca.ReasonRootRedirected},
		{name: "304", handler: answer(304, "application/json", ""), reason: ca.ReasonRootRedirected},
		{name: "400", handler: status(400, "no"), reason: ca.ReasonRootRefused, login: ca.ReasonRootLogin},
		{name: "400 namespace", handler: status(400, "namespace not found"), reason: ca.ReasonRootMissing, login: ca.ReasonRootLogin},
		{name: "401", handler: status(401), reason: ca.ReasonRootDenied, login: ca.ReasonRootLogin},
		{name: "403", handler: status(403, "permission denied"), reason: ca.ReasonRootDenied, login: ca.ReasonRootLogin},
		{name: "404", handler: status(404), reason: ca.ReasonRootMissing, login: ca.ReasonRootLogin},
		{name: "405", handler: status(405), reason: ca.ReasonRootMissing, login: ca.ReasonRootLogin},
		{name: "412", handler: status(412, "required index state not present"), reason: ca.ReasonRootStandby},
		{name: "418", handler: status(418), reason: ca.ReasonRootAnswer},
		{name: "429", handler: status(429, "request path quota exceeded"), reason: ca.ReasonRootThrottled},
		{name: "472", handler: status(472), reason: ca.ReasonRootStandby},
		{name: "473", handler: status(473), reason: ca.ReasonRootStandby},
		{name: "474", handler: status(474), reason: ca.ReasonRootStandby},
		{name: "500", handler: status(500, "internal error"), reason: ca.ReasonRootUnavailable},
		{name: "500 with HTML", handler: answer(500, "text/html", html), reason: ca.ReasonRootUnavailable},
		{name: "501", handler: status(501), reason: ca.ReasonRootSealed},
		{name: "502", handler: answer(502, "text/html", html), reason: ca.ReasonRootUnavailable},
		{name: "503 sealed", handler: status(503, "Vault is sealed"), reason: ca.ReasonRootSealed},
		{name: "503 of a balancer", handler: answer(503, "text/plain", "no healthy upstream"), reason: ca.ReasonRootUnavailable},
		{name: "504", handler: status(504), reason: ca.ReasonRootUnavailable},
		{name: "530", handler: status(530), reason: ca.ReasonRootUnavailable},
		{name: "reset before the answer", handler: raw(true, send("")), reason: ca.ReasonRootUnreachable},
		{name: "closed before the answer", handler: raw(false, send("")), reason: ca.ReasonRootUnreachable},
		{name: "reset within the answer", handler: raw(true, send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n{")), reason: ca.ReasonRootAnswer},
		{name: "reset within the header", handler: raw(true, send("HTTP/1.1 200 OK\r\nContent-")), reason: ca.ReasonRootAnswer},
		{name: "not HTTP", handler: raw(false, send("SSH-2.0-OpenSSH_9.9\r\n\r\n")), reason: ca.ReasonRootAnswer},
		{name: "header bomb", handler: raw(false, func(c net.Conn) {
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for i := 0; err == nil; i++ {
				_, err = fmt.Fprintf(c, "X-Bomb-%d: %s\r\n", i, strings.Repeat("x", 1000))
			}
		}), reason: ca.ReasonRootAnswer},
		{name: "never begins", handler: silent, reason: ca.ReasonRootTimeout, timeout: short},
		{name: "slow drip", handler: drip(200), reason: ca.ReasonRootTimeout, timeout: short},
		{name: "slow drip of an error", handler: drip(503), reason: ca.ReasonRootTimeout, timeout: short},
		{name: "slow drip of a header", handler: raw(false, func(c net.Conn) {
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Slow: ")
			for ticker := time.NewTicker(10 * time.Millisecond); err == nil; <-ticker.C {
				_, err = io.WriteString(c, "x")
			}
		}), reason: ca.ReasonRootTimeout, timeout: short},
	}
}

// fakeVault answers one path with a fault and the login's with a live token.
func fakeVault(path string, h http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/auth/token/lookup-self", answer(200, "application/json", lookup))
	mux.HandleFunc("/v1/fine", answer(200, "application/json", issuer))
	if path == "auth/token/lookup-self" {
		mux = http.NewServeMux()
	}
	mux.HandleFunc("/v1/"+path, h)
	return mux
}

// connect makes a client of a server, after change.
func (p *pki) connect(address string, o *observations, change ...func(*vault.Config)) *vault.Client {
	p.t.Helper()
	c := vault.Config{
		Address: address, CAFile: p.file(), Now: time.Now, Observe: o.add,
		Login: vault.Login{Type: vault.LoginToken, TokenFile: write(p.t, "token", fakeToken)},
	}
	for _, f := range change {
		f(&c)
	}
	client, err := vault.New(c)
	require.NoError(p.t, err)
	return client
}

func within(d time.Duration) func(*vault.Config) {
	return func(c *vault.Config) { c.Timeout = d }
}

// patience is far above what any of these takes, and far below a hang.
const patience = 20 * time.Second

func requireSoon(t *testing.T, begin time.Time) {
	t.Helper()
	require.Less(t, time.Since(begin), patience)
}

func TestEveryFaultHasItsReason(t *testing.T) {
	p := newPKI(t)
	cert := p.issue(nil)
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			p := &pki{t: t, cert: p.cert, key: p.key}
			begin := time.Now()
			t.Run("in a request", func(t *testing.T) {
				var o observations
				c := p.connect(p.serve(cert, fakeVault("pki/sign", f.handler)).URL, &o, within(f.timeout))
				data, err := c.Do(t.Context(), vault.Request{Operation: "sign", Method: http.MethodPost, Path: "pki/sign", Body: map[string]any{"csr": "x"}})
				require.Nil(t, data)
				require.Equal(t, f.reason, ca.ReasonOf(err), "%v", err)
				require.Equal(t, f.reason, o.of("sign")[0], "%v", err)
				require.Equal(t, []ca.Reason{vault.OK}, o.of("login"), "it is no reason to log in anew")
				require.Less(t, len(err.Error()), 1000, "what a foreign server says is cut")
				require.NotContains(t, err.Error(), fakeToken)
				// The next request is not disturbed.
				_, err = c.Do(t.Context(), vault.Request{Operation: "read", Method: http.MethodGet, Path: "fine"})
				require.NoError(t, err)
			})
			t.Run("in a request without a token", func(t *testing.T) {
				var o observations
				c := p.connect(p.serve(cert, fakeVault("pki/issuer/default/json", f.handler)).URL, &o, within(f.timeout))
				_, err := c.Do(t.Context(), vault.Request{Operation: "read_issuer", Method: http.MethodGet, Path: "pki/issuer/default/json", Anonymous: true})
				require.Equal(t, f.reason, ca.ReasonOf(err), "%v", err)
				require.Equal(t, []ca.Reason{f.reason}, o.of("read_issuer"))
				require.Empty(t, o.of("login"))
			})
			t.Run("in a login", func(t *testing.T) {
				want := f.login
				if want == "" {
					want = f.reason
				}
				for path, login := range map[string]func(*vault.Config){
					"auth/token/lookup-self": func(*vault.Config) {},
					"auth/approle/login": func(c *vault.Config) {
						c.Login = vault.Login{Type: vault.LoginAppRole, RoleID: "r", SecretIDFile: write(t, "secret-id", "s")}
					},
				} {
					var o observations
					c := p.connect(p.serve(cert, fakeVault(path, f.handler)).URL, &o, within(f.timeout), login)
					_, err := c.Do(t.Context(), vault.Request{Operation: "sign", Method: http.MethodPost, Path: "pki/sign"})
					require.Equal(t, want, ca.ReasonOf(err), "%v", err)
					require.Equal(t, []ca.Reason{want}, o.of("login"))
					require.Empty(t, o.of("sign"))
					require.False(t, c.Status().LoggedIn)
				}
			})
			t.Run("in a question for health", func(t *testing.T) {
				var o observations
				c := p.connect(p.serve(cert, fakeVault("sys/health", f.handler)).URL, &o, within(f.timeout))
				_, err := c.Health(t.Context())
				require.Equal(t, f.reason, ca.ReasonOf(err), "%v", err)
				require.Equal(t, []ca.Reason{f.reason}, o.of("health"))
			})
			requireSoon(t, begin)
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, code := range []int{301, 302, 303, 307, 308} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(fmt.Sprintf("%s %d", method, code), func(t *testing.T) {
				p := newPKI(t)
				elsewhere := p.serve(p.issue(nil), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					t.Errorf("%s followed, with token %q", r.URL, r.Header.Get("X-Vault-Token"))
				}))
				var o observations
				c := p.connect(p.serve(p.issue(nil), fakeVault("pki/sign", func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, elsewhere.URL+r.URL.Path, code)
				})).URL, &o)
				_, err := c.Do(t.Context(), vault.Request{Operation: "sign", Method: method, Path: "pki/sign"})
				require.Equal(t, ca.ReasonRootRedirected, ca.ReasonOf(err), "%v", err)
				require.Equal(t, []ca.Reason{ca.ReasonRootRedirected}, o.of("sign"))
			})
		}
	}
}

func TestServersThatAreNotThePinnedOneAreRefused(t *testing.T) {
	p := newPKI(t)
	fine := fakeVault("pki/sign", answer(200, "application/json", issuer))
	for _, row := range []struct {
		name    string
		address func(t *testing.T, p *pki) string
		reason  ca.Reason
	}{
		{"another authority", func(t *testing.T, p *pki) string {
			other := newPKI(t)
			return other.serve(other.issue(nil), fine).URL
		}, ca.ReasonRootTLS},
		{"expired", func(t *testing.T, p *pki) string {
			return p.serve(p.issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }), fine).URL
		}, ca.ReasonRootTLS},
		{"not valid yet", func(t *testing.T, p *pki) string {
			return p.serve(p.issue(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) }), fine).URL
		}, ca.ReasonRootTLS},
		{"another name", func(t *testing.T, p *pki) string {
			return p.serve(p.issue(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"other.example"} }), fine).URL
		}, ca.ReasonRootTLS},
		{"a client's certificate", func(t *testing.T, p *pki) string {
			return p.serve(p.issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), fine).URL
		}, ca.ReasonRootTLS},
		{"plaintext", func(t *testing.T, p *pki) string {
			s := httptest.NewUnstartedServer(fine)
			s.Config.ErrorLog = quiet()
			s.Start()
			t.Cleanup(s.Close)
			return "https://" + s.Listener.Addr().String()
		}, ca.ReasonRootTLS},
		{"asks for a client certificate that there is not", func(t *testing.T, p *pki) string {
			cert, pool := p.issue(nil), x509.NewCertPool()
			pool.AddCert(p.cert)
			return p.serveTLS(fips.ServerTLSConfig{
				Certificate: func() (*tls.Certificate, error) { return cert, nil },
				ClientCAs:   func() *x509.CertPool { return pool }, ClientAuth: fips.Require,
			}, fine).URL
		}, ca.ReasonRootTLS},
		{"cannot shake hands", func(t *testing.T, p *pki) string {
			return p.serveTLS(fips.ServerTLSConfig{Certificate: func() (*tls.Certificate, error) { return nil, io.ErrUnexpectedEOF }}, fine).URL
		}, ca.ReasonRootTLS},
		{"closes the connection at once", func(t *testing.T, p *pki) string {
			return listen(t, func(c net.Conn) { _ = c.Close() })
		}, ca.ReasonRootUnreachable},
		{"nobody listens", func(t *testing.T, p *pki) string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			require.NoError(t, l.Close())
			return "https://" + l.Addr().String()
		}, ca.ReasonRootUnreachable},
		{"never shakes hands", func(t *testing.T, p *pki) string {
			return listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
		}, ca.ReasonRootTimeout},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := &pki{t: t, cert: p.cert, key: p.key}
			var o observations
			timeout := patience
			if row.reason == ca.ReasonRootTimeout {
				timeout = short
			}
			begin := time.Now()
			c := p.connect(row.address(t, p), &o, within(timeout))
			_, err := c.Do(t.Context(), vault.Request{Operation: "sign", Method: http.MethodPost, Path: "pki/sign"})
			require.Equal(t, row.reason, ca.ReasonOf(err), "%v", err)
			require.Equal(t, []ca.Reason{row.reason}, o.of("login"))
			_, err = c.Health(t.Context())
			require.Equal(t, row.reason, ca.ReasonOf(err), "%v", err)
			require.Equal(t, []ca.Reason{row.reason}, o.of("health"))
			requireSoon(t, begin)
		})
	}
}

// listen gives each connection to serve.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return "https://" + l.Addr().String()
}

// A caller that gives up is not told that the server cannot be reached.
func TestCallerThatGivesUpGetsATimeout(t *testing.T) {
	p := newPKI(t)
	asked := make(chan struct{})
	var o observations
	c := p.connect(p.serve(p.issue(nil), fakeVault("pki/sign", func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		silent(w, r)
	})).URL, &o)
	ctx, cancel := cancelWhen(t, asked)
	defer cancel()
	_, err := c.Do(ctx, vault.Request{Operation: "sign", Method: http.MethodGet, Path: "pki/sign"})
	require.Equal(t, ca.ReasonRootTimeout, ca.ReasonOf(err), "%v", err)
}

// The server's authority can be rotated under a running client.
func TestAuthorityFileIsReadForEachConnection(t *testing.T) {
	p, next := newPKI(t), newPKI(t)
	fine := fakeVault("pki/sign", answer(200, "application/json", issuer))
	cert := p.issue(nil)
	s := p.serveTLS(fips.ServerTLSConfig{Certificate: func() (*tls.Certificate, error) { return cert, nil }}, fine)
	var o observations
	file := p.file()
	c := p.connect(s.URL, &o, func(c *vault.Config) { c.CAFile = file })
	read := func() error {
		s.CloseClientConnections()
		_, err := c.Do(t.Context(), vault.Request{Operation: "read", Method: http.MethodGet, Path: "fine"})
		return err
	}
	require.NoError(t, read())
	replace(t, file, "")
	require.Equal(t, ca.ReasonRootTLS, ca.ReasonOf(read()), "an empty file is no authority")
	replace(t, file, contentOf(t, next.file()))
	require.Equal(t, ca.ReasonRootTLS, ca.ReasonOf(read()))
	replace(t, file, contentOf(t, p.file())+contentOf(t, next.file()))
	require.NoError(t, read())
}
