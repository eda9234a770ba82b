package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

func newIntermediateCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "intermediate",
		Short: "The certificate that signs workload certificates",
		Args:  cobra.NoArgs,
	}
	var socket string
	renew := &cobra.Command{
		Use:   "renew",
		Short: "Have the root sign a new intermediate now",
		Long: `Asks the running server, over its local socket, to renew its intermediate before
half of its life is over: after a change at the root, to see that the next renewal
will work. The old key goes when its last leaf has died. No proxy notices.`,
		Example: "  ca intermediate renew",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(cmd.Context(), socket, func(ctx context.Context, c kedgev1.AdminClient) error {
				response, err := c.RenewIntermediate(ctx, &kedgev1.RenewIntermediateRequest{})
				if err != nil {
					return err
				}
				return a.printIntermediate(response.GetIntermediate())
			})
		},
	}
	a.adminFlag(renew, &socket)
	cmd.AddCommand(renew)
	return cmd
}

func (a *app) printIntermediate(i *kedgev1.Intermediate) error {
	out := struct {
		KeyID    string    `json:"keyID"`
		NotAfter time.Time `json:"notAfter"`
	}{i.GetKeyId(), i.GetNotAfter().AsTime()}
	return a.print("Intermediate", out, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "new intermediate %.16s, ends %s\n", out.KeyID, out.NotAfter.Format(time.RFC3339))
	})
}
