package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

// change runs one act on the plan under way and prints what it led to.
func (a *app) change(cmd *cobra.Command, socket string, act func(context.Context, kedgev1.RotationClient, *kedgev1.RotationStatus) (*kedgev1.RotationStatus, error)) error {
	return a.withRotation(cmd.Context(), socket, func(ctx context.Context, c kedgev1.RotationClient) error {
		before, err := underWay(ctx, c)
		if err != nil {
			return err
		}
		after, err := act(ctx, c, before)
		if err != nil || after == nil {
			return err
		}
		return a.printRotation(after)
	})
}

func newRotateAdvanceCommand(a *app, socket *string) *cobra.Command {
	return &cobra.Command{
		Use:   "advance",
		Short: "Let a manual rotation go on to its next phase",
		Long: `Lets the rotation leave the phase that it is in. It does so only when the evidence
is in: this never overrides a blocker. A rotation in manual mode waits for it at
each phase.`,
		Example: "  ca rotate advance",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.change(cmd, *socket, func(ctx context.Context, c kedgev1.RotationClient, s *kedgev1.RotationStatus) (*kedgev1.RotationStatus, error) {
				return c.Advance(ctx, &kedgev1.AdvanceRotationRequest{Plan: s.GetPlan().GetId(), Phase: s.GetPlan().GetPhase()})
			})
		},
	}
}

func newRotatePauseCommand(a *app, socket *string) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "pause", Short: "Hold the rotation where it is", Args: cobra.NoArgs,
		Long: `Holds the rotation in its phase. What was published or commanded stays so; that is
safe for as long as the old anchor lives.`,
		Example: `  ca rotate pause --reason "change freeze"`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.change(cmd, *socket, func(ctx context.Context, c kedgev1.RotationClient, s *kedgev1.RotationStatus) (*kedgev1.RotationStatus, error) {
				return c.Pause(ctx, &kedgev1.ChangeRotationRequest{Plan: s.GetPlan().GetId(), Reason: reason})
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return cmd
}

func newRotateResumeCommand(a *app, socket *string) *cobra.Command {
	return &cobra.Command{
		Use: "resume", Short: "Let a paused rotation go on", Args: cobra.NoArgs, Example: "  ca rotate resume",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.change(cmd, *socket, func(ctx context.Context, c kedgev1.RotationClient, s *kedgev1.RotationStatus) (*kedgev1.RotationStatus, error) {
				return c.Resume(ctx, &kedgev1.ChangeRotationRequest{Plan: s.GetPlan().GetId()})
			})
		},
	}
}

func newRotateModeCommand(a *app, socket *string) *cobra.Command {
	return &cobra.Command{
		Use: "mode {manual|auto}", Short: "Make the rotation move by itself, or wait at each phase", Args: cobra.ExactArgs(1),
		Example: "  ca rotate mode auto", ValidArgs: []string{"manual", "auto"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd, *socket, func(ctx context.Context, c kedgev1.RotationClient, s *kedgev1.RotationStatus) (*kedgev1.RotationStatus, error) {
				return c.SetMode(ctx, &kedgev1.SetRotationModeRequest{Plan: s.GetPlan().GetId(), Mode: args[0]})
			})
		},
	}
}

