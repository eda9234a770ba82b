package main

import (
	"crypto/x509"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

func newVerifyCommand(a *app) *cobra.Command {
	var bundle, at, identity, usage, profile string
	var strict bool
	cmd := &cobra.Command{
		Use:   "verify CERTIFICATE",
		Short: "Verify a chain, and explain why it fails",
		Long: `Looks at every link of the chain in a file (the leaf first) and at the anchors of a
bundle, and names every fault: what expired and when, which issuer is missing,
whose signature is wrong. Exit code 0: it verifies; 1: it does not; 2: there are
warnings and --strict was given.`,
		Example: "  ca verify my-workload/tls.crt --bundle my-workload/bundle.pem\n  ca verify tls.crt --bundle bundle.pem --identity spiffe://example.org/ns/a/sa/b --at 2027-01-01T00:00:00Z",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := ca.DiagnoseOptions{At: a.now(), Identity: identity}
			var err error
			if at != "" {
				if o.At, err = time.Parse(time.RFC3339, at); err != nil {
					return fmt.Errorf("--at %q is not a time like 2027-01-01T00:00:00Z", at)
				}
			}
			switch usage {
			case "":
			case "client":
				o.Usage = x509.ExtKeyUsageClientAuth
			case "server":
				o.Usage = x509.ExtKeyUsageServerAuth
			default:
				return fmt.Errorf("--usage %q is neither client nor server", usage)
			}
			if o.FIPS, err = fips.PolicyByName(profile); err != nil {
				return err
			}
			chain, _, err := a.load(cmd.Context(), args[0], "")
			if err != nil {
				return err
			}
			anchors, _, err := a.load(cmd.Context(), bundle, "")
			if err != nil {
				return fmt.Errorf("--bundle: %w", err)
			}
			return a.printFindings(ca.Diagnose(chain, anchors, o), strict)
		},
	}
	cmd.Flags().StringVar(&bundle, "bundle", "", "PEM file with the trust anchors (required)")
	cmd.Flags().StringVar(&at, "at", "", "verify as of this time (default: now)")
	cmd.Flags().StringVar(&identity, "identity", "", "the SPIFFE ID that the leaf must have")
	cmd.Flags().StringVar(&usage, "usage", "", "what the leaf must allow: client or server")
	cmd.Flags().StringVar(&profile, "fips-profile", "fips", "policy that keys and signatures are held to")
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 2 when there are warnings")
	_ = cmd.MarkFlagRequired("bundle")
	return cmd
}

func (a *app) printFindings(findings []ca.Finding, strict bool) error {
	failed, warned := 0, 0
	for _, f := range findings {
		switch f.Level {
		case ca.LevelFail:
			failed++
		case ca.LevelWarn:
			warned++
		}
	}
	err := a.print("Verification", struct {
		Verifies bool         `json:"verifies"`
		Findings []ca.Finding `json:"findings"`
	}{failed == 0, findings}, func(w *tabwriter.Writer) {
		for _, f := range findings {
			fmt.Fprintf(w, "%s %s\t%s\t%s\n", a.mark(f.Level), f.ID, f.Subject, f.Detail)
			if f.Next != "" {
				fmt.Fprintf(w, "\t\t→ %s\n", f.Next)
			}
		}
	})
	switch {
	case err != nil:
		return err
	case failed > 0:
		return &exitError{exitFail, fmt.Errorf("the chain does not verify: %d faults", failed)}
	case warned > 0 && strict:
		return &exitError{exitWarn, fmt.Errorf("%d warnings", warned)}
	}
	return nil
}

// mark is how a level looks on a terminal.
func (a *app) mark(l ca.Level) string {
	mark, colour := "√", "32"
	switch l {
	case ca.LevelWarn:
		mark, colour = "‼", "33"
	case ca.LevelFail:
		mark, colour = "×", "31"
	}
	if !a.color {
		return mark
	}
	return "\x1b[" + colour + "m" + mark + "\x1b[0m"
}
