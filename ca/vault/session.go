package vault

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// session is one token. It is immutable.
type session struct {
	token     string
	renewable bool
	policies  []string
	lease     time.Duration // 0 never ends
	began     time.Time
	secret    *api.Secret // for the watcher
}

// date completes a session.
func (c *Client) date(s *session) {
	s.began = c.c.Now()
	s.secret = &api.Secret{Auth: &api.SecretAuth{
		ClientToken: s.token, LeaseDuration: int(s.lease / time.Second), Renewable: s.renewable,
	}}
}

func (s *session) end() time.Time {
	if s.lease == 0 {
		return time.Time{}
	}
	return s.began.Add(s.lease)
}

// newSession reads the answer to a login.
func (c *Client) newSession(secret *api.Secret) (*session, error) {
	if secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
		return nil, ca.Refuse(ca.ReasonRootAnswer, "the login's answer has no token")
	}
	s := &session{
		token: secret.Auth.ClientToken, renewable: secret.Auth.Renewable, policies: secret.Auth.Policies,
		lease: time.Duration(secret.Auth.LeaseDuration) * time.Second,
	}
	c.date(s)
	return s, nil
}

// sendLogin sends a login, without a token, and observes it.
func (c *Client) sendLogin(ctx context.Context, r Request) (*api.Secret, error) {
	secret, err := c.sendAs(ctx, "", r)
	if err != nil {
		return nil, loginError(err)
	}
	return secret, nil
}

// sendAs sends a request with a token that is no session's, and observes it.
func (c *Client) sendAs(ctx context.Context, token string, r Request) (*api.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, c.c.Timeout)
	defer cancel()
	begin := c.c.Now()
	secret, err := c.send(ctx, token, r)
	if err == nil && secret == nil {
		err = ca.Refuse(ca.ReasonRootAnswer, "the answer is empty")
	}
	o := Observation{Operation: r.Operation, Took: c.c.Now().Sub(begin)}
	if err != nil {
		o.Reason = ca.ReasonOf(err)
		if r.Operation == "login" {
			o.Reason = ca.ReasonOf(loginError(err))
		}
	}
	c.c.Observe(o)
	return secret, err
}

// current is the session in force; it logs in when there is none or it has ended.
func (c *Client) current(ctx context.Context) (*session, error) {
	if s := c.live(); s != nil {
		return s, nil
	}
	select {
	case c.logins <- struct{}{}:
		defer func() { <-c.logins }()
	case <-ctx.Done():
		return nil, &ca.Error{Reason: ca.ReasonRootTimeout, Err: fmt.Errorf("waiting for a login to vault: %w", ctx.Err())}
	}
	if s := c.live(); s != nil { // another caller's login
		return s, nil
	}
	s, err := c.login(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.session = s
	c.mu.Unlock()
	c.nudge()
	return s, nil
}

func (c *Client) live() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.session
	if s == nil || s.lease > 0 && !c.c.Now().Before(s.end()) {
		return nil
	}
	return s
}

// drop forgets a session that Vault no longer accepts.
func (c *Client) drop(s *session) {
	c.mu.Lock()
	if c.session == s {
		c.session = nil
	}
	c.mu.Unlock()
	c.nudge()
}

// nudge tells Run that there is another session.
func (c *Client) nudge() {
	select {
	case c.renew <- struct{}{}:
	default:
	}
}

// Status is what is known of the session.
type Status struct {
	LoggedIn  bool
	TokenEnd  time.Time // zero when there is no token or it never ends
	Renewable bool
	Policies  []string
}

// Status reads the session without asking the server.
func (c *Client) Status() Status {
	s := c.live()
	if s == nil {
		return Status{}
	}
	return Status{LoggedIn: true, TokenEnd: s.end(), Renewable: s.renewable, Policies: s.policies}
}

// Bounds of the pause between logins that fail.
const (
	minPause = 2 * time.Second
	maxPause = 2 * time.Minute
)

// reread is how often a token that never ends is looked at again: its file may
// hold another by then.
const reread = 10 * time.Minute

// Run keeps a session until ctx ends: it renews the token while Vault allows,
// logs in anew before the token's longest life is over, and after it when Vault
// could not be reached, with growing pauses.
func (c *Client) Run(ctx context.Context) {
	pause := minPause
	for ctx.Err() == nil {
		s, err := c.current(ctx)
		if err != nil {
			wait(ctx, jittered(pause), nil)
			pause = min(2*pause, maxPause)
			continue
		}
		pause = minPause
		s = c.watch(ctx, s)
		if ctx.Err() == nil && c.same(s) {
			c.relogin(ctx, s)
		}
	}
}

// relogin replaces a session that ends soon. The old one stays in use when that
// fails: it may have some life left.
func (c *Client) relogin(ctx context.Context, old *session) {
	pause := minPause
	for ctx.Err() == nil {
		s, err := c.login(ctx)
		if err == nil {
			c.mu.Lock()
			c.session = s
			c.mu.Unlock()
			return
		}
		if c.live() != old { // it has ended, or a request has logged in
			return
		}
		wait(ctx, jittered(pause), c.renew)
		pause = min(2*pause, maxPause)
	}
}

func (c *Client) same(s *session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session == s
}

// watch returns when s needs a successor: its renewals are over, or a request has
// found it dead. What it returns is s as the last renewal left it.
func (c *Client) watch(ctx context.Context, s *session) *session {
	if s.lease == 0 {
		wait(ctx, reread, c.renew)
		return s
	}
	watcher, err := c.api.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: s.secret, RenewBehavior: api.RenewBehaviorIgnoreErrors})
	if err != nil {
		return s
	}
	go watcher.Start()
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return s
		case <-c.renew:
			if !c.same(s) {
				return s
			}
		case <-watcher.DoneCh(): //nolint:errcheck // whatever has ended it, a login follows
			return s
		case renewal := <-watcher.RenewCh():
			s = c.extend(s, renewal.Secret)
		}
	}
}

// extend puts a renewed session in the place of s.
func (c *Client) extend(s *session, renewal *api.Secret) *session {
	c.c.Observe(Observation{Operation: "renew_token"})
	if renewal == nil || renewal.Auth == nil {
		return s
	}
	next := *s
	next.lease = time.Duration(renewal.Auth.LeaseDuration) * time.Second
	c.date(&next)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != s {
		return s
	}
	c.session = &next
	return &next
}

// wait sleeps for d, or until ctx ends or early says so.
func wait(ctx context.Context, d time.Duration, early <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-early:
	case <-timer.C:
	}
}

// jittered is a random duration between half of d and d, so that replicas that
// lost one server do not all come back at once.
func jittered(d time.Duration) time.Duration {
	var b [2]byte
	if err := fips.Random(b[:]); err != nil {
		return d
	}
	return d/2 + d/2*time.Duration(uint16(b[0])<<8|uint16(b[1]))/(1<<16)
}
