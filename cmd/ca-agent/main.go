// Command ca-agent serves workloads of one machine their certificates on a Unix
// socket. This package holds wiring and flags only: who gets what is decided in
// package agent, what is spoken in api/workload.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/fips"
	_ "github.com/kedge-ca/kedge/fips/enforced" // a build without a validated module does not compile
)

// app is the edges of the process.
type app struct {
	stdout, stderr io.Writer
	now            func() time.Time
	getenv         func(string) string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, &app{stdout: os.Stdout, stderr: os.Stderr, now: time.Now, getenv: os.Getenv}, os.Args[1:])
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, a *app, args []string) int {
	root := newRootCommand(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(a.stderr, "error: %v\n", err)
	var start *fips.StartError
	if errors.As(err, &start) {
		return fips.ExitCode
	}
	return 1
}

func newRootCommand(a *app) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "ca-agent",
		Short: "Serve the workloads of this machine their certificates",
		Long: `Makes a key for each workload of the configuration, gets a certificate for it from
the server, keeps it fresh, and hands it to the processes that are the workload, by
the SPIFFE Workload API on a Unix socket. Keys are in memory only. The log is JSON on
standard error; SIGTERM ends it.`,
		Example:      "  ca-agent --config /etc/kedge/agent.yaml",
		Args:         cobra.NoArgs,
		Version:      buildVersion() + fips.VersionSuffix(),
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), cfg)
		},
	}
	cmd.SetOut(a.stdout)
	cmd.SetErr(a.stderr)
	cmd.Flags().StringVar(&path, "config", "/etc/kedge/agent.yaml", "configuration file")
	return cmd
}

func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// levels are the names of what is logged.
var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
