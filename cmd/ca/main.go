// Command ca is the Kedge server and the operator's command line. This package
// holds wiring and flags only: what the programs decide stands in package ca,
// what they speak in package api.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/fips"
	_ "github.com/kedge-ca/kedge/fips/enforced" // a build without a validated module does not compile
)

// app is what every command shares: the edges of the process.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	now    func() time.Time
	getenv func(string) string
	output string // table, json or yaml
	color  bool
	// terminal is standard output where a view can be drawn.
	terminal bool
	level    slog.LevelVar // of the server's log; a reload changes it
}

// Exit codes, stable for scripts. A command that judges (check, verify) uses
// exitWarn and exitFail for its verdict.
const (
	exitOK   = 0
	exitFail = 1
	exitWarn = 2
)

// exitError ends the program with a code; an empty message prints nothing more.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, now: time.Now, getenv: os.Getenv,
		color:    isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
		terminal: isTerminal(os.Stdout) && os.Getenv("TERM") != "dumb",
	}, os.Args[1:])
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, a *app, args []string) int {
	root := newRootCommand(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.err != nil {
			a.printError(exit.err)
		}
		return exit.code
	}
	a.printError(err)
	var start *fips.StartError
	if errors.As(err, &start) {
		return fips.ExitCode
	}
	return exitFail
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "ca",
		Short: "Kedge, a FIPS certificate authority for service meshes",
		Long: `Kedge issues short-lived workload certificates to the proxies of service meshes.

Try it:      ca dev --dir ./kedge-dev
Set it up:   ca init --data-dir /var/lib/kedge --trust-domain example.org
Run it:      ca serve --config /etc/kedge/ca.yaml`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "table", "output format: table, json or yaml")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.checkOutput() }
	root.AddCommand(
		newInitCommand(a), newDevCommand(a), newServeCommand(a), newConfigCommand(a), newIntermediateCommand(a), newRepairCommand(a),
		newZonesCommand(a), newRotateCommand(a), newHaltCommand(a), newResumeCommand(a),
		newIssueCommand(a), newRenewCommand(a), newInspectCommand(a), newVerifyCommand(a),
		newAuditCommand(a), newBundleCommand(a), newCheckCommand(a), newFIPSCommand(a), newTokenCommand(a), newVaultCommand(a), newStoreCommand(a), newVersionCommand(a),
	)
	return root
}
