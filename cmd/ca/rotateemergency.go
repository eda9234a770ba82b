package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

func newRotateEmergencyCommand(a *app, socket *string) *cobra.Command {
	var agreed consent
	var request kedgev1.EmergencyRequest
	var reissueFirst bool
	var deadline time.Duration
	cmd := &cobra.Command{
		Use:   "emergency",
		Short: "Leave an anchor whose key is lost or stolen",
		Long: `Moves to the standby at once, in every zone, without waiting for leaves to die of
old age. --reissue-first drops the old anchor when everybody has a new leaf, or at
the deadline; --distrust-now drops it at once, and every leaf under it that was not
renewed fails. A rotation that is under way is taken over.

It first prints what it costs: live leaves that will fail, by zone, and how long it
takes to re-issue them all.

To drop an anchor ends no connection that is open: see docs/rotation.md for what
each mesh does.`,
		Example: `  ca rotate emergency --reissue-first --deadline 4h --reason "root key suspected, INC-9" --dry-run
  ca rotate emergency --distrust-now --reason "root key stolen, INC-9"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRotation(cmd.Context(), *socket, func(ctx context.Context, c kedgev1.RotationClient) error {
				status, err := c.Status(ctx, &kedgev1.RotationStatusRequest{})
				if err != nil {
					return err
				}
				if p := status.GetPlan(); p != nil && !isOver(p) {
					request.Plan = p.GetId()
				}
				if deadline > 0 {
					request.Deadline = timestamppb.New(timeAt(status.GetNow()).Add(deadline))
				}
				return a.emergency(ctx, c, &request, agreed, status)
			})
		},
	}
	cmd.Flags().BoolVar(&reissueFirst, "reissue-first", false, "drop the old anchor when everybody has a new leaf, or at the deadline")
	cmd.Flags().BoolVar(&request.DistrustNow, "distrust-now", false, "drop the old anchor at once")
	cmd.Flags().DurationVar(&deadline, "deadline", 0, "with --reissue-first: drop it after so long whatever is left, such as 4h")
	cmd.Flags().StringVar(&request.NewAnchor, "to", "", "anchor to move to, or the beginning of its id (default: the standby)")
	cmd.Flags().StringVar(&request.Reason, "reason", "", "why, for the record (required)")
	cmd.MarkFlagsMutuallyExclusive("reissue-first", "distrust-now")
	cmd.MarkFlagsOneRequired("reissue-first", "distrust-now")
	cmd.MarkFlagsMutuallyExclusive("deadline", "distrust-now")
	_ = cmd.MarkFlagRequired("reason")
	agreed.flags(cmd, "only print what it costs")
	return cmd
}

// emergency has the server count the cost, shows it, asks and acts.
func (a *app) emergency(ctx context.Context, c kedgev1.RotationClient, request *kedgev1.EmergencyRequest, agreed consent, status *kedgev1.RotationStatus) error {
	request.DryRun = true
	cost, err := c.Emergency(ctx, request)
	if err != nil {
		return err
	}
	now := timeAt(status.GetNow())
	show := func(w *tabwriter.Writer) { tableOfEmergency(w, request, cost, now) }
	if agreed.dryRun {
		return a.print("RotationEmergency", emergencyCostInfoOf(request, cost), show)
	}
	act := "drop the old anchor when everybody has a new leaf"
	if request.GetDistrustNow() {
		act = "drop the old anchor at once"
	}
	if err := a.ask(agreed, status.GetTrustDomain(), act, show); err != nil {
		return err
	}
	request.DryRun = false
	done, err := c.Emergency(ctx, request)
	if err != nil {
		return err
	}
	return a.printRotation(done.GetStatus())
}

type emergencyCostInfo struct {
	DistrustNow bool           `json:"distrustNow"`
	Deadline    time.Time      `json:"deadline,omitzero"`
	Failing     uint64         `json:"failing"`
	Zones       []zoneCostInfo `json:"zones"`
	Unknown     []string       `json:"unknown,omitempty"`
	IssueRate   float64        `json:"issueRate"`
	RateSource  string         `json:"issueRateSource"`
	Reissue     string         `json:"reissue"`
	Renewal     string         `json:"renewal"`
	Diff        []anchorChange `json:"diff"`
	Blockers    []blockerInfo  `json:"blockers"`
}

type zoneCostInfo struct {
	Zone       string    `json:"zone"`
	Failing    uint64    `json:"failing"`
	LastExpiry time.Time `json:"lastExpiry,omitzero"`
}

func emergencyCostInfoOf(r *kedgev1.EmergencyRequest, e *kedgev1.EmergencyResponse) emergencyCostInfo {
	c := e.GetCost()
	return emergencyCostInfo{
		DistrustNow: r.GetDistrustNow(), Deadline: timeAt(r.GetDeadline()), Failing: c.GetFailing(), Unknown: c.GetUnknown(),
		IssueRate: c.GetIssueRate(), RateSource: c.GetIssueRateSource(), Reissue: c.GetReissue().AsDuration().String(),
		Renewal: c.GetRenewal().AsDuration().String(), Diff: each(e.GetDiff(), anchorChangeOf), Blockers: each(e.GetBlockers(), blockerInfoOf),
		Zones: each(c.GetZones(), func(z *kedgev1.ZoneCost) zoneCostInfo {
			return zoneCostInfo{z.GetZone(), z.GetFailing(), timeAt(z.GetLastExpiry())}
		}),
	}
}

// tableOfEmergency is the cost, before the question.
func tableOfEmergency(w *tabwriter.Writer, r *kedgev1.EmergencyRequest, e *kedgev1.EmergencyResponse, now time.Time) {
	c := e.GetCost()
	switch {
	case r.GetDistrustNow():
		fmt.Fprintf(w, "AT ONCE %s will fail at every verifier that takes the new bundle:\n\n", countOf(c.GetFailing(), "live leaf", "live leaves"))
	case r.GetDeadline() != nil:
		fmt.Fprintf(w, "%s are under the old anchor; what has not renewed by %s will fail:\n\n", countOf(c.GetFailing(), "live leaf", "live leaves"), relative(timeAt(r.GetDeadline()), now))
	default:
		fmt.Fprintf(w, "%s are under the old anchor, which is dropped when none is left:\n\n", countOf(c.GetFailing(), "live leaf", "live leaves"))
	}
	fmt.Fprint(w, "ZONE\tLIVE LEAVES\tTHE LAST ENDS\n")
	for _, z := range c.GetZones() {
		fmt.Fprintf(w, "%s\t%s\t%s\n", printable(z.GetZone()), thousands(z.GetFailing()), relative(timeAt(z.GetLastExpiry()), now))
	}
	for _, name := range c.GetUnknown() {
		fmt.Fprintf(w, "%s\t?\tit does not report: its leaves are not counted, or not of late\n", printable(name))
	}
	if c.GetIssueRate() > 0 {
		fmt.Fprintf(w, "\nto re-issue them all takes\t%s\tat %.0f certificates a second and replica (%s)\n", short(c.GetReissue().AsDuration()), c.GetIssueRate(), printable(c.GetIssueRateSource()))
	}
	if d := c.GetRenewal().AsDuration(); d > 0 {
		fmt.Fprintf(w, "those that nobody restarts renew within\t%s\tby themselves\n", short(d))
	}
	tableOfDiff(w, e.GetDiff(), now)
	tableOfBlockers(w, e.GetBlockers(), now)
	fmt.Fprint(w, "\nOpen connections are not ended by this; docs/rotation.md says how each mesh drains them.\n")
}
