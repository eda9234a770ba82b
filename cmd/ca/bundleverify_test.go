package main

import (
	"bytes"
	"crypto"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/rotation/bundle"
)

// makeChain is n signed bundles of one history.
func makeChain(t *testing.T, n int) []bundle.Signed {
	t.Helper()
	c, key := catest.New(t), catest.GenerateKey(t, fips.ECDSAP256)
	keys := bundle.Keys{Public: []crypto.PublicKey{key.Public()}, Threshold: 1}
	var chain []bundle.Signed
	var at *bundle.Accepted
	for sequence := range uint64(n) {
		b, err := ca.NewBundle(c.Domain, sequence+1, c.Bundle.Anchors())
		require.NoError(t, err)
		signed, err := bundle.Make(at, b, keys, catest.Start, key)
		require.NoError(t, err)
		if at == nil {
			at, err = bundle.Begin(signed, signed.Hash())
		} else {
			at, err = at.Next(signed)
		}
		require.NoError(t, err)
		chain = append(chain, signed)
	}
	return chain
}

func TestAChainOfBundlesIsVerified(t *testing.T) {
	chain, other := makeChain(t, 4), makeChain(t, 2)
	dir := t.TempDir()
	write := func(name string, values ...any) string {
		var text bytes.Buffer
		for _, v := range values {
			require.NoError(t, json.NewEncoder(&text).Encode(v))
		}
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, text.Bytes(), 0o600))
		return path
	}
	whole, stream := write("whole", chain), write("stream", chain[0], chain[1], chain[2:])
	first, rest := write("first", chain[0]), write("rest", chain[1:])
	forged := chain[1]
	forged.Payload = bytes.Replace(forged.Payload, []byte(`"threshold":1`), []byte(`"threshold":2`), 1)
	unsigned := bundle.Signed{Payload: chain[1].Payload}
	rows := []struct {
		name   string
		path   string
		flags  verifyBundleFlags
		want   string // in the output
		reason ca.Reason
	}{
		{"a chain that is taken as it is", whole, verifyBundleFlags{}, "The first bundle was taken as it is", ""},
		{"one after another", stream, verifyBundleFlags{}, chain[3].Hash().String(), ""},
		{"by its hash", whole, verifyBundleFlags{pin: chain[0].Hash().String()}, chain[3].Hash().String(), ""},
		{"after what is held", rest, verifyBundleFlags{previous: first}, chain[3].Hash().String(), ""},
		{"with what is held already", whole, verifyBundleFlags{previous: first}, chain[3].Hash().String(), ""},

		{"of another hash", whole, verifyBundleFlags{pin: chain[1].Hash().String()}, "", ca.ReasonBundleForked},
		{"of another history", write("other", other[1]), verifyBundleFlags{previous: first}, "", ca.ReasonBundleForked},
		{"with a gap", write("gap", chain[2:]), verifyBundleFlags{previous: first}, "", ca.ReasonBundleGap},
		{"rolled back", first, verifyBundleFlags{previous: whole}, "", ca.ReasonBundleReplayed},
		{"forged", write("forged", chain[0], forged), verifyBundleFlags{}, "", ca.ReasonBundleMalformed},
		{"not signed", write("unsigned", chain[0], unsigned), verifyBundleFlags{}, "", ca.ReasonBundleSignature},
		{"empty", write("empty"), verifyBundleFlags{}, "", ca.ReasonBundleMalformed},
		{"another document", write("another", map[string]int{"keys": 1}), verifyBundleFlags{}, "", ca.ReasonBundleMalformed},
		{"null", write("null", nil), verifyBundleFlags{}, "", ca.ReasonBundleMalformed},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			a := at(time.Now())
			err := a.verifyBundles(row.path, row.flags)
			if row.reason == "" {
				require.NoError(t, err)
				require.Contains(t, a.stdout.(*bytes.Buffer).String(), row.want)
				return
			}
			require.Equal(t, row.reason, ca.ReasonOf(err), "%v", err)
		})
	}
	a := at(time.Now())
	require.ErrorContains(t, a.verifyBundles(whole, verifyBundleFlags{pin: strings.Repeat("F", 64)}), "64 lower-case hex digits")
	require.ErrorIs(t, a.verifyBundles(filepath.Join(dir, "none"), verifyBundleFlags{}), os.ErrNotExist)
}
