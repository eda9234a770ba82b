package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/api/trustbundle"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
)

func newBundleCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "The trust anchors that every workload needs",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newBundleShowCommand(a), newBundleExportCommand(a), newBundleVerifyCommand(a))
	return cmd
}

func newBundleShowCommand(a *app) *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show the running server's trust bundle",
		Example: "  ca bundle show\n  ca bundle show -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			bundle, err := a.fetchBundle(cmd.Context(), socket)
			if err != nil {
				return err
			}
			return a.printBundle(bundle)
		},
	}
	a.adminFlag(cmd, &socket)
	return cmd
}

func newBundleExportCommand(a *app) *cobra.Command {
	var socket, out, format string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the running server's trust bundle to a file",
		Long: `Writes every anchor of the bundle, the active, the standby and those that drain, in
the order and the bytes that proxies get: give workloads all of them. As PEM, as a
JSON Web Key Set (jwks), or as the SPIFFE bundle document with the bundle's sequence
(spiffe), which is what the bundle endpoint serves.`,
		Example: "  ca bundle export > bundle.pem\n  ca bundle export --format spiffe --out bundle.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			encode := bundleFormats[format]
			if encode == nil {
				return fmt.Errorf("--format %q is none of pem, jwks, spiffe", format)
			}
			wire, err := a.fetchBundle(cmd.Context(), socket)
			if err != nil {
				return err
			}
			bundle, err := decodeBundle(wire)
			if err != nil {
				return err
			}
			text, err := encode(bundle)
			if err != nil {
				return err
			}
			if out == "" {
				_, err := a.stdout.Write(text)
				return err
			}
			if err := secretfile.CreatePublic(out, text); err != nil {
				return fmt.Errorf("writing the bundle: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to make (default standard output)")
	cmd.Flags().StringVar(&format, "format", "pem", "pem, jwks or spiffe")
	a.adminFlag(cmd, &socket)
	return cmd
}

// bundleFormats are the forms of a bundle in a file.
var bundleFormats = map[string]func(*ca.Bundle) ([]byte, error){
	"pem":    func(b *ca.Bundle) ([]byte, error) { return b.PEM(), nil },
	"jwks":   trustbundle.JWKS,
	"spiffe": trustbundle.SPIFFE,
}

// decodeBundle is the bundle that a server has sent, with everything that a bundle has to be.
func decodeBundle(wire *kedgev1.Bundle) (*ca.Bundle, error) {
	domain, err := ca.ParseTrustDomain(wire.GetTrustDomain())
	if err != nil {
		return nil, fmt.Errorf("reading the server's bundle: %w", err)
	}
	var anchors []ca.Anchor
	for _, a := range wire.GetAnchors() {
		cert, err := x509.ParseCertificate(a.GetCertificate())
		if err != nil {
			return nil, fmt.Errorf("reading an anchor of the bundle: %w", err)
		}
		anchors = append(anchors, ca.Anchor{Certificate: cert, Slot: ca.Slot(slotNames[a.GetSlot()])})
	}
	bundle, err := ca.NewBundle(domain, wire.GetSequence(), anchors)
	if err != nil {
		return nil, fmt.Errorf("reading the server's bundle: %w", err)
	}
	return bundle, nil
}

// fetchBundle asks the server, over its local socket.
func (a *app) fetchBundle(ctx context.Context, socket string) (*kedgev1.Bundle, error) {
	var bundle *kedgev1.Bundle
	err := a.withAdmin(ctx, socket, func(ctx context.Context, c kedgev1.AdminClient) error {
		status, err := c.Status(ctx, &kedgev1.StatusRequest{})
		if err != nil {
			return err
		}
		if bundle = status.GetBundle(); len(bundle.GetAnchors()) == 0 {
			return ca.Refuse(ca.ReasonNotReady, "the server has no bundle; see its log")
		}
		return nil
	})
	return bundle, err
}

// slotNames are the slots as people write them.
var slotNames = map[kedgev1.Slot]string{
	kedgev1.Slot_SLOT_ACTIVE: string(ca.SlotActive), kedgev1.Slot_SLOT_STANDBY: string(ca.SlotStandby), kedgev1.Slot_SLOT_DRAINING: string(ca.SlotDraining),
}

func (a *app) printBundle(b *kedgev1.Bundle) error {
	type row struct {
		Slot     string    `json:"slot"`
		ID       string    `json:"id"`
		Subject  string    `json:"subject"`
		NotAfter time.Time `json:"notAfter"`
	}
	out := struct {
		TrustDomain string `json:"trustDomain"`
		Sequence    uint64 `json:"sequence"`
		Anchors     []row  `json:"anchors"`
	}{TrustDomain: b.GetTrustDomain(), Sequence: b.GetSequence()}
	for _, anchor := range b.GetAnchors() {
		cert, err := x509.ParseCertificate(anchor.GetCertificate())
		if err != nil {
			return fmt.Errorf("reading an anchor of the bundle: %w", err)
		}
		out.Anchors = append(out.Anchors, row{slotNames[anchor.GetSlot()], ca.AnchorIDOf(cert).String(), cert.Subject.CommonName, cert.NotAfter.UTC()})
	}
	return a.print("Bundle", out, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "trust domain %s, bundle %d\n\nSLOT\tID\tSUBJECT\tEND\n", out.TrustDomain, out.Sequence)
		for _, r := range out.Anchors {
			fmt.Fprintf(w, "%s\t%.16s\t%s\t%s\n", r.Slot, r.ID, printable(r.Subject), r.NotAfter.Format(time.RFC3339))
		}
	})
}
