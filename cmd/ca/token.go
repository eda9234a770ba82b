package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

func newTokenCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make one-time tokens for machines", Example: "  ca token create --identity spiffe://example.org/vm/db-1"}
	var socket, identity string
	var ttl time.Duration
	create := &cobra.Command{
		Use:   "create",
		Short: "Make a token that works once, for one identity",
		Long: `Makes a token with which a machine gets its first certificate (ca issue
--token-file). It works once and expires; afterwards the machine renews with its
certificate. The token is shown once and stored only as a hash. The server needs
authn.joinTokens: true.`,
		Example: "  ca token create --identity spiffe://example.org/vm/db-1 --ttl 10m > token",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(cmd.Context(), socket, func(ctx context.Context, c kedgev1.AdminClient) error {
				answer, err := c.CreateJoinToken(ctx, &kedgev1.CreateJoinTokenRequest{Identity: identity, Ttl: durationpb.New(ttl)})
				if err != nil {
					return err
				}
				expires := answer.GetExpiresAt().AsTime()
				if a.output == "table" {
					fmt.Fprintf(a.stderr, "works once, for %s, until %s\n", identity, relative(expires, a.now()))
				}
				return a.print("JoinToken", struct {
					Token     string    `json:"token"`
					Identity  string    `json:"identity"`
					ExpiresAt time.Time `json:"expiresAt"`
				}{answer.GetToken(), identity, expires}, func(w *tabwriter.Writer) { fmt.Fprintln(w, answer.GetToken()) })
			})
		},
	}
	create.Flags().StringVar(&identity, "identity", "", "SPIFFE ID that the token is for (required)")
	create.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it may be used, at most 24h")
	_ = create.MarkFlagRequired("identity")
	a.adminFlag(create, &socket)
	cmd.AddCommand(create)
	return cmd
}
