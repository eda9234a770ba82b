package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

func newRotateVerifyCommand(a *app, socket *string) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Make the replicas shake hands under each anchor now",
		Long: `A canary is a short-lived certificate of a reserved identity under an anchor. Every
replica of every zone shakes hands with it and verifies it by the bundle that it
holds. Exit code 4 when a handshake fails, 3 when a replica makes none.`,
		Example: "  ca rotate verify",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRotation(cmd.Context(), *socket, func(ctx context.Context, c kedgev1.RotationClient) error {
				answer, err := c.Verify(ctx, &kedgev1.VerifyRotationRequest{})
				if err != nil {
					return err
				}
				return a.printCanaries(answer.GetResults())
			})
		},
	}
}

type canaryInfo struct {
	Zone    string    `json:"zone"`
	Replica string    `json:"replica"`
	Anchor  string    `json:"anchor"`
	OK      bool      `json:"ok"`
	Detail  string    `json:"detail,omitempty"`
	At      time.Time `json:"at,omitzero"`
}

func canaryInfoOf(r *kedgev1.CanaryResult) canaryInfo {
	return canaryInfo{r.GetZone(), r.GetReplica(), r.GetAnchor(), r.GetOk(), r.GetDetail(), timeAt(r.GetAt())}
}

func (a *app) printCanaries(results []*kedgev1.CanaryResult) error {
	v := verdict{}
	for _, r := range results {
		switch {
		case r.GetAnchor() == "":
			v.raise(exitAttention, "zone %s, replica %s: %s", r.GetZone(), r.GetReplica(), r.GetDetail())
		case !r.GetOk():
			v.raise(exitUnsafe, "zone %s, replica %s, anchor %.8s: %s", r.GetZone(), r.GetReplica(), r.GetAnchor(), r.GetDetail())
		}
	}
	if len(results) == 0 {
		v.raise(exitAttention, "there is no replica")
	}
	err := a.print("RotationVerification", struct {
		Verdict string       `json:"verdict"`
		Results []canaryInfo `json:"results"`
	}{v.word(), each(results, canaryInfoOf)}, func(w *tabwriter.Writer) {
		if len(results) == 0 {
			fmt.Fprintln(w, v.because[0])
			return
		}
		fmt.Fprint(w, "ZONE\tREPLICA\tANCHOR\tHANDSHAKE\tMADE\n")
		for _, r := range results {
			outcome := "passed"
			switch {
			case r.GetAnchor() == "":
				outcome = printable(r.GetDetail())
			case !r.GetOk():
				outcome = "FAILED: " + printable(r.GetDetail())
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", printable(r.GetZone()), printable(r.GetReplica()), firstOf(fmt.Sprintf("%.8s", r.GetAnchor()), "-"), outcome, ago(timeAt(r.GetAt()), a.now()))
		}
	})
	return errors.Join(err, v.err())
}

func newRotateReconstructCommand(a *app, socket *string) *cobra.Command {
	var agreed consent
	var apply bool
	var reason, bundles string
	cmd := &cobra.Command{
		Use:   "reconstruct",
		Short: "Derive from what the zones hold where the rotation is",
		Long: `Looks at the bundles, signers and certificates that the zones report, derives from
them where the rotation is, and compares that with the journal. It is for a primary
that was restored from a backup. Nothing is changed without --apply; where the zones hold
bundles that the journal does not have, it needs them, as a replica keeps them.
Exit code 4 when the two disagree.`,
		Example: "  ca rotate reconstruct\n  ca rotate reconstruct --apply --bundles from-eu-1.json --reason \"restored from Monday's backup\"",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRotation(cmd.Context(), *socket, func(ctx context.Context, c kedgev1.RotationClient) error {
				found, err := c.Reconstruct(ctx, &kedgev1.ReconstructRequest{})
				if err != nil {
					return err
				}
				if !apply || agreed.dryRun || found.GetAgrees() {
					return a.printReconstruction(found)
				}
				if reason == "" {
					return errors.New("--reason is needed with --apply: say why, for the record")
				}
				status, err := c.Status(ctx, &kedgev1.RotationStatusRequest{})
				if err != nil {
					return err
				}
				err = a.ask(agreed, status.GetTrustDomain(), "put this into the journal", func(w *tabwriter.Writer) {
					tableOfReconstruction(w, found)
					fmt.Fprintln(w)
					tableOfAnchors(w, status.GetAnchors(), timeAt(status.GetNow()))
				})
				if err != nil {
					return err
				}
				request := &kedgev1.ReconstructRequest{Apply: true, Reason: reason}
				if request.Bundles, err = readSignedBundles(bundles); err != nil {
					return err
				}
				done, err := c.Reconstruct(ctx, request)
				if err != nil {
					return err
				}
				return a.printReconstruction(done)
			})
		},
	}
	cmd.Flags().BoolVar(&apply, "apply", false, "mend the journal, where that is safe")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record (with --apply)")
	cmd.Flags().StringVar(&bundles, "bundles", "", "with --apply: file with the signed bundles of a replica, JSON, oldest first")
	agreed.flags(cmd, "only show what --apply would do")
	return cmd
}

