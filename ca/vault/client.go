package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/kedge-ca/kedge/ca"
)

// Config is one connection. Timeout and Observe have defaults.
type Config struct {
	Address    string // https://host:port
	Namespace  string // "" for the root namespace
	CAFile     string // PEM: the authorities of the server's certificate
	ServerName string // in the server's certificate; "" takes the host of Address
	Login      Login
	Timeout    time.Duration // of one request; 0 means 30 s
	Now        func() time.Time
	Observe    func(Observation) // called after each request; nil observes nothing
	// RequireFIPS refuses to log in to a server whose version names no FIPS build.
	RequireFIPS bool
}

// Observation is the outcome of one request.
type Observation struct {
	Operation string // such as sign_intermediate, login
	Reason    ca.Reason
	Took      time.Duration
}

// OK is the Reason of a request that succeeded.
const OK ca.Reason = ""

// defaultTimeout is above what a busy Vault with an HSM seal needs.
const defaultTimeout = 30 * time.Second

// Client makes requests. It is safe for concurrent use. A request logs in when
// there is no session; Run keeps one alive.
type Client struct {
	c       Config
	api     *api.Client // holds no token; each request carries its own
	fresh   *api.Client // the same, with a connection of its own for each request
	renewal *api.Client // the same, for the watcher: observes what it asks
	renew   chan struct{}
	logins  chan struct{} // one login at a time; a slot, so that waiting honours a context
	mu      sync.Mutex    // guards session; never held across I/O
	session *session
}

// New checks c. It asks no server.
func New(c Config) (*Client, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Observe == nil {
		c.Observe = func(Observation) {}
	}
	client := &Client{c: c, renew: make(chan struct{}, 1), logins: make(chan struct{}, 1)}
	transport, err := newTransport(c)
	if err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	for api, t := range map[**api.Client]http.RoundTripper{
		&client.api: bounded{transport}, &client.fresh: bounded{unpooled(transport)},
		&client.renewal: renewals{client, bounded{transport}},
	} {
		if *api, err = newAPI(c, t); err != nil {
			return nil, fmt.Errorf("vault: %w", err)
		}
	}
	return client, nil
}