func newRotateAbortCommand(a *app, socket *string) *cobra.Command {
	var agreed consent
	var reason string
	cmd := &cobra.Command{
		Use:   "abort",
		Short: "Turn the rotation round",
		Long: `Goes back to the old anchor. While nobody has signed under the new one that is
done at once; after that the zones are told to sign under the old one again, and the
new one stays in the bundle until its last leaf has died. A rotation that retires
the old anchor goes forward only.`,
		Example: `  ca rotate abort --reason "canary zone shows errors"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.change(cmd, *socket, func(ctx context.Context, c kedgev1.RotationClient, s *kedgev1.RotationStatus) (*kedgev1.RotationStatus, error) {
				show := func(w *tabwriter.Writer) { tableOfAbort(w, s) }
				if agreed.dryRun {
					return nil, a.print("RotationAbort", struct {
						Plan    string       `json:"plan"`
						Phase   string       `json:"phase"`
						Effects []string     `json:"effects"`
						Anchors []anchorInfo `json:"anchors"`
					}{s.GetPlan().GetId(), s.GetPlan().GetPhase(), abortEffects(s.GetPlan()), each(s.GetAnchors(), anchorInfoOf)}, show)
				}
				if err := a.ask(agreed, s.GetTrustDomain(), "abort this rotation", show); err != nil {
					return nil, err
				}
				return c.Abort(ctx, &kedgev1.ChangeRotationRequest{Plan: s.GetPlan().GetId(), Reason: reason})
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record (required)")
	_ = cmd.MarkFlagRequired("reason")
	agreed.flags(cmd, "only show what it would do")
	return cmd
}

// abortEffects says what an abort does in the phase that the plan is in.
func abortEffects(p *kedgev1.RotationPlan) []string {
	leaves := "the bundle loses the new anchor"
	if p.GetStandby() {
		leaves = "the new anchor stays in the bundle as the standby that it was"
	}
	switch p.GetPhase() {
	case "staged":
		return []string{"nobody has seen the new anchor: the rotation ends at once"}
	case "distributing":
		return []string{"nobody has signed under the new anchor: the rotation ends at once", leaves}
	case "aborting":
		return []string{"it is turned round already"}
	case "activating", "draining":
		return []string{
			"every zone is told to sign under the old anchor again",
			"both anchors stay in the bundle until the last leaf under the new one has died", "then " + leaves,
		}
	}
	return []string{"it goes forward only: the old anchor has left the bundle for some already; start another rotation"}
}

func tableOfAbort(w *tabwriter.Writer, s *kedgev1.RotationStatus) {
	tableOfPlan(w, s.GetTrustDomain(), s.GetPlan(), timeAt(s.GetNow()))
	fmt.Fprintln(w)
	tableOfAnchors(w, s.GetAnchors(), timeAt(s.GetNow()))
	fmt.Fprintln(w, "\nan abort:")
	for _, effect := range abortEffects(s.GetPlan()) {
		fmt.Fprintf(w, "  %s\n", effect)
	}
}

func newRotateExcludeCommand(a *app, socket *string) *cobra.Command {
	var agreed consent
	var reason string
	cmd := &cobra.Command{
		Use:   "exclude-zone ZONE",
		Short: "Go on without a zone",
		Long: `Goes on without a zone that does not answer. Its leaves are waited for all the
same: until its last intermediate ends, which is its lease, and the last leaf under
that. What runs in the zone may fail once the old anchor is gone; when the zone
returns it catches up by itself, and ca rotate include-zone takes it back.`,
		Example: `  ca rotate exclude-zone eu-2 --reason "region is down, INC-1234"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd, *socket, func(ctx context.Context, c kedgev1.RotationClient, s *kedgev1.RotationStatus) (*kedgev1.RotationStatus, error) {
				zone := zoneOf(s, args[0])
				if zone == nil {
					return nil, &stepError{"no_such_zone", "ca rotate status lists them", fmt.Errorf("zone %q takes no part in the rotation", args[0])}
				}
				show := func(w *tabwriter.Writer) { a.tableOfExclusion(w, s, zone) }
				if agreed.dryRun {
					return nil, a.print("RotationExclusion", struct {
						Plan string         `json:"plan"`
						Zone zoneInfo       `json:"zone"`
						Diff []anchorChange `json:"diff"`
					}{s.GetPlan().GetId(), zoneInfoOf(zone), each(s.GetDiff(), anchorChangeOf)}, show)
				}
				if err := a.ask(agreed, s.GetTrustDomain(), "go on without zone "+args[0], show); err != nil {
					return nil, err
				}
				return c.ExcludeZone(ctx, &kedgev1.RotationZoneRequest{Plan: s.GetPlan().GetId(), Zone: args[0], Reason: reason})
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record (required)")
	_ = cmd.MarkFlagRequired("reason")
	agreed.flags(cmd, "only show what it would do")
	return cmd
}

func zoneOf(s *kedgev1.RotationStatus, name string) *kedgev1.RotationZone {
	for _, z := range s.GetZones() {
		if z.GetName() == name {
			return z
		}
	}
	return nil
}

func (a *app) tableOfExclusion(w *tabwriter.Writer, s *kedgev1.RotationStatus, z *kedgev1.RotationZone) {
	now := timeAt(s.GetNow())
	fmt.Fprintf(w, "rotation %s goes on without zone %s\n", s.GetPlan().GetId(), printable(z.GetName()))
	a.tableOfZones(w, &kedgev1.RotationStatus{Now: s.GetNow(), Plan: s.GetPlan(), Zones: []*kedgev1.RotationZone{z}}, 0)
	fmt.Fprintf(w, "\nwhat it can still sign is waited for\tuntil %s, and its last leaf\n", relative(timeAt(z.GetLease()), now))
	for _, l := range z.GetLeaves() {
		fmt.Fprintf(w, "live leaves under %.8s, when it last reported\t%s\n", l.GetAnchor(), thousands(l.GetLive()))
	}
	tableOfDiff(w, s.GetDiff(), now)
}

func newRotateIncludeCommand(a *app, socket *string) *cobra.Command {
	return &cobra.Command{
		Use: "include-zone ZONE", Short: "Take a zone back that was excluded", Args: cobra.ExactArgs(1),
		Example: "  ca rotate include-zone eu-2",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd, *socket, func(ctx context.Context, c kedgev1.RotationClient, s *kedgev1.RotationStatus) (*kedgev1.RotationStatus, error) {
				return c.IncludeZone(ctx, &kedgev1.RotationZoneRequest{Plan: s.GetPlan().GetId(), Zone: args[0]})
			})
		},
	}
}

func newRotateConfirmCommand(a *app, socket *string) *cobra.Command {
	var zone, class, reason string
	cmd := &cobra.Command{
		Use:   "confirm",
		Short: "Record evidence that Kedge cannot see",
		Long: `Records that somebody has looked: the verifiers of a class in a zone have the
bundle. It is for what Kedge cannot see, such as pods of Linkerd that were not
restarted yet or an appliance with a copy of the bundle. It is recorded by name, and
holds for this rotation.`,
		Example: `  ca rotate confirm --zone eu-2 --class restart --reason "all pods restarted, CHG-77"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if reason == "" {
				return errors.New("--reason: say what was looked at")
			}
			return a.change(cmd, *socket, func(ctx context.Context, c kedgev1.RotationClient, s *kedgev1.RotationStatus) (*kedgev1.RotationStatus, error) {
				return c.Confirm(ctx, &kedgev1.ConfirmRotationRequest{Plan: s.GetPlan().GetId(), Zone: zone, Class: class, Reason: reason})
			})
		},
	}
	cmd.Flags().StringVar(&zone, "zone", "", "the zone that was looked at (required)")
	cmd.Flags().StringVar(&class, "class", "", "class of its verifiers: restart, published or federated (required)")
	cmd.Flags().StringVar(&reason, "reason", "", "what was looked at, for the record (required)")
	for _, name := range []string{"zone", "class", "reason"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}
