package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation/bundle"
)

// verifyBundleFlags are the flags of ca bundle verify.
type verifyBundleFlags struct {
	previous, pin string
}

func newBundleVerifyCommand(a *app) *cobra.Command {
	var f verifyBundleFlags
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Verify a chain of signed trust bundles",
		Long: `Reads signed bundles, oldest first, as JSON: an array, or one after another. Each
must be signed by the bundle keys that the one before it names, carry its hash and
follow it by one. The first is held to the last bundle of --previous, or to the hash
of --pin. Without either it is taken as it is: compare the hash that is printed
with one that came by another way.`,
		Example: `  ca bundle verify chain.json --pin 7d1f…
  ca bundle verify new.json --previous held.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.startModule(defaultConfig()); err != nil {
				return err
			}
			return a.verifyBundles(args[0], f)
		},
	}
	cmd.Flags().StringVar(&f.previous, "previous", "", "file with the bundle that is held, or its chain")
	cmd.Flags().StringVar(&f.pin, "pin", "", "SHA-256 in hex of the first bundle")
	cmd.MarkFlagsMutuallyExclusive("previous", "pin")
	return cmd
}

// maxBundleFile bounds what is read of a chain.
const maxBundleFile = 64 << 20

// verifiedBundle is one bundle as it is printed.
type verifiedBundle struct {
	Sequence uint64    `json:"sequence"`
	Hash     string    `json:"hash"`
	IssuedAt time.Time `json:"issuedAt"`
	Anchors  []string  `json:"anchors"` // slot and id
	Keys     int       `json:"keys"`    // bundle keys that sign the next
	Needed   int       `json:"needed"`  // of them
}

func (a *app) verifyBundles(path string, f verifyBundleFlags) error {
	chain, err := readBundles(path)
	if err != nil {
		return err
	}
	at, rest, err := f.begin(chain)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	out := struct {
		TrustDomain string           `json:"trustDomain"`
		Pinned      bool             `json:"pinned"`
		Bundles     []verifiedBundle `json:"bundles"`
	}{TrustDomain: at.Bundle().TrustDomain().String(), Pinned: f != verifyBundleFlags{}, Bundles: []verifiedBundle{describeAccepted(at)}}
	for i, signed := range rest {
		next, err := at.Next(signed)
		if ca.ReasonOf(err) == ca.ReasonBundleReplayed && len(out.Bundles) == 1 && i+1 < len(rest) {
			continue // what is held already, before what follows it
		}
		if err != nil {
			return fmt.Errorf("%s: after bundle %d: %w", path, at.Bundle().Sequence(), err)
		}
		if next != at {
			at = next
			out.Bundles = append(out.Bundles, describeAccepted(at))
		}
	}
	return a.print("VerifiedBundles", out, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "SEQUENCE\tHASH\tISSUED\tANCHORS\tKEYS\n")
		for _, b := range out.Bundles {
			fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d of %d\n", b.Sequence, b.Hash, b.IssuedAt.Format(time.RFC3339), len(b.Anchors), b.Needed, b.Keys)
		}
		if !out.Pinned {
			fmt.Fprintf(w, "\nThe first bundle was taken as it is; compare its hash, or give --pin.\n")
		}
	})
}

// begin is the bundle that the rest of a chain must follow, and that rest.
func (f verifyBundleFlags) begin(chain []bundle.Signed) (*bundle.Accepted, []bundle.Signed, error) {
	if f.previous != "" {
		held, err := readBundles(f.previous)
		if err != nil {
			return nil, nil, err
		}
		first, err := bundle.Begin(held[0], held[0].Hash())
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", f.previous, err)
		}
		last, err := first.Replay(held[1:])
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", f.previous, err)
		}
		return last, chain, nil
	}
	pin := chain[0].Hash()
	if f.pin != "" {
		id, err := ca.ParseAnchorID(f.pin) // the same form
		if err != nil {
			return nil, nil, fmt.Errorf("--pin %q is not a hash: 64 lower-case hex digits", f.pin)
		}
		pin = bundle.Hash(id)
	}
	first, err := bundle.Begin(chain[0], pin)
	return first, chain[1:], err
}

func describeAccepted(at *bundle.Accepted) verifiedBundle {
	v := verifiedBundle{
		Sequence: at.Bundle().Sequence(), Hash: at.Hash().String(), IssuedAt: at.IssuedAt().UTC(),
		Keys: len(at.Keys().Public), Needed: at.Keys().Threshold,
	}
	for _, anchor := range at.Bundle().Anchors() {
		v.Anchors = append(v.Anchors, string(anchor.Slot)+" "+ca.AnchorIDOf(anchor.Certificate).String())
	}
	return v
}

// readBundles reads signed bundles: arrays of them, single ones, in any number.
func readBundles(path string) ([]bundle.Signed, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxBundleFile+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxBundleFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxBundleFile)
	}
	var chain []bundle.Signed
	for d := json.NewDecoder(bytes.NewReader(raw)); ; {
		var value json.RawMessage
		err := d.Decode(&value)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			var some []bundle.Signed
			some, err = decodeBundles(value)
			chain = append(chain, some...)
		}
		if err != nil {
			return nil, &ca.Error{Reason: ca.ReasonBundleMalformed, Err: fmt.Errorf("%s: %w", path, err)}
		}
	}
	if len(chain) == 0 {
		return nil, ca.Refuse(ca.ReasonBundleMalformed, "%s holds no signed bundle", path)
	}
	return chain, nil
}

func decodeBundles(value json.RawMessage) ([]bundle.Signed, error) {
	d := json.NewDecoder(bytes.NewReader(value))
	d.DisallowUnknownFields()
	if value[0] == '[' {
		var some []bundle.Signed
		err := d.Decode(&some)
		return some, err
	}
	var one bundle.Signed
	err := d.Decode(&one)
	return []bundle.Signed{one}, err
}
