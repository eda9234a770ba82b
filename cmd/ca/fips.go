package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/fips"
)

func newFIPSCommand(a *app) *cobra.Command {
	var server, sign bool
	var socket, profile string
	cmd := &cobra.Command{
		Use:   "fips",
		Short: "Show which cryptographic module this is, and the evidence",
		Long: `Prints the report of this binary: module, certificate and its dated status, build,
self-tests, TLS and policy, and what lies outside the module. With --server the
running server reports about itself; with --sign it signs the report with the key
of its certificate, and ca fips verify checks that against a bundle.`,
		Example: "  ca fips\n  ca fips -o json\n  ca fips --sign > report.json\n  ca fips verify report.json --bundle bundle.pem",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if server || sign {
				return a.serverReport(cmd.Context(), socket, sign)
			}
			cfg := defaultConfig()
			cfg.FIPS.Profile = profile
			module, err := a.startModule(cfg)
			if err != nil {
				return err
			}
			return a.printReport(module.Report(fips.ReportInput{Now: a.now(), TLSMinVersion: minTLSVersion(cfg)}))
		},
	}
	cmd.Flags().BoolVar(&server, "server", false, "ask the running server about itself")
	cmd.Flags().BoolVar(&sign, "sign", false, "have the running server sign its report")
	cmd.Flags().StringVar(&profile, "profile", "fips", "policy profile to report on: fips, fips-2031 or cnsa1")
	a.adminFlag(cmd, &socket)
	cmd.AddCommand(newFIPSVerifyCommand(a))
	return cmd
}

// serverReport prints what the running server says of itself; a signed report is
// printed byte for byte.
func (a *app) serverReport(ctx context.Context, socket string, sign bool) error {
	return a.withAdmin(ctx, socket, func(ctx context.Context, c kedgev1.AdminClient) error {
		answer, err := c.FIPSReport(ctx, &kedgev1.FIPSReportRequest{Sign: sign})
		if err != nil {
			return err
		}
		if sign {
			_, err := fmt.Fprintf(a.stdout, "%s\n", answer.GetReport())
			return err
		}
		var report fips.Report
		if err := json.Unmarshal(answer.GetReport(), &report); err != nil {
			return fmt.Errorf("reading the server's report: %w", err)
		}
		return a.printReport(report)
	})
}

func newFIPSVerifyCommand(a *app) *cobra.Command {
	var bundle string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check a signed report against a trust bundle and print it",
		Long: `Checks that a report which ca fips --sign made is whole and signed with the key of
a server certificate under the bundle, and prints it. Who signed stands on standard
error.`,
		Example: "  ca fips verify report.json --bundle bundle.pem",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := a.startModule(defaultConfig()); err != nil {
				return err
			}
			signed, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			anchors, err := os.ReadFile(bundle)
			if err != nil {
				return fmt.Errorf("reading --bundle: %w", err)
			}
			roots := x509.NewCertPool()
			if !roots.AppendCertsFromPEM(anchors) {
				return fmt.Errorf("%s holds no PEM certificate", bundle)
			}
			report, signer, err := fips.VerifyReport(signed, roots, a.now())
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stderr, "signature is good: %v, serial %x\n", signer.URIs, signer.SerialNumber.Bytes())
			return a.printReport(report)
		},
	}
	cmd.Flags().StringVar(&bundle, "bundle", "", "PEM file with the trust anchors (required)")
	_ = cmd.MarkFlagRequired("bundle")
	return cmd
}

// printReport prints a report and fails when the module is in its error state.
func (a *app) printReport(r fips.Report) error {
	err := a.print("FIPSReport", r, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "verdict\t%s\nbackend\t%s\n", r.Verdict, r.Backend)
		if m := r.Module; m != nil {
			fmt.Fprintf(w, "module\t%s %s, %s level %d\n", m.Name, m.Version, m.Standard, m.Level)
			fmt.Fprintf(w, "certificate\tCMVP #%s, %s as of %s, sunset %s\n", m.CMVP, m.Status, m.StatusAsOf, m.Sunset)
			if m.Caveat != "" {
				fmt.Fprintf(w, "caveat\t%s\n", m.Caveat)
			}
		}
		fmt.Fprintf(w, "policy\t%s\n", r.Policy.Profile)
		passed := 0
		for _, t := range r.SelfTests {
			if t.OK {
				passed++
			}
		}
		fmt.Fprintf(w, "self-tests\t%d of %d passed\n", passed, len(r.SelfTests))
		for _, warning := range r.Warnings {
			fmt.Fprintf(w, "warning\t%s: %s\n", warning.Code, warning.Detail)
		}
		for _, outside := range r.OutsideModule {
			fmt.Fprintf(w, "outside the module\t%s\n", outside)
		}
		for _, m := range r.ExternalModules {
			fmt.Fprintf(w, "outside the process\t%s: %s, version %s (asserted by the %s)\n", m.Role, m.Kind, printable(m.Version), m.Assertion)
		}
		fmt.Fprintf(w, "claim\t%s\n", r.Claims.Text)
	})
	if err == nil && r.Verdict == "error" {
		return &exitError{exitFail, fmt.Errorf("the cryptographic module is in its error state: %s", r.Error)}
	}
	return err
}