// newAPI is the library's client, cleaned of what it takes from the environment of
// the process.
func newAPI(c Config, t http.RoundTripper) (*api.Client, error) {
	client, err := api.NewClient(&api.Config{
		Address: c.Address, Timeout: c.Timeout, DisableRedirects: true, MaxRetries: 0,
		HttpClient: &http.Client{
			Transport:     t,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	if err != nil {
		// It reads the files that VAULT_CACERT and its kind name, even so.
		return nil, fmt.Errorf("unset the environment variables VAULT_*, which have no effect here: %w", err)
	}
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	client.ClearToken()
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	if c.Namespace != "" {
		client.SetNamespace(c.Namespace)
	}
	return client, nil
}

// Validate finds what cannot work in c without reading a file or asking a server.
func (c Config) Validate() error { return c.check() }

func (c *Config) check() error {
	u, err := url.Parse(c.Address)
	switch {
	case err != nil:
		return fmt.Errorf("the address cannot be read as https://host:port") // err repeats it, and a password in it
	case u.Scheme != "https" || u.Hostname() == "":
		return fmt.Errorf("address %q is not https://host:port", u.Redacted())
	case !strings.EqualFold("https://"+u.Host, strings.TrimSuffix(c.Address, "/")):
		return fmt.Errorf("address %q has more than a host and a port", u.Redacted())
	case c.CAFile == "":
		return fmt.Errorf("there is no CA file; the system's authorities are not used")
	case c.Now == nil:
		return fmt.Errorf("there is no clock")
	case c.Timeout < 0:
		return fmt.Errorf("timeout %s is negative", c.Timeout)
	}
	if c.Namespace != "" {
		if err := CheckMount(strings.Trim(c.Namespace, "/")); err != nil {
			return fmt.Errorf("namespace: %w", err)
		}
	}
	return c.Login.check()
}

// Request is one call of Vault's HTTP API.
type Request struct {
	Operation string // for metrics
	Method    string // GET, POST, DELETE or LIST
	Path      string // below /v1/
	Body      map[string]any
	Anonymous bool // needs no token

	fresh bool // over a connection of its own
}

// Data is the data of an answer; nil when the server had nothing to say (status 204).
type Data map[string]any

// Text is the string called name, "" if there is none.
func (d Data) Text(name string) string {
	s, _ := d[name].(string)
	return s
}

// Texts are the strings of the list called name.
func (d Data) Texts(name string) []string {
	list, _ := d[name].([]any)
	texts := make([]string, 0, len(list))
	for _, item := range list {
		if s, ok := item.(string); ok {
			texts = append(texts, s)
		}
	}
	return texts
}

// Int is the number called name, 0 if there is none.
func (d Data) Int(name string) int {
	n, _ := d[name].(json.Number)
	i, err := n.Int64()
	if err != nil {
		return 0
	}
	return int(i)
}

// Bool is the truth value called name, false if there is none.
func (d Data) Bool(name string) bool {
	b, _ := d[name].(bool)
	return b
}

// Do makes a request within the configured time. When the token is no longer
// accepted, it logs in anew and tries once more.
func (c *Client) Do(ctx context.Context, r Request) (Data, error) {
	if r.Anonymous {
		return c.observed(ctx, "", r)
	}
	// A login and a request, and the wait for others who log in.
	ctx, cancel := context.WithTimeout(ctx, 2*c.c.Timeout)
	defer cancel()
	s, err := c.current(ctx)
	if err != nil {
		return nil, err
	}
	data, err := c.observed(ctx, s.token, r)
	if ca.ReasonOf(err) != ca.ReasonRootDenied || !c.isDead(ctx, s) {
		return data, err
	}
	c.drop(s)
	if s, err = c.current(ctx); err != nil {
		return nil, err
	}
	return c.observed(ctx, s.token, r)
}

// isDead asks whether the token of a refused request is still one: Vault answers a
// token that it does not know like a request that is not permitted.
func (c *Client) isDead(ctx context.Context, s *session) bool {
	_, err := c.observed(ctx, s.token, Request{Operation: "lookup_self", Method: http.MethodGet, Path: "auth/token/lookup-self"})
	return ca.ReasonOf(err) == ca.ReasonRootDenied
}

func (c *Client) observed(ctx context.Context, token string, r Request) (Data, error) {
	begin := c.c.Now()
	secret, err := c.send(ctx, token, r)
	c.observe(r.Operation, begin, err)
	if err != nil || secret == nil {
		return nil, err
	}
	return secret.Data, nil
}

// observe reports the outcome of an operation; an error of nil is OK.
func (c *Client) observe(operation string, begin time.Time, err error) {
	o := Observation{Operation: operation, Reason: OK, Took: c.c.Now().Sub(begin)}
	if err != nil {
		o.Reason = ca.ReasonOf(err)
	}
	c.c.Observe(o)
}

// send makes one request within the configured time and reads its answer. A secret
// of nil is an answer without content. What it sends is named in the error.
func (c *Client) send(ctx context.Context, token string, r Request) (*api.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, c.c.Timeout)
	defer cancel()
	secret, err := c.exchange(ctx, token, r)
	if err != nil {
		return nil, fmt.Errorf("vault %s %s: %w", strings.ToLower(r.Method), r.Path, late(ctx, err))
	}
	return secret, nil
}

// late gives what fails after the end of ctx the reason of that: a server that sees
// the connection end may still end its answer in good order, which cuts it short.
func late(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return &ca.Error{Reason: ca.ReasonRootTimeout, Err: err}
}

func (c *Client) exchange(ctx context.Context, token string, r Request) (*api.Secret, error) {
	client := c.api
	if r.fresh {
		client = c.fresh
	}
	request := client.NewRequest(r.Method, "/v1/"+r.Path)
	request.ClientToken = token
	if r.Body != nil {
		if err := request.SetJSONBody(r.Body); err != nil {
			return nil, err
		}
	}
	response, err := client.RawRequestWithContext(ctx, request) //nolint:staticcheck // the only call that takes LIST, gives headers and honours a context
	if response != nil {
		defer response.Body.Close()
	}
	if err != nil {
		return nil, explain(err)
	}
	if response.StatusCode == http.StatusNoContent {
		return nil, nil
	}
	if response.StatusCode != http.StatusOK {
		return nil, refuseStatus(response.StatusCode, nil)
	}
	return decode(response)
}

// decode reads what every answer of Vault is: an object with the id of the request.
func decode(response *api.Response) (*api.Secret, error) {
	if kind := response.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		return nil, ca.Refuse(ca.ReasonRootAnswer, "the answer is of type %.60q, not JSON; a proxy may have answered in Vault's place", kind)
	}
	secret, err := api.ParseSecret(response.Body)
	switch {
	case err != nil:
		return nil, explainBody(err)
	case secret == nil || secret.RequestID == "":
		return nil, ca.Refuse(ca.ReasonRootAnswer, "the answer names no request; a proxy may have answered in Vault's place")
	}
	return secret, nil
}
