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

func newRotateStatusCommand(a *app, socket *string) *cobra.Command {
	var within string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show where the rotation is and what it waits for",
		Long: `Shows the last rotation: its phase, each zone, what it waits for and what comes
next. What passes by itself, such as leaves that die, is no blocker. Exit code 0:
fine; 2: blocked until somebody acts; 3: attention; 4: unsafe.`,
		Example: "  ca rotate status\n  ca rotate status --fail-within 30d -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			soon, err := parseDays(within)
			if err != nil {
				return fmt.Errorf("--fail-within: %w", err)
			}
			return a.withRotation(cmd.Context(), *socket, func(ctx context.Context, c kedgev1.RotationClient) error {
				status, err := c.Status(ctx, &kedgev1.RotationStatusRequest{})
				if err != nil {
					return err
				}
				return a.printStatus(status, judge(status, soon))
			})
		},
	}
	cmd.Flags().StringVar(&within, "fail-within", "", "exit with 3 when an anchor ends within this time, such as 30d")
	return cmd
}

// printStatus prints a status and ends with its verdict.
func (a *app) printStatus(s *kedgev1.RotationStatus, v verdict) error {
	err := a.print("RotationStatus", rotationInfoOf(s, v), func(w *tabwriter.Writer) { a.tableOfRotation(w, s, v) })
	return errors.Join(err, v.err())
}

// printRotation prints what an act has led to. The act went well, whatever the
// rotation waits for next.
func (a *app) printRotation(s *kedgev1.RotationStatus) error {
	v := judge(s, 0)
	return a.print("RotationStatus", rotationInfoOf(s, v), func(w *tabwriter.Writer) { a.tableOfRotation(w, s, verdict{}) })
}

// progressEvery is how often ca rotate watch prints a line while nothing happens.
const progressEvery = 30 * time.Second

func newRotateWatchCommand(a *app, socket *string) *cobra.Command {
	var stopWhenBlocked bool
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Follow the rotation until it is over",
		Long: `Follows the rotation until it is over: on a terminal a live view, else a line for
each change and now and then one of progress, with -o json an object a line. An
interrupt ends the command and not the rotation. Exit code 0: done, or
interrupted; 3: aborted.`,
		Example: "  ca rotate watch\n  ca rotate watch --stop-when-blocked -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRotation(cmd.Context(), *socket, func(ctx context.Context, c kedgev1.RotationClient) error {
				w := &watch{app: a, stopWhenBlocked: stopWhenBlocked}
				return w.run(ctx, c)
			})
		},
	}
	cmd.Flags().BoolVar(&stopWhenBlocked, "stop-when-blocked", false, "end with 2 or 4 once somebody has been needed for 30 s")
	return cmd
}

func newRotateHistoryCommand(a *app, socket *string) *cobra.Command {
	var limit uint32
	cmd := &cobra.Command{
		Use: "history", Short: "List the rotations, newest first", Args: cobra.NoArgs,
		Example: "  ca rotate history --limit 5",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRotation(cmd.Context(), *socket, func(ctx context.Context, c kedgev1.RotationClient) error {
				answer, err := c.History(ctx, &kedgev1.RotationHistoryRequest{Limit: limit})
				if err != nil {
					return err
				}
				return a.print("RotationHistory", struct {
					Plans []planInfo `json:"plans"`
				}{each(answer.GetPlans(), planInfoOf)}, func(w *tabwriter.Writer) { tableOfHistory(w, answer.GetPlans()) })
			})
		},
	}
	cmd.Flags().Uint32Var(&limit, "limit", 20, "at most so many")
	return cmd
}

func tableOfHistory(w *tabwriter.Writer, plans []*kedgev1.RotationPlan) {
	if len(plans) == 0 {
		fmt.Fprintln(w, "there was no rotation yet")
		return
	}
	fmt.Fprint(w, "ROTATION\tSTARTED\tTOOK\tPHASE\tFROM\tTO\tBY\tWHY\n")
	for _, p := range plans {
		took := "-"
		if p.GetEndedAt() != nil && p.GetStartedAt() != nil {
			took = short(timeAt(p.GetEndedAt()).Sub(timeAt(p.GetStartedAt())))
		}
		why := p.GetReason()
		if e := p.GetEmergency(); e != nil {
			why = "EMERGENCY, " + emergencyKind(e) + ": " + e.GetReason()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.8s\t%.8s\t%s\t%s\n", p.GetId(), timeAt(p.GetStartedAt()).Format(time.RFC3339), took,
			p.GetPhase(), p.GetOldAnchor(), p.GetNewAnchor(), printable(p.GetActor()), printable(why))
	}
}
