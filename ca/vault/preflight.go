package vault

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// Limits of what is still well.
const (
	maxSkew   = 5 * time.Second
	shortLife = 2 * time.Minute // a token that lives less is renewed all the time
)

// Preflight tries the connection as a server would use it: reachable, unsealed,
// clock, login, token. It changes nothing. What comes after a failure that makes
// it pointless is left out.
func (c *Client) Preflight(ctx context.Context) []ca.Finding {
	h, err := c.Health(ctx)
	if err != nil {
		return []ca.Finding{Failed("root-reachable", c.c.Address, err, "check address, caFile and the network between")}
	}
	reachable := ca.Finding{ID: "root-reachable", Level: ca.LevelOK, Subject: c.c.Address, Detail: "version " + clean(h.Version)}
	switch {
	case !h.Initialized:
		reachable.Level, reachable.Detail, reachable.Next = ca.LevelFail, "it is not initialised", "vault operator init"
	case h.Sealed:
		reachable.Level, reachable.Detail, reachable.Next = ca.LevelFail, "it is sealed", "vault operator unseal; issuing goes on meanwhile"
	}
	findings := []ca.Finding{reachable, c.clock(h), c.fips(h)}
	if reachable.Level == ca.LevelFail {
		return findings
	}
	if c.OpensOnce() && c.live() == nil {
		return append(findings, c.wrapping(ctx))
	}
	s, err := c.current(ctx)
	if err != nil {
		return append(findings, Failed("root-login", string(c.c.Login.Type), err, "check the credentials, the role and the mount of the login"))
	}
	return append(findings, c.token(ctx, s)...)
}

// wrapping judges a wrapped secret id and leaves it to the server that it is for.
func (c *Client) wrapping(ctx context.Context) ca.Finding {
	const id, hint = "root-login", "wrap a new secret id: vault write -wrap-ttl=10m -f auth/…/role/…/secret-id"
	token, err := readCredential(c.c.Login.SecretIDFile)
	if err == nil {
		err = c.checkWrapping(ctx, token)
	}
	if err != nil {
		return Failed(id, string(c.c.Login.Type), err, hint)
	}
	return ca.Finding{
		ID: id, Level: ca.LevelWarn, Subject: string(c.c.Login.Type),
		Detail: "the secret id is wrapped and nobody has opened it; it can be opened once, so the permissions were not tried",
		Next:   "start the server: kedge_vault_logged_in says whether it works",
	}
}

func (c *Client) clock(h Health) ca.Finding {
	f := ca.Finding{ID: "root-clock", Level: ca.LevelOK, Subject: c.c.Address, Detail: "the clocks agree"}
	// The server's answer has whole seconds, and took some time.
	if skew := c.c.Now().Sub(h.Now()).Abs(); skew > maxSkew {
		f.Level, f.Detail, f.Next = ca.LevelFail, fmt.Sprintf("the clocks differ by %s", skew.Round(time.Second)), "synchronise the clocks: dates of certificates come from both"
	}
	return f
}

func (c *Client) fips(h Health) ca.Finding {
	f := ca.Finding{ID: "root-fips", Level: ca.LevelOK, Subject: c.c.Address, Detail: "the server says that it is a FIPS build: " + clean(h.Version)}
	switch {
	case h.SaysFIPS():
	case c.c.RequireFIPS:
		f.Level, f.Detail, f.Next = ca.LevelFail, "version "+clean(h.Version)+" names no FIPS build, and fips.requireExternal is set", "run a FIPS build of the server"
	default:
		f.Detail = "version " + clean(h.Version) + " names no FIPS build; none is required (fips.requireExternal)"
	}
	return f
}

// token judges the session.
func (c *Client) token(ctx context.Context, s *session) []ca.Finding {
	login := ca.Finding{ID: "root-login", Level: ca.LevelOK, Subject: string(c.c.Login.Type), Detail: "policies " + strings.Join(s.policies, ", ")}
	if slices.Contains(s.policies, "root") {
		login.Level, login.Detail, login.Next = ca.LevelWarn, "the token has the policy root", "give it the policy that ca vault policy prints"
	}
	life := ca.Finding{ID: "root-token-life", Level: ca.LevelOK, Subject: string(c.c.Login.Type), Detail: "the token lives for " + s.lease.String()}
	switch {
	case s.lease == 0:
		life.Level, life.Detail, life.Next = ca.LevelWarn, "the token never ends: who steals it keeps it", "use a login whose tokens end"
	case s.lease < shortLife:
		life.Level, life.Next = ca.LevelWarn, "raise token_ttl: a login every few seconds loads the server"
	case c.c.Login.Type == LoginToken && !s.renewable:
		life.Level, life.Next = ca.LevelWarn, "the token cannot be renewed: whatever writes the file has to replace it before its end"
	}
	findings := []ca.Finding{login, life}
	for _, r := range []struct {
		rule Rule
		call Request
	}{
		{TokenRules()[0], Request{Operation: "lookup_self", Method: http.MethodGet, Path: "auth/token/lookup-self"}},
		{TokenRules()[1], Request{Operation: "renew_self", Method: http.MethodPost, Path: "auth/token/renew-self"}},
	} {
		if r.call.Method == http.MethodPost && !s.renewable {
			continue
		}
		_, err := c.observed(ctx, s.token, r.call)
		findings = append(findings, Permission(r.rule, err))
	}
	return findings
}

// Permission judges the answer to a call that a rule allows. A call that was
// permitted but could not work, because it was made not to, is well.
func Permission(r Rule, err error) ca.Finding {
	f := ca.Finding{ID: "root-permissions", Level: ca.LevelOK, Subject: r.Path, Detail: strings.Join(r.Capabilities, ", ")}
	switch reason := ca.ReasonOf(err); {
	case err == nil, reason == ca.ReasonRootRefused:
	case reason == ca.ReasonRootDenied:
		f.Level, f.Detail, f.Next = ca.LevelFail, "not permitted", "add to the policy: "+r.HCL()
	default:
		f = Failed(f.ID, r.Path, err, "docs/errors.md describes "+string(reason))
	}
	return f
}

// Failed is a finding for an error.
func Failed(id, subject string, err error, next string) ca.Finding {
	return ca.Finding{ID: id, Level: ca.LevelFail, Subject: subject, Detail: err.Error(), Next: next}
}
