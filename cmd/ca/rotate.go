package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

// Exit codes of ca rotate, ca halt and ca resume; the highest that holds. An error
// of the command itself is exitFail.
const (
	exitBlocked   = 2 // somebody is needed before the rotation goes on
	exitAttention = 3 // nothing is broken yet
	exitUnsafe    = 4 // handshakes fail, or will
)

func newRotateCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Put one trust anchor in the place of another",
		Long: `Moves the mesh from one trust anchor to another, across all zones, on evidence:
every verifier has the new anchor before anybody signs under it, and every leaf under
the old one has died before it leaves the bundle. docs/rotation.md walks through it.

Commands speak to the primary's local socket. Exit codes: 0 fine, 1 the command
failed, 2 blocked until somebody acts, 3 attention, 4 unsafe.`,
		Example: `  ca rotate plan
  ca rotate start --reason "yearly rotation"
  ca rotate watch`,
		Args: cobra.NoArgs,
	}
	var socket string
	cmd.PersistentFlags().StringVar(&socket, "admin-socket", "", adminUsage())
	cmd.AddCommand(
		newRotatePlanCommand(a, &socket), newRotateStartCommand(a, &socket), newRotateStatusCommand(a, &socket), newRotateWatchCommand(a, &socket),
		newRotateAdvanceCommand(a, &socket), newRotatePauseCommand(a, &socket), newRotateResumeCommand(a, &socket), newRotateModeCommand(a, &socket),
		newRotateAbortCommand(a, &socket), newRotateExcludeCommand(a, &socket), newRotateIncludeCommand(a, &socket),
		newRotateConfirmCommand(a, &socket), newRotateApproveCommand(a, &socket), newRotateEmergencyCommand(a, &socket),
		newRotateVerifyCommand(a, &socket), newRotateHistoryCommand(a, &socket), newRotateReconstructCommand(a, &socket), newRotateSimulateCommand(a),
	)
	return cmd
}

// withRotation calls do with a client of the primary's local socket.
func (a *app) withRotation(ctx context.Context, socket string, do func(context.Context, kedgev1.RotationClient) error) error {
	return a.withSocket(ctx, socket, func(ctx context.Context, conn *grpc.ClientConn) error {
		return do(ctx, kedgev1.NewRotationClient(conn))
	})
}

// consent is how an act that cannot be taken back is agreed to.
type consent struct {
	yes    bool
	dryRun bool
}

func (c *consent) flags(cmd *cobra.Command, dryRun string) {
	cmd.Flags().BoolVar(&c.yes, "yes", false, "do not ask for the trust domain's name")
	if dryRun != "" {
		cmd.Flags().BoolVar(&c.dryRun, "dry-run", false, dryRun)
	}
}

// ask shows what the act does, on standard error, and has the operator type the
// trust domain's name. Standard output is left to the result.
func (a *app) ask(c consent, domain, act string, show func(w *tabwriter.Writer)) error {
	w := tabwriter.NewWriter(a.stderr, 0, 8, 2, ' ', 0)
	show(w)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing what is asked: %w", err)
	}
	if c.yes {
		return nil
	}
	fmt.Fprintf(a.stderr, "\nTo %s, type the name of the trust domain (%s): ", act, domain)
	line, err := bufio.NewReader(io.LimitReader(a.stdin, 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if strings.TrimSpace(line) != domain {
		fmt.Fprintln(a.stderr)
		return &stepError{"not_confirmed", "type " + domain + ", or give --yes", errors.New("nothing was done: the name was not the trust domain's")}
	}
	return nil
}

// underWay is the plan that an act is meant for.
func underWay(ctx context.Context, c kedgev1.RotationClient) (*kedgev1.RotationStatus, error) {
	status, err := c.Status(ctx, &kedgev1.RotationStatusRequest{})
	if err != nil {
		return nil, err
	}
	if status.GetPlan() == nil || isOver(status.GetPlan()) {
		return nil, &stepError{"no_rotation", "ca rotate plan shows what a rotation would do", errors.New("no rotation is under way")}
	}
	return status, nil
}

// The phases in which a plan is over.
const (
	phaseDone    = "done"
	phaseAborted = "aborted"
)

func isOver(p *kedgev1.RotationPlan) bool {
	return p.GetPhase() == phaseDone || p.GetPhase() == phaseAborted
}
