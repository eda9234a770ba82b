package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/kedge-ca/kedge/api/admin"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

// adminEnv names the socket for a whole shell session.
const adminEnv = "KEDGE_ADMIN_SOCKET"

// adminFlag gives cmd the flag --admin-socket.
func (a *app) adminFlag(cmd *cobra.Command, socket *string) {
	cmd.Flags().StringVar(socket, "admin-socket", "", "the server's local socket (default $"+adminEnv+", ./kedge-dev/admin.sock or /var/lib/kedge/admin.sock)")
}

// adminSocket finds the socket.
func (a *app) adminSocket(flag string) (string, error) {
	if flag == "" {
		flag = a.getenv(adminEnv)
	}
	if flag != "" {
		return flag, nil
	}
	for _, path := range []string{"kedge-dev/admin.sock", "/run/kedge/admin.sock", "/var/lib/kedge/admin.sock"} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no server's socket was found here; give --admin-socket, or set %s", adminEnv)
}

// withAdmin calls do with a client of the server's local socket.
func (a *app) withAdmin(ctx context.Context, socket string, do func(context.Context, kedgev1.AdminClient) error) error {
	path, err := a.adminSocket(socket)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("admin socket: %w; is the server running?", err)
	}
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(admin.Credentials()))
	if err != nil {
		return fmt.Errorf("admin socket %s: %w", path, err)
	}
	defer conn.Close()
	return do(ctx, kedgev1.NewAdminClient(conn))
}
