package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

// startFlags are what a rotation is asked to be.
type startFlags struct {
	request kedgev1.StartRotationRequest
	dwell   time.Duration
}

func (f *startFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.request.NewAnchor, "to", "", "anchor to move to, or the beginning of its id (default: the standby)")
	cmd.Flags().StringVar(&f.request.Mode, "mode", "", "manual waits for ca rotate advance at each phase, auto moves on evidence (default: rotation.mode)")
	cmd.Flags().StringVar(&f.request.Window, "window", "", `when an automatic rotation may move, such as "Mon,Tue,Wed,Thu 09:00-16:00", UTC (default: rotation.window)`)
	cmd.Flags().DurationVar(&f.dwell, "dwell", 0, "the least time in each phase of an automatic rotation (default: rotation.dwell)")
	cmd.Flags().StringVar(&f.request.FirstZone, "first-zone", "", "the zone that moves first, as a canary (default: the first by name)")
	cmd.Flags().StringVar(&f.request.Reason, "reason", "", "why, for the record")
}

func (f *startFlags) wire(cmd *cobra.Command) *kedgev1.StartRotationRequest {
	if cmd.Flags().Changed("dwell") {
		f.request.Dwell = durationpb.New(f.dwell)
	}
	return &f.request
}

func newRotatePlanCommand(a *app, socket *string) *cobra.Command {
	var f startFlags
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what a rotation would do, when it could end and what blocks it",
		Long: `Asks the primary what ca rotate start with the same flags would do. Nothing is
changed. Exit code 2 when something stands in the way already.`,
		Example: "  ca rotate plan\n  ca rotate plan --to 9b01cc42 -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRotation(cmd.Context(), *socket, func(ctx context.Context, c kedgev1.RotationClient) error {
				preview, err := c.Plan(ctx, f.wire(cmd))
				if err != nil {
					return err
				}
				return a.printPreview(preview)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func newRotateStartCommand(a *app, socket *string) *cobra.Command {
	var f startFlags
	var agreed consent
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start a rotation",
		Long: `Shows what ca rotate plan shows, asks for the trust domain's name, and starts. The
rotation goes on without this command: ca rotate watch follows it, ca rotate abort
turns it round.`,
		Example: `  ca rotate start --reason "yearly rotation"
  ca rotate start --mode auto --window "Mon,Tue,Wed,Thu 09:00-16:00" --first-zone eu-1 --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRotation(cmd.Context(), *socket, func(ctx context.Context, c kedgev1.RotationClient) error {
				preview, err := c.Plan(ctx, f.wire(cmd))
				if err != nil {
					return err
				}
				if agreed.dryRun {
					return a.printPreview(preview)
				}
				err = a.ask(agreed, preview.GetTrustDomain(), "start this rotation", func(w *tabwriter.Writer) { tableOfPreview(w, preview) })
				if err != nil {
					return err
				}
				// What was shown is what is started, whatever has become the standby meanwhile.
				f.request.NewAnchor = preview.GetPlan().GetNewAnchor()
				status, err := c.Start(ctx, &f.request)
				if err != nil {
					return err
				}
				return a.printRotation(status)
			})
		},
	}
	f.add(cmd)
	agreed.flags(cmd, "only show what it would do")
	return cmd
}

func (a *app) printPreview(p *kedgev1.RotationPreview) error {
	v := judgePreview(p)
	info := struct {
		Verdict     string         `json:"verdict"`
		Because     []string       `json:"because,omitempty"`
		Now         time.Time      `json:"now"`
		TrustDomain string         `json:"trustDomain"`
		Plan        planInfo       `json:"plan"`
		Steps       []stepInfo     `json:"steps"`
		Diff        []anchorChange `json:"diff"`
		Blockers    []blockerInfo  `json:"blockers"`
		Zones       []zoneInfo     `json:"zones"`
		EarliestEnd time.Time      `json:"earliestEnd,omitzero"`
		LatestStart time.Time      `json:"latestStart,omitzero"`
	}{
		v.word(), v.because, timeAt(p.GetNow()), p.GetTrustDomain(), planInfoOf(p.GetPlan()), each(p.GetSteps(), stepInfoOf), each(p.GetDiff(), anchorChangeOf),
		each(p.GetBlockers(), blockerInfoOf), each(p.GetZones(), zoneInfoOf), timeAt(p.GetEarliestEnd()), timeAt(p.GetLatestStart()),
	}
	err := a.print("RotationPlan", info, func(w *tabwriter.Writer) {
		tableOfPreview(w, p)
		fmt.Fprint(w, "\nnothing was changed; ca rotate start begins it\n")
	})
	return errors.Join(err, v.err())
}

// judgePreview makes the verdict of a plan that has not begun.
func judgePreview(p *kedgev1.RotationPreview) verdict {
	v := verdict{}
	v.judgeBlockers(p.GetBlockers(), time.Time{}, timeAt(p.GetNow()))
	if latest := timeAt(p.GetLatestStart()); !latest.IsZero() && timeAt(p.GetNow()).After(latest) {
		v.raise(exitUnsafe, "it had to start by %s, so that the last leaf dies before its anchor", latest.Format(time.RFC3339))
	}
	return v
}

// tableOfPreview is what will happen, when, and what is in the way.
func tableOfPreview(w *tabwriter.Writer, p *kedgev1.RotationPreview) {
	now, plan := timeAt(p.GetNow()), p.GetPlan()
	fmt.Fprintf(w, "rotation of %s, %s, %s\n", p.GetTrustDomain(), plan.GetMode(), countOf(uint64(len(p.GetZones())), "zone", "zones"))
	fmt.Fprintf(w, "  from\t%.16s\tends %s\n", plan.GetOldAnchor(), relative(timeAt(plan.GetOldNotAfter()), now))
	was := "is in no bundle yet"
	if plan.GetStandby() {
		was = "is the standby: already published"
	}
	fmt.Fprintf(w, "  to\t%.16s\t%s\n", plan.GetNewAnchor(), was)
	if plan.GetApprovalsNeeded() > 1 {
		fmt.Fprintf(w, "  approvals\t%d operators must agree before it begins\n", plan.GetApprovalsNeeded())
	}
	tableOfDiff(w, p.GetDiff(), now)
	tableOfSteps(w, p.GetSteps(), "", now)
	tableOfBlockers(w, p.GetBlockers(), now)
	if end := timeAt(p.GetEarliestEnd()); !end.IsZero() {
		fmt.Fprintf(w, "\nover at the earliest\t%s\n", relative(end, now))
	}
	if latest := timeAt(p.GetLatestStart()); !latest.IsZero() {
		fmt.Fprintf(w, "must start by\t%s\n", relative(latest, now))
	}
}
