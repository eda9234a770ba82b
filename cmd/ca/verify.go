package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// verifyFlags are the flags of ca verify.
type verifyFlags struct {
	bundle, at, identity, usage, profile string
	strict                               bool
}

func newVerifyCommand(a *app) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify FILE|-|HOST:PORT",
		Short: "Verify a chain, and explain why it fails",
		Long: `Looks at every link of the chain in a file (the leaf first), or that a TLS server
presents, and at the anchors of a bundle, and names every fault: what expired and
when, which issuer is missing, whose signature is wrong. docs/checks.md explains
each id. Exit code 0: it verifies; 1: it does not; 2: there are warnings and
--strict was given.`,
		Example: `  ca verify my-workload/tls.crt --bundle my-workload/bundle.pem
  ca verify 127.0.0.1:8443 --bundle kedge-dev/bundle.pem --usage server
  ca verify tls.crt --bundle bundle.pem --identity spiffe://example.org/ns/a/sa/b --at 2027-01-01T00:00:00Z`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.options(a.now())
			if err != nil {
				return err
			}
			if _, err := a.startModule(defaultConfig()); err != nil {
				return err
			}
			anchors, err := a.loadBundle(f.bundle)
			if err != nil {
				return fmt.Errorf("--bundle: %w", err)
			}
			in, err := a.load(cmd.Context(), args[0], anchors)
			if err != nil {
				return err
			}
			if len(in.certs) == 0 {
				return fmt.Errorf("%s holds a CSR and no certificate", args[0])
			}
			return a.printFindings(withServerName(ca.Diagnose(in.certs, anchors, o), in.refusal), f.strict)
		},
	}
	cmd.Flags().StringVar(&f.bundle, "bundle", "", "file with the trust anchors, PEM or DER (required)")
	cmd.Flags().StringVar(&f.at, "at", "", "verify as of this time (default: now)")
	cmd.Flags().StringVar(&f.identity, "identity", "", "the SPIFFE ID that the leaf must have")
	cmd.Flags().StringVar(&f.usage, "usage", "", "what the leaf must allow: client or server")
	cmd.Flags().StringVar(&f.profile, "fips-profile", "fips", "policy that keys and signatures are held to")
	cmd.Flags().BoolVar(&f.strict, "strict", false, "exit with 2 when there are warnings")
	_ = cmd.MarkFlagRequired("bundle")
	return cmd
}

// options reads what the flags ask of the chain.
func (f *verifyFlags) options(now time.Time) (o ca.DiagnoseOptions, err error) {
	o.At = now
	if f.at != "" {
		if o.At, err = time.Parse(time.RFC3339, f.at); err != nil {
			return o, fmt.Errorf("--at %q is not a time like 2027-01-01T00:00:00Z", f.at)
		}
	}
	if f.identity != "" {
		if o.Identity, err = ca.ParseIdentity(f.identity); err != nil {
			return o, fmt.Errorf("--identity: %w", err)
		}
	}
	switch f.usage {
	case "":
	case "client":
		o.Usage = x509.ExtKeyUsageClientAuth
	case "server":
		o.Usage = x509.ExtKeyUsageServerAuth
	default:
		return o, fmt.Errorf("--usage %q is neither client nor server", f.usage)
	}
	if o.FIPS, err = fips.PolicyByName(f.profile); err != nil {
		return o, fmt.Errorf("--fips-profile: %w", err)
	}
	return o, nil
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
			fmt.Fprintf(w, "%s %s\t%s\t%s\n", a.mark(f.Level), f.ID, printable(f.Subject), printable(f.Detail))
			if f.Next != "" {
				fmt.Fprintf(w, "\t\t→ %s\n", f.Next)
			}
		}
	})
	switch {
	case err != nil:
		return err
	case failed > 0:
		return &exitError{exitFail, fmt.Errorf("the chain does not verify: %s", count(failed, "fault"))}
	case warned > 0 && strict:
		return &exitError{exitWarn, fmt.Errorf("the chain verifies, with %s", count(warned, "warning"))}
	}
	return nil
}

// withServerName adds that a server's chain is good but not for the name by which
// it was called.
func withServerName(found []ca.Finding, refusal error) []ca.Finding {
	var name x509.HostnameError
	if !errors.As(refusal, &name) {
		return found
	}
	return append(found, ca.Finding{
		ID: "server-name", Level: ca.LevelFail, Subject: name.Host, Detail: name.Error(), Next: "call it by a name in its certificate; ca serve takes them from serverNames",
	})
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
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
