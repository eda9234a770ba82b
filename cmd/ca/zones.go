package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

func newZonesCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "zones",
		Short: "The zones of the trust domain and their replicas",
		Long: `A zone is the issuing replicas of one failure domain. Each replica has a key and an
intermediate of its own, follows the primary, and goes on issuing without it until
its intermediate ends. docs/zones.md walks through it.

Commands speak to the primary's local socket.`,
		Example: `  ca zones token eu-1 > token
  ca zones list
  ca zones remove eu-1 --reason "region closed"`,
		Args: cobra.NoArgs,
	}
	var socket string
	cmd.PersistentFlags().StringVar(&socket, "admin-socket", "", adminUsage())
	cmd.AddCommand(newZonesTokenCommand(a, &socket), newZonesListCommand(a, &socket), newZonesRemoveCommand(a, &socket))
	return cmd
}

// withZones calls do with a client of the primary's local socket.
func (a *app) withZones(ctx context.Context, socket string, do func(context.Context, kedgev1.ZonesAdminClient) error) error {
	return a.withSocket(ctx, socket, func(ctx context.Context, conn *grpc.ClientConn) error {
		return do(ctx, kedgev1.NewZonesAdminClient(conn))
	})
}

func newZonesTokenCommand(a *app, socket *string) *cobra.Command {
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "token ZONE",
		Short: "Make a token with which one replica joins a zone",
		Long: `Makes the token with which one replica joins a zone; there need not be a zone of the
name before. It works once, for the replica that uses it first, and expires. It also
pins the trust bundle in force, so that the replica needs nothing else to know its
primary by. It is shown once and stored only as a hash.`,
		Example: "  ca zones token eu-1 --ttl 10m > token",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withZones(cmd.Context(), *socket, func(ctx context.Context, c kedgev1.ZonesAdminClient) error {
				answer, err := c.CreateZoneToken(ctx, &kedgev1.CreateZoneTokenRequest{Zone: args[0], Ttl: durationpb.New(ttl)})
				if err != nil {
					return err
				}
				expires := answer.GetExpiresAt().AsTime()
				if a.output == "table" {
					fmt.Fprintf(a.stderr, "for one replica of zone %s, until %s\n", args[0], relative(expires, a.now()))
				}
				return a.print("ZoneToken", struct {
					Token     string    `json:"token"`
					Zone      string    `json:"zone"`
					ExpiresAt time.Time `json:"expiresAt"`
				}{answer.GetToken(), args[0], expires}, func(w *tabwriter.Writer) { fmt.Fprintln(w, answer.GetToken()) })
			})
		},
	}
	cmd.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it may be used, at most 24h")
	return cmd
}

func newZonesRemoveCommand(a *app, socket *string) *cobra.Command {
	var reason string
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove ZONE [REPLICA]",
		Short: "Take a zone, or one of its replicas, out of the trust domain",
		Long: `From now on the primary refuses the zone, or the replica: it gets no bundle, no
command and no intermediate. What it has issues on until its intermediate ends, and a
rotation waits for that. Where the key may have been stolen, rotate the anchor as
well. A replica that lost its data directory is removed and joins again.`,
		Example: `  ca zones remove eu-1 replica-2 --reason "disk lost"
  ca zones remove eu-1 --reason "region closed"`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSocket(cmd.Context(), *socket, func(ctx context.Context, conn *grpc.ClientConn) error {
				r := removal{zone: args[0], reason: reason}
				if len(args) == 2 {
					r.replica = args[1]
				}
				return a.removeZone(ctx, conn, consent{yes: yes}, r)
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record (required)")
	_ = cmd.MarkFlagRequired("reason")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask for the trust domain's name")
	return cmd
}

// removal is what to remove: a zone, or one replica of it.
type removal struct{ zone, replica, reason string }

func (r removal) what() string {
	if r.replica != "" {
		return "replica " + r.replica + " of zone " + r.zone
	}
	return "zone " + r.zone
}

func (r removal) do(ctx context.Context, c kedgev1.ZonesAdminClient) (time.Time, error) {
	if r.replica != "" {
		answer, err := c.RemoveReplica(ctx, &kedgev1.RemoveReplicaRequest{Zone: r.zone, Replica: r.replica, Reason: r.reason})
		return timeAt(answer.GetLease()), err
	}
	answer, err := c.RemoveZone(ctx, &kedgev1.RemoveZoneRequest{Zone: r.zone, Reason: r.reason})
	return timeAt(answer.GetLease()), err
}

// removeZone removes when the operator has agreed.
func (a *app) removeZone(ctx context.Context, conn *grpc.ClientConn, agreed consent, r removal) error {
	c := kedgev1.NewZonesAdminClient(conn)
	list, err := c.ListZones(ctx, &kedgev1.ListZonesRequest{})
	if err != nil {
		return err
	}
	status, err := kedgev1.NewAdminClient(conn).Status(ctx, &kedgev1.StatusRequest{})
	if err != nil {
		return err
	}
	show := func(w *tabwriter.Writer) { tableOfRemoval(w, list, r) }
	if err := a.ask(agreed, status.GetTrustDomain(), "remove "+r.what(), show); err != nil {
		return err
	}
	lease, err := r.do(ctx, c)
	if err != nil {
		return err
	}
	return a.print("ZoneRemoval", struct {
		Zone    string    `json:"zone"`
		Replica string    `json:"replica,omitempty"`
		Lease   time.Time `json:"lease,omitzero"`
	}{r.zone, r.replica, lease}, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "%s is removed\n", r.what())
		if !lease.IsZero() {
			fmt.Fprintf(w, "what it has may issue until %s\n", relative(lease, a.now()))
		}
	})
}

// tableOfRemoval is what would be removed.
func tableOfRemoval(w *tabwriter.Writer, list *kedgev1.ListZonesResponse, r removal) {
	now := list.GetNow().AsTime()
	for _, z := range list.GetZones() {
		if z.GetName() != r.zone {
			continue
		}
		for _, one := range z.GetReplicas() {
			if r.replica != "" && one.GetName() != r.replica || one.GetRemoved() {
				continue
			}
			fmt.Fprintf(w, "%s\t%s\theard of %s\tissues until %s\t%s\n", z.GetName(), one.GetName(),
				relative(timeAt(one.GetLastContact()), now), relative(timeAt(one.GetLease()), now), leavesOf(one.GetReport()))
		}
	}
}

// leavesOf is how many unexpired leaves a replica has signed.
func leavesOf(r *kedgev1.ReplicaReport) string {
	live := uint64(0)
	for _, l := range r.GetLeaves() {
		live += l.GetLive()
	}
	return countOf(live, "live leaf", "live leaves")
}
