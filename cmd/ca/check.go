package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// checkResult is one line of ca check. ID is stable and an anchor in docs/checks.md.
type checkResult struct {
	Category string
	ID       string
	Level    ca.Level
	Detail   string
	Hint     string // what to do, where the level is not OK
}

// checksURL is where each check is explained, and each finding of ca verify.
const checksURL = "https://github.com/kedge-ca/kedge/blob/main/docs/checks.md#"

// defaultConfigPath is where ca serve looks.
const defaultConfigPath = "/etc/kedge/ca.yaml"

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
its local socket, and with --config its files, which are judged as this user's.
Each line has a stable id that docs/checks.md explains. Exit code 0: fine; 1:
something failed; 2: warnings, with --strict; 3: nothing failed but --fail-within,
which is for a pipeline that has to fail long before traffic does.`,
		Example: "  ca check\n  ca check --fail-within 30d\n  ca check --pre --config /etc/kedge/ca.yaml -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.failWithin, err = parseDays(within); err != nil {
				return fmt.Errorf("--fail-within: %w", err)
			}
			if o.pre && o.configPath == "" {
				o.configPath = defaultConfigPath
			}
			return a.check(cmd.Context(), o)
		},
	}
	a.adminFlag(cmd, &o.socket)
	cmd.Flags().StringVar(&o.configPath, "config", "", "check this configuration and its files too (default with --pre: "+defaultConfigPath+")")
	cmd.Flags().BoolVar(&o.pre, "pre", false, "only the configuration; no server runs yet")
	cmd.Flags().BoolVar(&o.strict, "strict", false, "exit with 2 when there are warnings")
	cmd.Flags().StringVar(&within, "fail-within", "", "fail, with 3, when an anchor or a certificate above the intermediate ends within this time, such as 30d")
	return cmd
}

// parseDays is time.ParseDuration with days.
func parseDays(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is not a number of days such as 30d", s)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration such as 30d or 12h", s)
	}
	return d, nil
}

func (a *app) check(ctx context.Context, o checkOptions) error {
	results := a.checkModule()
	if o.configPath != "" {
		results = append(results, a.checkConfig(ctx, o.configPath)...)
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
	return moduleChecks(module.Backend(), module.Warnings(a.now()))
}

// moduleChecks judges a module that started. It is pure.
func moduleChecks(backend fips.Backend, warnings []fips.Warning) []checkResult {
	results := []checkResult{{"fips", "fips-mode", ca.LevelOK, "this binary runs in " + string(backend), ""}}
	for _, w := range warnings {
		results = append(results, checkResult{"fips", "fips-module-status", ca.LevelWarn, w.Code + ": " + w.Detail, "look the certificate up; docs/fips.md says how to state what you found"})
	}
	if len(warnings) == 0 {
		results = append(results, checkResult{"fips", "fips-module-status", ca.LevelOK, "the module's certificate is active", ""})
	}
	return results
}

// printedCheck is a check as data.
type printedCheck struct {
	Category string   `json:"category"`
	ID       string   `json:"id"`
	Level    ca.Level `json:"level"`
	Detail   string   `json:"detail"`
	Hint     string   `json:"hint,omitempty"`
	Help     string   `json:"help"`
}

func (a *app) printChecks(results []checkResult, strict bool) error {
	failed, warned, ending := 0, 0, 0
	var printed []printedCheck
	for _, r := range results {
		switch {
		case r.Level == ca.LevelFail && r.ID == checkEndsWithin:
			ending++
		case r.Level == ca.LevelFail:
			failed++
		case r.Level == ca.LevelWarn:
			warned++
		}
		printed = append(printed, printedCheck{r.Category, r.ID, r.Level, r.Detail, r.Hint, checksURL + r.ID})
	}
	err := a.print("CheckReport", struct {
		Success bool           `json:"success"`
		Checks  []printedCheck `json:"checks"`
	}{failed+ending == 0, printed}, func(w *tabwriter.Writer) { a.tableOfChecks(w, results) })
	switch {
	case err != nil:
		return err
	case failed > 0:
		return &exitError{code: exitFail}
	case ending > 0:
		return &exitError{code: exitAttention}
	case warned > 0 && strict:
		return &exitError{code: exitWarn}
	}
	return nil
}

// tableOfChecks prints a line for each check, and what to do about it beneath.
func (a *app) tableOfChecks(w *tabwriter.Writer, results []checkResult) {
	category, worst := "", ca.LevelOK
	for _, r := range results {
		if r.Category != category {
			category = r.Category
			fmt.Fprintf(w, "%s\n", category)
		}
		fmt.Fprintf(w, "  %s %s\t%s\n", a.mark(r.Level), r.ID, printable(strings.ReplaceAll(r.Detail, "\n", "; ")))
		if r.Level == ca.LevelOK {
			continue
		}
		fmt.Fprintf(w, "\t→ %s\n\t  %s\n", r.Hint, checksURL+r.ID)
		if worst != ca.LevelFail {
			worst = r.Level
		}
	}
	fmt.Fprintf(w, "\nStatus check results are %s\n", a.mark(worst))
}
