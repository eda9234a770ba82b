package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// checkResult is one line of ca check. ID is stable and an anchor in docs/checks.md.
type checkResult struct {
	Category string   `json:"category"`
	ID       string   `json:"id"`
	Level    ca.Level `json:"level"`
	Detail   string   `json:"detail"`
	Hint     string   `json:"hint,omitempty"`
}

// checksURL is where each check is explained.
const checksURL = "https://github.com/kedge-ca/kedge/blob/main/docs/checks.md#"

// checkOptions are the flags of ca check.
type checkOptions struct {
	socket     string
	configPath string
	pre        bool
	strict     bool
	failWithin time.Duration
}

func newCheckCommand(a *app) *cobra.Command {
	var o checkOptions
	var within string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check a server, or with --pre a configuration before it is used",
		Long: `Looks at everything that will stop issuance now or later: the running server over
its local socket, and with --config its files. Each line has a stable id that
docs/checks.md explains. Exit code 0: fine; 1: something failed; 2: warnings, with
--strict.`,
		Example: "  ca check\n  ca check --fail-within 30d\n  ca check --pre --config /etc/kedge/ca.yaml -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.failWithin, err = parseDays(within); err != nil {
				return fmt.Errorf("--fail-within: %w", err)
			}
			return a.check(cmd.Context(), o)
		},
	}
	a.adminFlag(cmd, &o.socket)
	cmd.Flags().StringVar(&o.configPath, "config", "", "check this configuration and its files too")
	cmd.Flags().BoolVar(&o.pre, "pre", false, "only the configuration; no server runs yet")
	cmd.Flags().BoolVar(&o.strict, "strict", false, "exit with 2 when there are warnings")
	cmd.Flags().StringVar(&within, "fail-within", "", "fail when an anchor ends within this time, such as 30d")
	return cmd
}

// parseDays is time.ParseDuration with days.
func parseDays(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	var days int
	if n, err := fmt.Sscanf(s, "%dd", &days); n == 1 && err == nil && s == fmt.Sprintf("%dd", days) {
		return time.Duration(days) * 24 * time.Hour, nil
	}
	return time.ParseDuration(s)
}

func (a *app) check(ctx context.Context, o checkOptions) error {
	results := a.checkModule()
	if o.configPath != "" {
		results = append(results, a.checkConfig(o.configPath)...)
	}
	if !o.pre {
		results = append(results, a.checkServer(ctx, o)...)
	}
	return a.printChecks(results, o.strict)
}

// checkModule holds this binary to its cryptographic module.
func (a *app) checkModule() []checkResult {
	module, err := a.startModule(defaultConfig())
	if err != nil {
		return []checkResult{{"fips", "fips-mode", ca.LevelFail, err.Error(), "build with make build, and see docs/fips.md"}}
	}
	results := []checkResult{{"fips", "fips-mode", ca.LevelOK, "this binary runs in " + string(module.Backend()), ""}}
	for _, w := range module.Warnings(a.now()) {
		results = append(results, checkResult{"fips", "fips-module-status", ca.LevelWarn, w.Detail, ""})
	}
	return results
}

// checkConfig looks at a configuration and the files that it names, opening what
// the server would open but the store, which may be in use.
func (a *app) checkConfig(path string) []checkResult {
	cfg, err := loadConfig(path)
	if err != nil {
		return []checkResult{{"config", "config-valid", ca.LevelFail, err.Error(), ""}}
	}
	results := []checkResult{{"config", "config-valid", ca.LevelOK, path, ""}}
	for _, p := range []struct {
		name   string
		source passphraseConfig
	}{{"root.passphrase", cfg.Root.Passphrase}, {"keys.passphrase", cfg.Keys.Passphrase}} {
		if _, err := a.sealer(p.source); err != nil {
			results = append(results, checkResult{"config", "passphrases-readable", ca.LevelFail, p.name + ": " + err.Error(), ""})
			continue
		}
		results = append(results, checkResult{"config", "passphrases-readable", ca.LevelOK, p.name, ""})
	}
	policy, err := fips.PolicyByName(cfg.FIPS.Profile)
	if err == nil {
		_, err = a.openRoot(cfg, policy)
	}
	if err != nil {
		return append(results, checkResult{"config", "root-files", ca.LevelFail, err.Error(), "run ca init, or restore the directory"})
	}
	return append(results, checkResult{"config", "root-files", ca.LevelOK, cfg.Root.Dir, ""})
}

// checkServer asks the running server.
func (a *app) checkServer(ctx context.Context, o checkOptions) []checkResult {
	var results []checkResult
	err := a.withAdmin(ctx, o.socket, func(ctx context.Context, c kedgev1.AdminClient) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		s, err := c.Status(ctx, &kedgev1.StatusRequest{})
		if err != nil {
			return err
		}
		results = append(results, checkResult{"server", "server-running", ca.LevelOK, "version " + s.GetVersion() + ", trust domain " + s.GetTrustDomain(), ""})
		results = append(results, statusChecks(s, a.now(), o.failWithin)...)
		return nil
	})
	if err != nil {
		results = append(results, checkResult{"server", "server-running", ca.LevelFail, describe(err).Error, "start it: ca serve --config /etc/kedge/ca.yaml"})
	}
	return results
}

