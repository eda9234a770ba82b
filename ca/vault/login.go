package vault

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
)

// LoginType is a way to get a token.
type LoginType string

// The ways to log in. Every file is read again at each login.
const (
	LoginToken       LoginType = "token-file"  // TokenFile, such as the sink of a Vault Agent
	LoginAppRole     LoginType = "approle"     // RoleID, SecretIDFile
	LoginKubernetes  LoginType = "kubernetes"  // Role, TokenFile: a projected service-account token
	LoginJWT         LoginType = "jwt"         // Role, TokenFile: a JWT
	LoginCertificate LoginType = "certificate" // CertFile, KeyFile and, optionally, Role
)

// Login is how a Client gets its token; which fields are needed depends on Type.
type Login struct {
	Type         LoginType
	Mount        string // below auth/; "" means the usual one of the type
	Role         string
	RoleID       string
	SecretIDFile string
	// Wrapped says that SecretIDFile holds a response-wrapping token. It can be
	// opened once: the secret id then lives in memory only, and a restart needs a
	// new one.
	Wrapped   bool
	TokenFile string
	CertFile  string
	KeyFile   string

	unwrapped *unwrapped
}

// unwrapped remembers the secret id that a wrapping token gave.
type unwrapped struct {
	mu       sync.Mutex
	from     string // the wrapping token
	secretID string
}

// usualMounts are where Vault enables an auth method unless told otherwise.
var usualMounts = map[LoginType]string{
	LoginAppRole: "approle", LoginKubernetes: "kubernetes", LoginJWT: "jwt", LoginCertificate: "cert",
}

func (l *Login) check() error {
	var missing string
	switch l.Type {
	case LoginToken:
		missing = firstEmpty("token file", l.TokenFile)
	case LoginAppRole:
		missing = firstEmpty("role id", l.RoleID, "secret id file", l.SecretIDFile)
	case LoginKubernetes, LoginJWT:
		missing = firstEmpty("role", l.Role, "token file", l.TokenFile)
	case LoginCertificate:
		missing = firstEmpty("certificate file", l.CertFile, "key file", l.KeyFile)
	default:
		return fmt.Errorf("login type %q is none of token-file, approle, kubernetes, jwt, certificate", l.Type)
	}
	if missing != "" {
		return fmt.Errorf("login of type %s needs a %s", l.Type, missing)
	}
	if l.Mount == "" {
		l.Mount = usualMounts[l.Type]
	}
	if l.Type != LoginToken {
		if err := CheckMount(l.Mount); err != nil {
			return fmt.Errorf("login: %w", err)
		}
	}
	l.unwrapped = &unwrapped{}
	return nil
}

// firstEmpty is the name of the first value that is empty; names and values alternate.
func firstEmpty(pairs ...string) string {
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] == "" {
			return pair[0]
		}
	}
	return ""
}

// maxCredential bounds a token or a secret id; a Kubernetes token has about 1 KB.
const maxCredential = 16 << 10

// readCredential reads a token or a secret id, from a mounted Secret too.
func readCredential(path string) (string, error) {
	raw, err := secretfile.ReadMounted(path, maxCredential)
	if err != nil {
		return "", err
	}
	return oneWord(path, raw)
}

// readProjected reads what another program writes for everybody in the container
// to read, such as a projected service-account token behind a link.
func readProjected(path string) (string, error) {
	raw, err := readPublic(path)
	if err != nil {
		return "", err
	}
	return oneWord(path, raw)
}

// oneWord is the only word of a file, in characters that a header can carry.
func oneWord(path string, raw []byte) (string, error) {
	text := string(bytes.TrimSpace(raw))
	if text == "" || len(text) > maxCredential || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s does not hold one credential", path)
	}
	return text, nil
}

// login gets a new session. It is observed whether or not it comes to a request: a
// credential that cannot be read is a login that failed.
func (c *Client) login(ctx context.Context) (*session, error) {
	begin := c.c.Now()
	s, err := c.tryLogin(ctx)
	if err != nil {
		err = loginError(err)
	}
	c.observe("login", begin, err)
	return s, err
}

func (c *Client) tryLogin(ctx context.Context) (*session, error) {
	if err := c.checkFIPS(ctx); err != nil {
		return nil, err
	}
	if c.c.Login.Type == LoginToken {
		return c.adoptToken(ctx)
	}
	body, err := c.credentials(ctx)
	if err != nil {
		return nil, err
	}
	return c.newSession(c.send(ctx, "", Request{
		Method: http.MethodPost, Path: "auth/" + c.c.Login.Mount + "/login", Body: body,
		fresh: c.c.Login.Type == LoginCertificate, // a pooled connection has the certificate of its own beginning
	}))
}

