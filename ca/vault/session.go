package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
func (c *Client) newSession(secret *api.Secret, err error) (*session, error) {
	switch {
	case err != nil:
		return nil, err
	case secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "":
		return nil, ca.Refuse(ca.ReasonRootAnswer, "the login's answer has no token")
	}
	s := &session{
		token: secret.Auth.ClientToken, renewable: secret.Auth.Renewable, policies: secret.Auth.Policies,
		lease: time.Duration(secret.Auth.LeaseDuration) * time.Second,
	}
	c.date(s)
	return s, nil
}

// current is the session in force; it logs in when there is none or it has ended.
func (c *Client) current(ctx context.Context) (*session, error) {
	if s := c.live(); s != nil {
		return s, nil
	}
	return c.replace(ctx, func() *session { return c.live() })
}

// replace logs in, unless by the time of its turn another caller has, which there
// tells.
func (c *Client) replace(ctx context.Context, there func() *session) (*session, error) {
	select {
	case c.logins <- struct{}{}:
		defer func() { <-c.logins }()
	case <-ctx.Done():
		return nil, &ca.Error{Reason: ca.ReasonRootTimeout, Err: fmt.Errorf("waiting for a login to vault: %w", ctx.Err())}
	}
	if s := there(); s != nil {
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

// LogIn makes sure that there is a session, for who wants to know before anything
// else is asked.
func (c *Client) LogIn(ctx context.Context) error {
	_, err := c.current(ctx)
	return err
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

// drop forgets a session that Vault no longer accepts, renewed meanwhile or not.
func (c *Client) drop(s *session) {
	c.mu.Lock()
	if c.session != nil && c.session.token == s.token {
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

// minTurn is how long Run takes for one session at least, so that no answer of a
// server makes it log in again and again: one whose tokens end at once, or that
// grants logins and no renewals.
const minTurn = time.Second

// reread is how often a token that never ends is looked at again: its file may
// hold another by then.
const reread = 10 * time.Minute

// Run keeps a session until ctx ends: it renews the token while Vault allows,
// logs in anew before the token's longest life is over, and after it when Vault
// could not be reached, with growing pauses. A renewal that is under way when ctx
// ends is over within the time of one request.
func (c *Client) Run(ctx context.Context) {
	pause := minPause
	for ctx.Err() == nil {
		s, err := c.current(ctx)
		if err != nil {
			wait(ctx, jittered(pause), c.renew) // a request that logs in ends the pause
			pause = min(2*pause, maxPause)
			continue
		}
		pause = minPause
		turn := time.NewTimer(minTurn)
		s = c.watch(ctx, s)
		select {
		case <-ctx.Done():
		case <-turn.C:
			c.relogin(ctx, s)
		}
		turn.Stop()
	}
}

// relogin replaces a session that ends soon. The old one stays in use when that
// fails: it may have some life left.
func (c *Client) relogin(ctx context.Context, old *session) {
	pause := minPause
	for ctx.Err() == nil && c.live() == old { // else it has ended, or a request has logged in
		if _, err := c.replace(ctx, func() *session { return c.otherThan(old) }); err == nil {
			return
		}
		wait(ctx, jittered(pause), nil)
		pause = min(2*pause, maxPause)
	}
}

// otherThan is the session, if it is not old; nil otherwise.
func (c *Client) otherThan(old *session) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == old {
		return nil
	}
	return c.session
}

func (c *Client) same(s *session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session == s
}

// reserve is the part of a token's life that is left for the next login.
const reserve = 5

// watch returns when s needs a successor: its renewals are over and most of its
// life is, or a request has found it dead. What it returns is s as the last
// renewal left it.
func (c *Client) watch(ctx context.Context, s *session) *session {
	if s.lease == 0 {
		c.waitWhile(ctx, s, reread)
		return s
	}
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		renewed, err := c.keepRenewed(ctx, s)
		if renewed != s {
			s, pause = renewed, minPause
		}
		left := s.end().Add(-s.lease / reserve).Sub(c.c.Now())
		if err == nil || errors.Is(err, api.ErrLifetimeWatcherNotRenewable) {
			c.waitWhile(ctx, s, left)
			return s
		}
		c.waitWhile(ctx, s, min(left, jittered(pause)))
		if left <= pause || ctx.Err() != nil || !c.same(s) {
			return s
		}
	}
}

// keepRenewed renews s until it cannot be renewed further, or with an error until
// a renewal fails. The library's own retries are not used: once their time is over,
// its watcher asks without any pause (hashicorp/vault#28611, in api v1.23.0).
func (c *Client) keepRenewed(ctx context.Context, s *session) (*session, error) {
	watcher, err := c.renewal.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: s.secret, RenewBehavior: api.RenewBehaviorErrorOnErrors})
	if err != nil {
		return s, err
	}
	go watcher.Start()
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return s, nil
		case <-c.renew:
			if !c.same(s) {
				return s, nil
			}
		case renewal := <-watcher.RenewCh():
			s = c.extend(s, renewal.Secret)
		case err := <-watcher.DoneCh():
			select { // it may have renewed just before
			case renewal := <-watcher.RenewCh():
				s = c.extend(s, renewal.Secret)
			default:
			}
			return s, err
		}
	}
}

// waitWhile sleeps for d, or until ctx ends or s is no longer the session.
func (c *Client) waitWhile(ctx context.Context, s *session, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for c.same(s) {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-c.renew:
		}
	}
}

// extend puts a renewed session in the place of s. A renewal that grants nothing
// more leaves s as it is: 0 s are not a token that never ends.
func (c *Client) extend(s *session, renewal *api.Secret) *session {
	if renewal == nil || renewal.Auth == nil || renewal.Auth.LeaseDuration <= 0 {
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

// renewals observes the requests of the watcher, which is silent about those that
// fail.
type renewals struct {
	c    *Client
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (r renewals) RoundTrip(request *http.Request) (*http.Response, error) {
	begin := r.c.c.Now()
	response, err := r.next.RoundTrip(request)
	if err != nil {
		r.c.observe("renew_token", begin, explain(err))
		return nil, err
	}
	// Error reads the body of a refusal and leaves a copy in its place.
	if err := (&api.Response{Response: response}).Error(); err != nil {
		r.c.observe("renew_token", begin, explain(err))
		return response, nil
	}
	if response.StatusCode != http.StatusOK {
		err = refuseStatus(response.StatusCode, nil)
	}
	r.c.observe("renew_token", begin, err)
	return response, nil
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