// statusChecks judges what a server says of itself. It is pure.
func statusChecks(s *kedgev1.StatusResponse, now time.Time, failWithin time.Duration) []checkResult {
	var results []checkResult
	add := func(category, id string, level ca.Level, detail, hint string) {
		results = append(results, checkResult{category, id, level, detail, hint})
	}
	if s.GetReady() {
		add("server", "ready", ca.LevelOK, "certificates can be issued", "")
	} else {
		add("server", "ready", ca.LevelFail, s.GetNotReadyReason()+": "+s.GetNotReadyDetail(), "ca repair mends what has expired")
	}
	if skew := now.Sub(s.GetNow().AsTime()).Abs(); skew > 5*time.Second {
		add("server", "clock-skew", ca.LevelFail, "the server's clock differs by "+skew.String(), "synchronise the clocks")
	}
	if s.GetFipsVerdict() == "approved-mode" {
		add("fips", "server-fips-mode", ca.LevelOK, s.GetFipsModule(), "")
	} else {
		add("fips", "server-fips-mode", ca.LevelFail, s.GetFipsVerdict()+", "+s.GetFipsModule(), "ca fips --server has the report")
	}
	results = append(results, anchorChecks(s.GetBundle(), now, failWithin)...)
	if i := s.GetIntermediate(); i == nil {
		add("authority", "intermediate-life", ca.LevelFail, "there is no intermediate", "ca repair, and the server's log")
	} else {
		results = append(results, lifeCheck("intermediate-life", "intermediate", i.GetNotAfter().AsTime(), now, ca.IntermediateLifetime/5))
	}
	if e := s.GetUpkeepError(); e != "" {
		add("authority", "intermediate-renewal", ca.LevelWarn, "the last renewal failed: "+e, "issuing goes on while the intermediate lives")
	}
	if t := s.GetServerCertificateNotAfter(); t == nil {
		add("authority", "server-certificate-life", ca.LevelFail, "the server has no certificate: no proxy can connect", "ca repair")
	} else {
		results = append(results, lifeCheck("server-certificate-life", "the server's certificate", t.AsTime(), now, 2*time.Hour))
	}
	for _, k := range s.GetKeySources() {
		switch {
		case k.GetKeys() == 0:
			add("tokens", "token-keys", ca.LevelFail, k.GetName()+": no key verifies its tokens: "+k.GetLastError(), "check the JWKS file or URL")
		case k.GetLastError() != "":
			add("tokens", "token-keys", ca.LevelWarn, k.GetName()+": keys are kept from an earlier reading: "+k.GetLastError(), "check the JWKS file or URL")
		default:
			add("tokens", "token-keys", ca.LevelOK, fmt.Sprintf("%s: %d keys", k.GetName(), k.GetKeys()), "")
		}
	}
	return results
}

// warnAnchor is how long before its end an anchor is a warning: a rotation with
// pod restarts in every cluster takes weeks.
const warnAnchor = 60 * 24 * time.Hour

func anchorChecks(b *kedgev1.Bundle, now time.Time, failWithin time.Duration) []checkResult {
	var results []checkResult
	standby := false
	for _, anchor := range b.GetAnchors() {
		cert, err := x509.ParseCertificate(anchor.GetCertificate())
		if err != nil {
			results = append(results, checkResult{"authority", "anchor-life", ca.LevelFail, err.Error(), ""})
			continue
		}
		standby = standby || anchor.GetSlot() == kedgev1.Slot_SLOT_STANDBY
		r := lifeCheck("anchor-life", fmt.Sprintf("anchor %.16s (%s)", ca.AnchorIDOf(cert), cert.Subject.CommonName), cert.NotAfter, now, warnAnchor)
		if failWithin > 0 && cert.NotAfter.Sub(now) < failWithin {
			r.Level = ca.LevelFail
		}
		results = append(results, r)
	}
	if !standby {
		results = append(results, checkResult{"authority", "standby-present", ca.LevelWarn, "no standby anchor is published", "an emergency would have to distribute a new anchor first"})
	}
	return results
}

func lifeCheck(id, what string, end, now time.Time, warn time.Duration) checkResult {
	r := checkResult{"authority", id, ca.LevelOK, what + " ends " + relative(end, now), ""}
	switch left := end.Sub(now); {
	case left <= 0:
		r.Level, r.Hint = ca.LevelFail, "ca repair"
	case left < warn:
		r.Level, r.Hint = ca.LevelWarn, "see "+checksURL+id
	}
	return r
}

func (a *app) printChecks(results []checkResult, strict bool) error {
	failed, warned := 0, 0
	for _, r := range results {
		switch r.Level {
		case ca.LevelFail:
			failed++
		case ca.LevelWarn:
			warned++
		}
	}
	err := a.print("CheckReport", struct {
		Success bool          `json:"success"`
		Checks  []checkResult `json:"checks"`
	}{failed == 0, results}, func(w *tabwriter.Writer) {
		category := ""
		for _, r := range results {
			if r.Category != category {
				category = r.Category
				fmt.Fprintf(w, "%s\n", category)
			}
			fmt.Fprintf(w, "  %s %s\t%s\n", a.mark(r.Level), r.ID, r.Detail)
			if r.Level != ca.LevelOK && r.Hint != "" {
				fmt.Fprintf(w, "\t→ %s\n", r.Hint)
			}
		}
		worst := ca.LevelOK
		if failed > 0 {
			worst = ca.LevelFail
		} else if warned > 0 {
			worst = ca.LevelWarn
		}
		fmt.Fprintf(w, "\nStatus check results are %s\n", a.mark(worst))
	})
	switch {
	case err != nil:
		return err
	case failed > 0:
		return &exitError{code: exitFail}
	case warned > 0 && strict:
		return &exitError{code: exitWarn}
	}
	return nil
}