// readSignedBundles reads signed bundles, an array of them or one after another; ""
// is none. The server verifies them.
func readSignedBundles(path string) ([][]byte, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading signed bundles: %w", err)
	}
	defer f.Close()
	var all [][]byte
	for decoder := json.NewDecoder(f); ; {
		var value json.RawMessage
		switch err := decoder.Decode(&value); {
		case errors.Is(err, io.EOF) && len(all) > 0:
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("reading signed bundles of %s: %w", path, err)
		}
		some := []json.RawMessage{value}
		if value[0] == '[' {
			if err := json.Unmarshal(value, &some); err != nil {
				return nil, fmt.Errorf("reading signed bundles of %s: %w", path, err)
			}
		}
		for _, one := range some {
			all = append(all, one)
		}
	}
}

func (a *app) printReconstruction(r *kedgev1.ReconstructResponse) error {
	v := verdict{}
	if !r.GetAgrees() && !r.GetApplied() {
		v.raise(exitUnsafe, "the journal and the zones disagree")
	}
	err := a.print("RotationReconstruction", struct {
		Verdict  string   `json:"verdict"`
		Journal  string   `json:"journal,omitempty"`
		Derived  string   `json:"derived,omitempty"`
		Agrees   bool     `json:"agrees"`
		Applied  bool     `json:"applied"`
		Findings []string `json:"findings"`
		Actions  []string `json:"actions"`
	}{
		v.word(), r.GetJournalPhase(), r.GetDerivedPhase(), r.GetAgrees(), r.GetApplied(),
		append([]string{}, r.GetFindings()...), append([]string{}, r.GetActions()...),
	}, func(w *tabwriter.Writer) { tableOfReconstruction(w, r) })
	return errors.Join(err, v.err())
}

func tableOfReconstruction(w *tabwriter.Writer, r *kedgev1.ReconstructResponse) {
	fmt.Fprintf(w, "the journal says\t%s\nthe zones say\t%s\n", firstOf(r.GetJournalPhase(), "no rotation"), firstOf(r.GetDerivedPhase(), "no rotation"))
	for _, f := range r.GetFindings() {
		fmt.Fprintf(w, "  %s\n", printable(f))
	}
	switch {
	case r.GetAgrees():
		fmt.Fprintln(w, "they agree")
	case len(r.GetActions()) == 0:
		fmt.Fprintln(w, "they disagree, and nothing can be mended safely from here: see docs/rotation.md")
	case r.GetApplied():
		fmt.Fprintln(w, "done:")
	default:
		fmt.Fprintln(w, "they disagree; --apply would:")
	}
	for _, action := range r.GetActions() {
		fmt.Fprintf(w, "  %s\n", printable(action))
	}
}
