package main

import (
	"encoding/json"
	"fmt"
	"runtime/debug"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/fips"
)

func newFIPSCommand(a *app) *cobra.Command {
	var profile, output string
	cmd := &cobra.Command{
		Use:   "fips",
		Short: "Show which cryptographic module this is, and what is linked beside it",
		Long: `Prints the report of this binary, as ca fips does, and every linked module that
brings cryptography or protocols of its own: this program links far more than ca
does, and what a token or a service computes is that service's.`,
		Example: "  ca-upstream fips\n  ca-upstream fips -o json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			module, _, err := a.startModule(profile)
			if err != nil {
				return err
			}
			report := module.Report(fips.ReportInput{Now: a.now()})
			for _, l := range linked() {
				report.OutsideModule = append(report.OutsideModule, l.String())
			}
			return a.printReport(report, output)
		},
	}
	cmd.Flags().StringVar(&profile, "profile", "fips", "policy profile to report on: fips, fips-2031 or cnsa1")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

func (a *app) printReport(r fips.Report, output string) error {
	switch output {
	case "json":
		body, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encoding the report: %w", err)
		}
		_, err = fmt.Fprintf(a.stdout, "%s\n", body)
		return err
	case "table":
	default:
		return fmt.Errorf("output %q is neither table nor json", output)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "verdict\t%s\nbackend\t%s\n", r.Verdict, r.Backend)
	if m := r.Module; m != nil {
		fmt.Fprintf(w, "module\t%s %s, %s level %d\n", m.Name, m.Version, m.Standard, m.Level)
		fmt.Fprintf(w, "certificate\tCMVP #%s, %s as of %s, sunset %s\n", m.CMVP, m.Status, m.StatusAsOf, m.Sunset)
	}
	fmt.Fprintf(w, "policy\t%s\n", r.Policy.Profile)
	for _, warning := range r.Warnings {
		fmt.Fprintf(w, "warning\t%s: %s\n", warning.Code, warning.Detail)
	}
	for _, outside := range r.OutsideModule {
		fmt.Fprintf(w, "outside the module\t%s\n", outside)
	}
	fmt.Fprintf(w, "claim\t%s\n", r.Claims.Text)
	return w.Flush()
}

// link is one module that this binary was built with.
type link struct{ path, version, brings string }

func (l link) String() string { return l.path + " " + l.version + ": " + l.brings }

// linked are the modules that bring cryptography, or protocols that carry it, of
// their own, as the binary itself records them.
func linked() []link {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return []link{{"unknown", "", "the binary does not record what it was built with"}}
	}
	var all []link
	for _, dep := range info.Deps {
		for _, c := range cryptoModules {
			if dep.Path == c.path || strings.HasSuffix(c.path, "/") && strings.HasPrefix(dep.Path, c.path) {
				all = append(all, link{dep.Path, dep.Version, c.brings})
				break
			}
		}
	}
	return all
}
