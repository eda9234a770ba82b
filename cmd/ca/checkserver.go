package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// checkServer asks the running server.
func (a *app) checkServer(ctx context.Context, o checkOptions) []checkResult {
	var status *kedgev1.StatusResponse
	err := a.withAdmin(ctx, o.socket, func(ctx context.Context, c kedgev1.AdminClient) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		var err error
		status, err = c.Status(ctx, &kedgev1.StatusRequest{})
		return err
	})
	if err != nil {
		f := describe(err)
		return []checkResult{{"server", "server-running", ca.LevelFail, f.Error, firstOf(f.Next, "look at the server's log")}}
	}
	results := append(statusChecks(status, a.now(), o.failWithin), membershipChecks(status)...)
	if m := status.GetMembership(); m != nil && m.GetPrimary() == "" {
		results = append(results, a.checkZones(ctx, o.socket)...)
	}
	return results
}

// Limits of what is still well.
const (
	maxSkew = 5 * time.Second
	// warnAnchor is how long before its end an anchor is a warning: a rotation with
	// pod restarts in every cluster takes weeks.
	warnAnchor = 60 * 24 * time.Hour
	// Both renew at half of their life; below these, renewals fail.
	warnIntermediate      = ca.IntermediateLifetime / 5
	warnServerCertificate = 2 * time.Hour
)

// statusChecks judges what a server says of itself. It is pure.
func statusChecks(s *kedgev1.StatusResponse, now time.Time, failWithin time.Duration) []checkResult {
	results := []checkResult{
		{"server", "server-running", ca.LevelOK, "version " + s.GetVersion() + ", trust domain " + s.GetTrustDomain(), ""},
		{"server", "ready", ca.LevelOK, "certificates can be issued", ""},
		{"server", "clock-skew", ca.LevelOK, "the clocks agree", ""},
		{"server", "server-fips-mode", ca.LevelOK, s.GetFipsModule(), ""},
	}
	if !s.GetReady() {
		results[1].fault(ca.LevelFail, s.GetNotReadyReason()+": "+s.GetNotReadyDetail(), "ca repair mends what has expired; "+errorsURL+s.GetNotReadyReason())
	}
	if skew := now.Sub(s.GetNow().AsTime()).Abs(); skew > maxSkew {
		results[2].fault(ca.LevelFail, "the server's clock differs by "+short(skew), "synchronise the clocks")
	}
	if s.GetFipsVerdict() != fips.VerdictApproved {
		results[3].fault(ca.LevelFail, s.GetFipsVerdict()+", "+s.GetFipsModule(), "ca fips --server has the report")
	}
	results = append(results, anchorChecks(s.GetBundle(), now)...)
	if failWithin > 0 {
		results = append(results, endsWithin(s, now, failWithin))
	}
	results = append(results, issuerChecks(s, now)...)
	for _, k := range s.GetKeySources() {
		results = append(results, keySourceCheck(k, now))
	}
	return results
}

// fault turns a check that is well into one that is not.
func (r *checkResult) fault(l ca.Level, detail, hint string) {
	r.Level, r.Detail, r.Hint = l, detail, hint
}

func anchorChecks(b *kedgev1.Bundle, now time.Time) []checkResult {
	var results []checkResult
	standby := checkResult{"authority", "standby-present", ca.LevelWarn, "no standby anchor is published", "an emergency would have to distribute a new anchor first"}
	for _, anchor := range b.GetAnchors() {
		cert, err := x509.ParseCertificate(anchor.GetCertificate())
		if err != nil {
			results = append(results, checkResult{"authority", "anchor-life", ca.LevelFail, err.Error(), "look at the server's log"})
			continue
		}
		if anchor.GetSlot() == kedgev1.Slot_SLOT_STANDBY {
			standby = checkResult{"authority", standby.ID, ca.LevelOK, fmt.Sprintf("anchor %.8s is published and signs nothing", ca.AnchorIDOf(cert)), ""}
		}
		r := lifeCheck("anchor-life", fmt.Sprintf("anchor %.8s (%s)", ca.AnchorIDOf(cert), cert.Subject.CommonName), cert.NotAfter.Sub(now), warnAnchor)
		if r.Level == ca.LevelWarn {
			r.Hint = "rotate it now: it takes weeks to reach every workload; ca rotate plan"
		}
		results = append(results, r)
	}
	if len(results) == 0 {
		results = append(results, checkResult{"authority", "anchor-life", ca.LevelFail, "there is no bundle", "look at the server's log"})
	}
	return append(results, standby)
}

