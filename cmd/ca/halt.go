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

func newHaltCommand(a *app) *cobra.Command {
	var socket, reason string
	cmd := &cobra.Command{
		Use:   "halt",
		Short: "Stop issuing in every zone",
		Long: `Stops issuing in every zone, for when keys or identities may be in wrong hands.
Replicas that can be reached obey within ten seconds, and stay halted through a
restart until ca resume. What was issued before lives on until it expires: the mesh
works for hours, not days. Exit code 3 when a replica has not acknowledged yet.`,
		Example: `  ca halt --reason "stolen node credentials, INC-12"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRotation(cmd.Context(), socket, func(ctx context.Context, c kedgev1.RotationClient) error {
				answer, err := c.Halt(ctx, &kedgev1.HaltRequest{Reason: reason})
				if err != nil {
					return err
				}
				return a.printHalt(answer, "has stopped issuing")
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record (required)")
	_ = cmd.MarkFlagRequired("reason")
	a.adminFlag(cmd, &socket)
	return cmd
}

func newResumeCommand(a *app) *cobra.Command {
	var socket, reason string
	cmd := &cobra.Command{
		Use: "resume", Short: "Let issuing go on after ca halt", Args: cobra.NoArgs,
		Long:    `Ends a halt in every zone. A rotation that was paused is resumed by ca rotate resume.`,
		Example: `  ca resume --reason "INC-12 closed"`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRotation(cmd.Context(), socket, func(ctx context.Context, c kedgev1.RotationClient) error {
				answer, err := c.ResumeIssuance(ctx, &kedgev1.ResumeIssuanceRequest{Reason: reason})
				if err != nil {
					return err
				}
				return a.printHalt(answer, "issues again")
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	a.adminFlag(cmd, &socket)
	return cmd
}

type haltedInfo struct {
	Zone         string    `json:"zone"`
	Replica      string    `json:"replica"`
	Acknowledged bool      `json:"acknowledged"`
	LastContact  time.Time `json:"lastContact,omitzero"`
}

// printHalt lists the replicas; acknowledged is what those do that have answered.
func (a *app) printHalt(h *kedgev1.HaltResponse, acknowledged string) error {
	v := verdict{}
	for _, r := range h.GetReplicas() {
		if !r.GetAcknowledged() {
			v.raise(exitAttention, "replica %s of zone %s has not acknowledged", r.GetReplica(), r.GetZone())
		}
	}
	err := a.print("Halt", struct {
		Halted   string       `json:"halted,omitempty"`
		Replicas []haltedInfo `json:"replicas"`
	}{h.GetHalted(), each(h.GetReplicas(), func(r *kedgev1.HaltedReplica) haltedInfo {
		return haltedInfo{r.GetZone(), r.GetReplica(), r.GetAcknowledged(), timeAt(r.GetLastContact())}
	})}, func(w *tabwriter.Writer) {
		fmt.Fprint(w, "ZONE\tREPLICA\tSTATE\tCONTACT\n")
		for _, r := range h.GetReplicas() {
			state := acknowledged
			if !r.GetAcknowledged() {
				state = "has NOT acknowledged"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", printable(r.GetZone()), printable(r.GetReplica()), state, ago(timeAt(r.GetLastContact()), a.now()))
		}
	})
	return errors.Join(err, v.err())
}
