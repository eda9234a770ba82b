package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

// approveFlags are those of an operator at another machine.
type approveFlags struct {
	remote    clientFlags
	server    string
	cert, key string
	reason    string
	agreed    consent
}

func newRotateApproveCommand(a *app, socket *string) *cobra.Command {
	var f approveFlags
	cmd := &cobra.Command{
		Use:   "approve [ROTATION]",
		Short: "Agree to a rotation that another operator started",
		Long: `Where rotation.approvals is above 1, a rotation waits in its first phase for so many
operators. Each counts once, whoever started it included; who may agree is listed in
rotation.operators.

At the primary the operator is the user of the local socket. At another machine give
--server, and a certificate of the mesh with its key: the operator is the identity in
it. The id of the rotation is then needed, so that nobody agrees to another one.`,
		Example: `  ca rotate approve
  ca rotate approve 20261124-1 --server kedge.example.org:8443 --bundle bundle.pem \
    --identity alice.crt --key alice.key`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var plan string
			if len(args) == 1 {
				plan = args[0]
			}
			if f.server != "" {
				return a.approveRemotely(cmd.Context(), f, plan)
			}
			return a.change(cmd, *socket, func(ctx context.Context, c kedgev1.RotationClient, s *kedgev1.RotationStatus) (*kedgev1.RotationStatus, error) {
				if id := s.GetPlan().GetId(); plan != "" && plan != id {
					return nil, &stepError{"stale", "ca rotate status", fmt.Errorf("rotation %s is under way, not %s", id, plan)}
				}
				show := func(w *tabwriter.Writer) {
					tableOfApproval(w, s.GetTrustDomain(), s.GetPlan(), s.GetDiff(), timeAt(s.GetNow()))
				}
				if err := a.ask(f.agreed, s.GetTrustDomain(), "agree to this rotation", show); err != nil {
					return nil, err
				}
				return c.Approve(ctx, &kedgev1.ChangeRotationRequest{Plan: s.GetPlan().GetId(), Reason: f.reason})
			})
		},
	}
	cmd.Flags().StringVar(&f.server, "server", "", "address of the primary's TLS port, from another machine")
	cmd.Flags().StringVar(&f.remote.config.ServerName, "server-name", "", "name in the server's certificate (default: host of --server)")
	cmd.Flags().StringVar(&f.remote.bundle, "bundle", "", "PEM file with the trust anchors (with --server)")
	cmd.Flags().StringVar(&f.cert, "identity", "", "file with the operator's certificate (with --server)")
	cmd.Flags().StringVar(&f.key, "key", "", "file with the key of --identity")
	cmd.Flags().StringVar(&f.reason, "reason", "", "a note for the record")
	cmd.MarkFlagsRequiredTogether("server", "bundle", "identity", "key")
	f.agreed.flags(cmd, "")
	return cmd
}

// approveRemotely asks over the TLS port what the rotation is, and agrees to it.
func (a *app) approveRemotely(ctx context.Context, f approveFlags, plan string) error {
	if plan == "" {
		return errors.New("give the id of the rotation, which ca rotate status shows")
	}
	f.remote.config.Server, f.remote.keyType = f.server, "ecdsa-p256"
	c, err := f.remote.client(a)
	if err != nil {
		return err
	}
	identity, err := a.readPair(f.cert, f.key)
	if err != nil {
		return err
	}
	conn, err := c.Dial(identity)
	if err != nil {
		return err
	}
	defer conn.Close()
	call := func(dryRun bool) (*kedgev1.ApproveRotationResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout) // the question in between takes as long as it takes
		defer cancel()
		return kedgev1.NewApprovalsClient(conn).ApproveRotation(ctx, &kedgev1.ApproveRotationRequest{Plan: plan, Reason: f.reason, DryRun: dryRun})
	}
	shown, err := call(true)
	if err != nil {
		return err
	}
	err = a.ask(f.agreed, shown.GetTrustDomain(), "agree to this rotation as "+shown.GetActor(), func(w *tabwriter.Writer) {
		tableOfApproval(w, shown.GetTrustDomain(), shown.GetPlan(), shown.GetDiff(), a.now())
	})
	if err != nil {
		return err
	}
	done, err := call(false)
	if err != nil {
		return err
	}
	return a.print("RotationApproval", struct {
		TrustDomain string   `json:"trustDomain"`
		Actor       string   `json:"actor"`
		Plan        planInfo `json:"plan"`
	}{done.GetTrustDomain(), done.GetActor(), planInfoOf(done.GetPlan())}, func(w *tabwriter.Writer) {
		p := done.GetPlan()
		fmt.Fprintf(w, "%s has agreed to rotation %s: %d of %d approvals\n", done.GetActor(), p.GetId(), len(p.GetApprovals()), p.GetApprovalsNeeded())
	})
}

func tableOfApproval(w *tabwriter.Writer, domain string, p *kedgev1.RotationPlan, diff []*kedgev1.AnchorChange, now time.Time) {
	tableOfPlan(w, domain, p, now)
	tableOfDiff(w, diff, now)
}
