package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

// silentAfter is when a replica that reports every five seconds is called silent.
const silentAfter = time.Minute

func newZonesListCommand(a *app, socket *string) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "What each replica of each zone holds, signs under and has seen",
		Long: `Prints a line for each replica: the bundle and the command that it follows, the
anchor that it signs under, how many live leaves are known to have the bundle (their
holders are behind otherwise), how far its clock is off, and when it was heard of. A ! marks
what is behind the primary or silent; -o json has everything.`,
		Example: "  ca zones list\n  ca zones list -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withZones(cmd.Context(), *socket, func(ctx context.Context, c kedgev1.ZonesAdminClient) error {
				list, err := c.ListZones(ctx, &kedgev1.ListZonesRequest{})
				if err != nil {
					return err
				}
				return a.printZones(list, all)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "removed ones as well")
	return cmd
}

// listedZone is a zone as data.
type listedZone struct {
	Name     string          `json:"name"`
	Removed  bool            `json:"removed,omitempty"`
	Replicas []listedReplica `json:"replicas"`
}

type listedReplica struct {
	Name        string           `json:"name"`
	KeyHash     string           `json:"keyHash,omitempty"`
	Removed     bool             `json:"removed,omitempty"`
	Version     string           `json:"version"`
	JoinedAt    time.Time        `json:"joinedAt"`
	LastContact time.Time        `json:"lastContact,omitzero"`
	Silent      bool             `json:"silent"`
	Lease       time.Time        `json:"lease,omitzero"`
	Sequence    uint64           `json:"sequence"`
	Lag         uint64           `json:"lag"` // bundles behind the primary
	BundleHash  string           `json:"bundleHash,omitempty"`
	Epoch       uint64           `json:"epoch"`
	Signer      string           `json:"signer,omitempty"`
	Plan        string           `json:"plan,omitempty"`
	Halted      string           `json:"halted,omitempty"`
	ClockOffset string           `json:"clockOffset,omitempty"`
	Coverage    []listedCoverage `json:"coverage"`
	Leaves      []listedLeaves   `json:"leaves"`
}

type listedCoverage struct {
	Class    string    `json:"class"`
	Sequence uint64    `json:"sequence"`
	Live     uint64    `json:"live"`
	Behind   uint64    `json:"behind"`
	Oldest   time.Time `json:"oldest,omitzero"`
}

type listedLeaves struct {
	Anchor    string    `json:"anchor"`
	Live      uint64    `json:"live"`
	HighWater time.Time `json:"highWater,omitzero"`
}

func (a *app) printZones(list *kedgev1.ListZonesResponse, all bool) error {
	out := struct {
		Sequence uint64       `json:"sequence"`
		Zones    []listedZone `json:"zones"`
	}{list.GetSequence(), []listedZone{}}
	for _, z := range list.GetZones() {
		if z.GetRemoved() && !all {
			continue
		}
		listed := listedZone{Name: z.GetName(), Removed: z.GetRemoved(), Replicas: []listedReplica{}}
		for _, r := range z.GetReplicas() {
			if all || !r.GetRemoved() {
				listed.Replicas = append(listed.Replicas, listReplica(r, list))
			}
		}
		out.Zones = append(out.Zones, listed)
	}
	return a.print("ZoneList", out, func(w *tabwriter.Writer) { tableOfZoneList(w, out.Zones, list) })
}

func listReplica(r *kedgev1.ReplicaStatus, list *kedgev1.ListZonesResponse) listedReplica {
	report, now := r.GetReport(), list.GetNow().AsTime()
	out := listedReplica{
		Name: r.GetName(), KeyHash: hex.EncodeToString(r.GetKeyHash()), Removed: r.GetRemoved(), Version: firstOf(report.GetVersion(), r.GetVersion()),
		JoinedAt: timeAt(r.GetJoinedAt()), LastContact: timeAt(r.GetLastContact()), Lease: timeAt(r.GetLease()),
		Sequence: report.GetSequence(), BundleHash: report.GetBundleHash(), Epoch: report.GetEpoch(), Signer: hex.EncodeToString(report.GetSigner()),
		Plan: report.GetPlan(), Halted: report.GetHalted(), Coverage: []listedCoverage{}, Leaves: []listedLeaves{},
	}
	out.Silent = now.Sub(out.LastContact) > silentAfter
	if list.GetSequence() > out.Sequence {
		out.Lag = list.GetSequence() - out.Sequence
	}
	if report.GetClock() != nil {
		// The report was a moment on its way, so that a second means nothing.
		out.ClockOffset = report.GetClock().AsTime().Sub(out.LastContact).Round(time.Second).String()
	}
	for _, c := range report.GetCoverage() {
		out.Coverage = append(out.Coverage, listedCoverage{c.GetClass(), c.GetSequence(), c.GetLive(), c.GetBehind(), timeAt(c.GetOldest())})
	}
	for _, l := range report.GetLeaves() {
		out.Leaves = append(out.Leaves, listedLeaves{hex.EncodeToString(l.GetAnchor()), l.GetLive(), timeAt(l.GetHighWater())})
	}
	return out
}

func tableOfZoneList(w *tabwriter.Writer, zones []listedZone, list *kedgev1.ListZonesResponse) {
	fmt.Fprintf(w, "ZONE\tREPLICA\tBUNDLE\tCOMMAND\tSIGNER\tCOVERAGE\tCLOCK\tHEARD OF\tVERSION\n")
	now := list.GetNow().AsTime()
	for _, z := range zones {
		if len(z.Replicas) == 0 {
			fmt.Fprintf(w, "%s\t-\t-\t-\t-\t-\t-\t-\t-\n", printable(z.Name))
		}
		for _, r := range z.Replicas {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", printable(z.Name), printable(r.Name), bundleCell(r), r.Epoch,
				firstOf(fmt.Sprintf("%.8s", r.Signer), "-"), coverageCell(r.Coverage), firstOf(r.ClockOffset, "-"), heardCell(r, now), printable(r.Version))
		}
	}
	fmt.Fprintf(w, "\nbundle %d is in force\n", list.GetSequence())
}

func bundleCell(r listedReplica) string {
	switch {
	case r.Removed:
		return "removed"
	case r.LastContact.IsZero():
		return "-"
	case r.Lag > 0:
		return fmt.Sprintf("%d !%d behind", r.Sequence, r.Lag)
	}
	return fmt.Sprint(r.Sequence)
}

// coverageCell is how many verifiers have the bundle, of all, by class.
func coverageCell(all []listedCoverage) string {
	var cells []string
	for _, c := range all {
		if c.Live > 0 {
			cells = append(cells, fmt.Sprintf("%s %d/%d", printable(c.Class), c.Live-min(c.Behind, c.Live), c.Live))
		}
	}
	if len(cells) == 0 {
		return "-"
	}
	return strings.Join(cells, ", ")
}

func heardCell(r listedReplica, now time.Time) string {
	switch {
	case r.LastContact.IsZero():
		return "never"
	case r.Silent && !r.Removed:
		return "!" + short(now.Sub(r.LastContact)) + " ago"
	}
	return short(now.Sub(r.LastContact)) + " ago"
}
