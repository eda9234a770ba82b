package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/simulate"
)

func newRotateSimulateCommand(a *app) *cobra.Command {
	var file string
	var seed uint64
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run a rotation of a made-up installation in virtual time",
		Long: `Runs the rotation of a scenario in virtual time, by the code that runs real ones,
and prints how long each phase takes, when verifiers and leaves have followed, what
that costs in certificates a second, and what blocked. It needs no server and changes
nothing. The same seed gives the same result.

Exit codes: 0 the rotation came to its end, 2 it did not within the scenario's limit,
4 handshakes would have failed. docs/rotation-simulator.md describes scenarios.`,
		Example: `  ca rotate simulate -f deploy/simulate/thousand-zones.yaml
  ca rotate simulate -f deploy/simulate/dead-zone.yaml -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := loadScenario(file)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("seed") {
				s.Seed = seed
			}
			if s.Seed == 0 {
				if s.Seed, err = drawSeed(); err != nil {
					return err
				}
			}
			r, err := simulate.Run(cmd.Context(), s)
			if err != nil {
				return err
			}
			if err := a.print("RotationSimulation", r, func(w *tabwriter.Writer) { tableOfSimulation(w, r) }); err != nil {
				return err
			}
			return verdictOfSimulation(r)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "scenario to run (required)")
	cmd.Flags().Uint64Var(&seed, "seed", 0, "seed of the dice (default: the scenario's, else drawn and printed)")
	if err := cmd.MarkFlagRequired("file"); err != nil {
		panic(err) // the flag stands just above
	}
	return cmd
}

// loadScenario reads a scenario as strictly as a configuration is read.
func loadScenario(path string) (simulate.Scenario, error) {
	f, err := os.Open(path)
	if err != nil {
		return simulate.Scenario{}, fmt.Errorf("opening scenario: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxConfigSize+1))
	if err != nil {
		return simulate.Scenario{}, fmt.Errorf("reading scenario: %w", err)
	}
	if len(raw) > maxConfigSize {
		return simulate.Scenario{}, fmt.Errorf("%s: larger than %d bytes", path, maxConfigSize)
	}
	s := simulate.Default()
	decoder := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict())
	if err := decoder.Decode(&s); err != nil && !errors.Is(err, io.EOF) {
		return simulate.Scenario{}, yamlError(path, err)
	}
	if err := decoder.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return simulate.Scenario{}, fmt.Errorf("%s: more than one document", path)
	}
	if err := refuseEmpty(path, raw); err != nil {
		return simulate.Scenario{}, err
	}
	if err := s.Check(); err != nil {
		return simulate.Scenario{}, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func drawSeed() (uint64, error) {
	var b [8]byte
	if err := fips.Random(b[:]); err != nil {
		return 0, fmt.Errorf("drawing a seed: %w", err)
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

func tableOfSimulation(w *tabwriter.Writer, r simulate.Result) {
	s := r.Scenario
	fmt.Fprintf(w, "%d zones of %d replicas, %d consumers each, seed %d\n", s.Zones, s.Replicas, s.Consumers, s.Seed)
	fmt.Fprintf(w, "%s after %s\n\n", r.Ended, r.Took)
	fmt.Fprintln(w, "PHASE\tBEGAN\tTOOK")
	for _, p := range r.Phases {
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Phase, p.Began, p.Took)
	}
	fmt.Fprintln(w, "\nFOLLOWED\t50 %\t99 %\t100 %")
	fmt.Fprintf(w, "verifiers have the bundle\t%s\t%s\t%s\n", r.Bundle.P50, r.Bundle.P99, r.Bundle.P100)
	fmt.Fprintf(w, "leaves are under the new anchor\t%s\t%s\t%s\n", r.Leaves.P50, r.Leaves.P99, r.Leaves.P100)
	fmt.Fprintf(w, "\ncertificates a second\tmean %.1f\tpeak %.1f at %s", r.Rate.Mean, r.Rate.Peak, r.Rate.PeakAt)
	if r.Rate.Unspread > 0 {
		fmt.Fprintf(w, "\twithout spreading %.1f", r.Rate.Unspread)
	}
	fmt.Fprintf(w, "\nverifiers that lack an anchor\t%d at most at one time\n", r.Broken)
	fmt.Fprintf(w, "leaves that are refused\t%d at most at one time\n", r.Stranded)
	if len(r.Blockers) > 0 {
		fmt.Fprintln(w, "\nPHASE\tBLOCKED BY\tFROM\tUNTIL\tZONES\tFIRST")
	}
	for _, h := range r.Blockers {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", h.Phase, h.Code, h.First, h.Last, h.Zones, h.Example)
	}
}

func verdictOfSimulation(r simulate.Result) error {
	switch {
	case r.Broken > 0 || r.Stranded > 0:
		return &exitError{code: exitUnsafe}
	case r.Ended != rotation.Done && r.Ended != rotation.Aborted:
		return &exitError{code: exitBlocked}
	}
	return nil
}
