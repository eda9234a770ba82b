// Command ca-upstream holds what stands above a Kedge server: a root or keys in an
// HSM, a TPM, a cloud's key service or a certificate authority of smallstep's. It
// serves them on a Unix socket to the users it is told of. This package holds
// wiring and flags only.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	stdout, stderr io.Writer
	now            func() time.Time
	getenv         func(string) string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	a := &app{stdout: os.Stdout, stderr: os.Stderr, now: time.Now, getenv: os.Getenv}
	code := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := &cobra.Command{
		Use: "ca-upstream", Short: "Hold a root or keys for a Kedge server, in a process of their own",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.AddCommand(newServeCommand(a), newRootCommand(a), newFIPSCommand(a))
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(a.stderr, "ca-upstream: %v\n", err)
	var refused *fips.StartError
	if errors.As(err, &refused) {
		return fips.ExitCode
	}
	return 1
}

// startModule proves the cryptographic module. Nothing that holds a key or opens a
// socket runs before it.
func (a *app) startModule(profile string) (*fips.Module, fips.Policy, error) {
	policy, err := fips.PolicyByName(profile)
	if err != nil {
		return nil, policy, err
	}
	module, err := fips.Start(fips.StartOptions{Policy: policy, Now: a.now(), Getenv: a.getenv})
	return module, policy, err
}

// harden keeps key material and PINs out of core dumps and away from other
// processes of the same user.
func harden() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("switching core dumps off: %w", err)
	}
	const prSetDumpable = 4 // prctl(2)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0); errno != 0 {
		return fmt.Errorf("making the process undumpable: %w", errno)
	}
	return nil
}