// credentials is the body of a login.
func (c *Client) credentials(ctx context.Context) (map[string]any, error) {
	l := &c.c.Login
	switch l.Type {
	case LoginAppRole:
		id, err := c.secretID(ctx)
		if err != nil {
			return nil, err
		}
		return map[string]any{"role_id": l.RoleID, "secret_id": id}, nil
	case LoginKubernetes, LoginJWT:
		token, err := readProjected(l.TokenFile)
		if err != nil {
			return nil, err
		}
		return map[string]any{"role": l.Role, "jwt": token}, nil
	default: // a certificate, which the connection carries
		if l.Role == "" {
			return map[string]any{}, nil
		}
		return map[string]any{"name": l.Role}, nil
	}
}

// secretID reads the secret id, opening its wrapping the first time.
func (c *Client) secretID(ctx context.Context) (string, error) {
	l := &c.c.Login
	text, err := readCredential(l.SecretIDFile)
	if err != nil || !l.Wrapped {
		return text, err
	}
	l.unwrapped.mu.Lock()
	defer l.unwrapped.mu.Unlock()
	if l.unwrapped.from == text {
		return l.unwrapped.secretID, nil
	}
	if err := c.checkWrapping(ctx, text); err != nil {
		return "", err
	}
	data, err := c.observed(ctx, text, Request{Operation: "unwrap", Method: http.MethodPost, Path: "sys/wrapping/unwrap"})
	if err != nil {
		return "", fmt.Errorf("opening the wrapped secret id; if somebody else has opened it, treat it as stolen: %w", err)
	}
	id := data.Text("secret_id")
	if id == "" {
		return "", fmt.Errorf("%s wraps no secret id", l.SecretIDFile)
	}
	l.unwrapped.from, l.unwrapped.secretID = text, id
	return id, nil
}

// checkWrapping looks at a wrapping token without opening it. One that wraps
// something else than a secret id of this login was put there by somebody.
func (c *Client) checkWrapping(ctx context.Context, token string) error {
	data, err := c.observed(ctx, "", Request{
		Operation: "lookup_wrapping", Method: http.MethodPost, Path: "sys/wrapping/lookup", Body: map[string]any{"token": token}, Anonymous: true,
	})
	if err != nil {
		return fmt.Errorf("looking at the wrapped secret id; if somebody else has opened it, treat it as stolen: %w", err)
	}
	path := data.Text("creation_path")
	if role, ok := strings.CutPrefix(path, "auth/"+c.c.Login.Mount+"/role/"); !ok || !strings.HasSuffix(role, "/secret-id") {
		return fmt.Errorf("%s wraps no secret id of auth/%s but what %s gave; treat it as planted", c.c.Login.SecretIDFile, c.c.Login.Mount, clean(path))
	}
	return nil
}

// OpensOnce tells whether a login would use up what it logs in with: who only looks
// must not.
func (c *Client) OpensOnce() bool { return c.c.Login.Type == LoginAppRole && c.c.Login.Wrapped }

// adoptToken takes the token in a file and asks Vault for what is left of it.
func (c *Client) adoptToken(ctx context.Context) (*session, error) {
	token, err := readCredential(c.c.Login.TokenFile)
	if err != nil {
		return nil, err
	}
	secret, err := c.send(ctx, token, Request{Method: http.MethodGet, Path: "auth/token/lookup-self"})
	if err != nil {
		return nil, err
	}
	if secret == nil {
		return nil, ca.Refuse(ca.ReasonRootAnswer, "the answer about the token is empty")
	}
	data := Data(secret.Data)
	s := &session{
		token: token, renewable: data.Bool("renewable"), policies: data.Texts("policies"),
		lease: time.Duration(data.Int("ttl")) * time.Second,
	}
	// A token that never ends has no expire_time; both have 0 s left, rounded down.
	if s.lease == 0 && data.Text("expire_time") != "" {
		return nil, fmt.Errorf("the token in %s ends now", c.c.Login.TokenFile)
	}
	c.date(s)
	return s, nil
}

// certificate reads the client's certificate for one connection.
func (l *Login) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	pair, err := l.readPair()
	if err != nil {
		return nil, &ca.Error{Reason: ca.ReasonRootLogin, Err: fmt.Errorf("the client's certificate: %w", err)}
	}
	return pair, nil
}

func (l *Login) readPair() (*tls.Certificate, error) {
	chain, err := readPublic(l.CertFile)
	if err != nil {
		return nil, err
	}
	key, err := secretfile.Read(l.KeyFile, maxPEM)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("reading %s and %s: %w", l.CertFile, l.KeyFile, err)
	}
	return &pair, nil
}

// loginError says that a credential is the matter, unless the server is.
func loginError(err error) error {
	switch ca.ReasonOf(err) {
	case ca.ReasonInternal, ca.ReasonRootDenied, ca.ReasonRootRefused, ca.ReasonRootMissing:
		return &ca.Error{Reason: ca.ReasonRootLogin, Err: fmt.Errorf("logging in to vault: %w", err)}
	}
	return err
}
