package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/api/admin"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

// adminEnv names the socket for a whole shell session.
const adminEnv = "KEDGE_ADMIN_SOCKET"

// adminFlag gives cmd the flag --admin-socket.
func (a *app) adminFlag(cmd *cobra.Command, socket *string) {
	cmd.Flags().StringVar(socket, "admin-socket", "", adminUsage())
}

func adminUsage() string {
	return "the server's local socket (default $" + adminEnv + ", or the first there is of " + strings.Join(adminSockets, ", ") + ")"
}

// adminSockets are where ca dev and ca serve put it.
var adminSockets = []string{"./kedge-dev/admin.sock", "/run/kedge/admin.sock", "/var/lib/kedge/admin.sock"}

// adminSocket finds the socket.
func (a *app) adminSocket(flag string) (string, error) {
	if flag == "" {
		flag = a.getenv(adminEnv)
	}
	if flag != "" {
		return flag, nil
	}
	for _, path := range adminSockets {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", &stepError{"server_unreachable", startIt, errors.New("no server's socket is here")}
}

// withAdmin calls do with a client of the server's local socket.
func (a *app) withAdmin(ctx context.Context, socket string, do func(context.Context, kedgev1.AdminClient) error) error {
	return a.withSocket(ctx, socket, func(ctx context.Context, conn *grpc.ClientConn) error {
		return do(ctx, kedgev1.NewAdminClient(conn))
	})
}

// withSocket calls do with a connection to the server's local socket.
func (a *app) withSocket(ctx context.Context, socket string, do func(context.Context, *grpc.ClientConn) error) error {
	path, err := a.adminSocket(socket)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(admin.Credentials()), grpc.WithNoProxy())
	if err != nil {
		return fmt.Errorf("admin socket %s: %w", path, err)
	}
	defer conn.Close()
	err = do(ctx, conn)
	if st := status.Convert(err); st.Code() == codes.Unavailable && len(st.Details()) == 0 {
		return &stepError{"server_unreachable", startIt, fmt.Errorf("no server answers at the admin socket %s: %s", path, st.Message())}
	}
	return err
}

// startIt is the next step where no server answers.
const startIt = "start it with ca serve, or give --admin-socket, or set " + adminEnv