// checkEndsWithin is what --fail-within asks for, and has an exit code of its own.
const checkEndsWithin = "ends-within"

// endsWithin looks for the end of everything that no upkeep renews: the anchors, and
// the certificates between them and the intermediate. The intermediate itself lives for
// days and has a check of its own.
func endsWithin(s *kedgev1.StatusResponse, now time.Time, limit time.Duration) checkResult {
	r := checkResult{"authority", checkEndsWithin, ca.LevelOK, "nothing that an operator renews ends within " + short(limit), ""}
	named := map[string][][]byte{"anchor": nil, "the chain's": nil}
	for _, a := range s.GetBundle().GetAnchors() {
		named["anchor"] = append(named["anchor"], a.GetCertificate())
	}
	if chain := s.GetIntermediate().GetChain(); len(chain) > 1 {
		named["the chain's"] = chain[1:]
	}
	var ending []string
	for _, what := range []string{"anchor", "the chain's"} {
		for _, der := range named[what] {
			cert, err := x509.ParseCertificate(der)
			switch {
			case err != nil:
				ending = append(ending, what+": "+err.Error())
			case cert.NotAfter.Sub(now) < limit:
				ending = append(ending, fmt.Sprintf("%s %.8s (%s) ends %s", what, ca.AnchorIDOf(cert), cert.Subject.CommonName, relative(cert.NotAfter, now)))
			}
		}
	}
	if len(ending) > 0 {
		r.fault(ca.LevelFail, strings.Join(ending, "; "), "start a rotation in time: ca rotate plan")
	}
	return r
}

// issuerChecks are about what signs and what serves.
func issuerChecks(s *kedgev1.StatusResponse, now time.Time) []checkResult {
	intermediate := checkResult{"authority", "intermediate-life", ca.LevelFail, "there is no intermediate", "ca repair, and the server's log"}
	if i := s.GetIntermediate(); i != nil {
		intermediate = lifeCheck("intermediate-life", "intermediate", i.GetNotAfter().AsTime().Sub(now), warnIntermediate)
	}
	renewal := checkResult{"authority", "intermediate-renewal", ca.LevelOK, "the last renewal went well", ""}
	if e := s.GetUpkeepError(); e != "" {
		renewal.fault(ca.LevelWarn, "the last renewal failed: "+e, "issuing goes on while the intermediate lives; mend it before its end")
	}
	serving := checkResult{"authority", "server-certificate-life", ca.LevelFail, "the server has no certificate: no proxy can connect", "ca repair"}
	if t := s.GetServerCertificateNotAfter(); t != nil {
		serving = lifeCheck("server-certificate-life", "the server's certificate", t.AsTime().Sub(now), warnServerCertificate)
	}
	return []checkResult{intermediate, renewal, serving}
}

// keySourceCheck judges the keys that verify the tokens of one issuer.
func keySourceCheck(k *kedgev1.KeySource, now time.Time) checkResult {
	r := checkResult{"tokens", "token-keys", ca.LevelOK, fmt.Sprintf("%s: %s", k.GetName(), count(int(k.GetKeys()), "key")), ""}
	if k.GetLastSuccess() != nil {
		r.Detail += ", read " + relative(k.GetLastSuccess().AsTime(), now)
	}
	switch {
	case k.GetKeys() == 0:
		r.fault(ca.LevelFail, r.Detail+"; none of its tokens can be verified: "+k.GetLastError(), "check the JWKS file or URL")
	case k.GetLastError() != "":
		r.fault(ca.LevelWarn, r.Detail+"; the last reading failed: "+k.GetLastError(), "check the JWKS file or URL")
	}
	return r
}

// lifeCheck judges what is left of a life.
func lifeCheck(id, what string, left, warn time.Duration) checkResult {
	r := checkResult{"authority", id, ca.LevelOK, what + " ends in " + short(left), ""}
	switch {
	case left <= 0:
		r.fault(ca.LevelFail, what+" ended "+short(-left)+" ago", "ca repair --dry-run, then ca repair")
	case left < warn:
		r.fault(ca.LevelWarn, r.Detail, "it renews at half of its life: look at the server's log")
	}
	return r
}
