package bundle_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
	"github.com/kedge-ca/kedge/rotation/bundle"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

var issued = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// world is a primary: anchors, and bundle keys of which two must sign.
type world struct {
	t       testing.TB
	domain  ca.TrustDomain
	anchors []ca.Anchor
	signers []crypto.Signer
	keys    bundle.Keys
	first   bundle.Signed
	held    *bundle.Accepted
}

func newWorld(t testing.TB) *world {
	t.Helper()
	c := catest.New(t)
	w := &world{t: t, domain: c.Domain, anchors: c.Bundle.Anchors()}
	w.signers, w.keys = newKeys(t, 3, 2)
	var err error
	w.first, err = bundle.Make(nil, w.bundle(1), w.keys, issued, w.signers[:2]...)
	require.NoError(t, err)
	w.held, err = bundle.Begin(w.first, sha256.Sum256(w.first.Payload))
	require.NoError(t, err)
	return w
}

func newKeys(t testing.TB, n, threshold int) ([]crypto.Signer, bundle.Keys) {
	t.Helper()
	keys := bundle.Keys{Threshold: threshold}
	var signers []crypto.Signer
	for range n {
		s := catest.GenerateKey(t, fips.ECDSAP256)
		signers, keys.Public = append(signers, s), append(keys.Public, s.Public())
	}
	return signers, keys
}

func (w *world) bundle(sequence uint64) *ca.Bundle {
	w.t.Helper()
	b, err := ca.NewBundle(w.domain, sequence, w.anchors)
	require.NoError(w.t, err)
	return b
}

// after makes the bundle that follows a, by the keys of the world.
func (w *world) after(a *bundle.Accepted) bundle.Signed {
	w.t.Helper()
	s, err := bundle.Make(a, w.bundle(a.Bundle().Sequence()+1), w.keys, issued, w.signers[:2]...)
	require.NoError(w.t, err)
	return s
}

// chain is n bundles after the first.
func (w *world) chain(n int) []bundle.Signed {
	w.t.Helper()
	all, at := []bundle.Signed(nil), w.held
	for range n {
		s := w.after(at)
		next, err := at.Next(s)
		require.NoError(w.t, err)
		all, at = append(all, s), next
	}
	return all
}

func TestZoneThatSleptCatchesUpByItself(t *testing.T) {
	w := newWorld(t)
	chain := w.chain(3)
	at, err := w.held.Replay(append([]bundle.Signed{w.first}, chain...))
	require.NoError(t, err)
	require.EqualValues(t, 4, at.Bundle().Sequence())
	require.Equal(t, bundle.Hash(sha256.Sum256(chain[2].Payload)), at.Hash())
	require.Equal(t, w.bundle(4).PEM(), at.Bundle().PEM())
	again, err := at.Next(chain[2])
	require.NoError(t, err)
	require.Same(t, at, again, "the same bundle again changes nothing")

	half, err := w.held.Replay([]bundle.Signed{chain[0], chain[2]})
	require.Equal(t, ca.ReasonBundleGap, ca.ReasonOf(err))
	require.EqualValues(t, 2, half.Bundle().Sequence(), "what was accepted before it is kept")
	whole, err := half.Replay(chain)
	require.NoError(t, err)
	require.Equal(t, at.Hash(), whole.Hash())
}

func TestBundleIsRefused(t *testing.T) {
	other := newWorld(t) // another history, with keys of its own
	rows := []struct {
		name   string
		make   func(w *world) bundle.Signed
		reason ca.Reason
	}{
		{"late", func(w *world) bundle.Signed { return w.first }, ca.ReasonBundleReplayed},
		{"early", func(w *world) bundle.Signed { return w.chain(3)[2] }, ca.ReasonBundleGap},
		{"of another history", func(*world) bundle.Signed { return other.chain(2)[1] }, ca.ReasonBundleForked},
		{"another of the same sequence", func(w *world) bundle.Signed {
			s, err := bundle.Make(w.held, w.bundle(2), w.keys, issued.Add(time.Hour), w.signers[:2]...)
			require.NoError(w.t, err)
			return s
		}, ca.ReasonBundleForked},
		{"signed by too few", func(w *world) bundle.Signed {
			s := w.chain(2)[1]
			s.Signatures = s.Signatures[:1]
			return s
		}, ca.ReasonBundleSignature},
		{"signed twice by one", func(w *world) bundle.Signed {
			s := w.chain(2)[1]
			s.Signatures = []bundle.Signature{s.Signatures[0], s.Signatures[0]}
			return s
		}, ca.ReasonBundleSignature},
		{"signed by others", func(w *world) bundle.Signed {
			s := w.chain(2)[1]
			for i := range s.Signatures {
				s.Signatures[i].Key = strings.Repeat("0", 64)
			}
			return s
		}, ca.ReasonBundleSignature},
		{"not signed", func(w *world) bundle.Signed {
			s := w.chain(2)[1]
			s.Signatures = nil
			return s
		}, ca.ReasonBundleSignature},
		{"changed after it was signed", func(w *world) bundle.Signed {
			return edit(w.chain(2)[1], `"threshold":2`, `"threshold":1`)
		}, ca.ReasonBundleSignature},
		{"truncated", func(w *world) bundle.Signed {
			s := w.chain(2)[1]
			s.Payload = s.Payload[:len(s.Payload)/2]
			return s
		}, ca.ReasonBundleMalformed},
		{"with bytes after it", func(w *world) bundle.Signed { return edit(w.chain(2)[1], `"threshold":2}`, `"threshold":2} `) }, ca.ReasonBundleMalformed},
		{"encoded in another way", func(w *world) bundle.Signed { return edit(w.chain(2)[1], `{"version":1`, `{ "version":1`) }, ca.ReasonBundleMalformed},
		{"with an unknown field", func(w *world) bundle.Signed { return edit(w.chain(2)[1], `{"version":1`, `{"more":1,"version":1`) }, ca.ReasonBundleMalformed},
		{"of a newer version", func(w *world) bundle.Signed { return edit(w.chain(2)[1], `"version":1`, `"version":2`) }, ca.ReasonBundleMalformed},
		{"that nobody can follow", func(w *world) bundle.Signed { return edit(w.chain(2)[1], `"threshold":2`, `"threshold":4`) }, ca.ReasonBundleMalformed},
		{"without an anchor", func(w *world) bundle.Signed { return without(w.chain(2)[1], "anchors") }, ca.ReasonBundleMalformed},
		{"without a key", func(w *world) bundle.Signed { return without(w.chain(2)[1], "keys") }, ca.ReasonBundleMalformed},
		{"with anchors in another order", func(w *world) bundle.Signed { return reversed(w.chain(2)[1], "anchors") }, ca.ReasonBundleMalformed},
		{"with keys in another order", func(w *world) bundle.Signed { return reversed(w.chain(2)[1], "keys") }, ca.ReasonBundleMalformed},
		{"of another trust domain", func(w *world) bundle.Signed { return edit(w.chain(2)[1], `"cluster.local"`, `"other.example"`) }, ca.ReasonBundleForeign},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			// Signatures differ from call to call, payloads and their hashes do not.
			second, err := w.held.Next(w.after(w.held))
			require.NoError(t, err)
			got, err := second.Next(row.make(w))
			require.Equal(t, row.reason, ca.ReasonOf(err), "%v", err)
			require.Nil(t, got)
		})
	}
}

// edit changes the text of a payload and leaves its signatures.
func edit(s bundle.Signed, old, text string) bundle.Signed {
	if !bytes.Contains(s.Payload, []byte(old)) {
		panic("the payload has no " + old)
	}
	s.Payload = bytes.Replace(s.Payload, []byte(old), []byte(text), 1)
	return s
}

func without(s bundle.Signed, list string) bundle.Signed {
	return rewrite(s, list, func([]json.RawMessage) []json.RawMessage { return []json.RawMessage{} })
}

func reversed(s bundle.Signed, list string) bundle.Signed {
	return rewrite(s, list, func(items []json.RawMessage) []json.RawMessage {
		slices.Reverse(items)
		return items
	})
}

// rewrite replaces a list of a payload and keeps the encoding canonical.
func rewrite(s bundle.Signed, list string, change func([]json.RawMessage) []json.RawMessage) bundle.Signed {
	begin := bytes.Index(s.Payload, []byte(`"`+list+`":[`)) + len(list) + 3
	end := begin + bytes.IndexByte(s.Payload[begin:], ']') + 1
	var items []json.RawMessage
	if err := json.Unmarshal(s.Payload[begin:end], &items); err != nil {
		panic(err)
	}
	changed, err := json.Marshal(change(items))
	if err != nil {
		panic(err)
	}
	s.Payload = slices.Concat(s.Payload[:begin], changed, s.Payload[end:])
	return s
}

// TestKeysChangeOnlyWithBoth: the old keys let the new ones in, and the new ones prove
// that somebody has them.
func TestKeysChangeOnlyWithBoth(t *testing.T) {
	w := newWorld(t)
	signers, keys := newKeys(t, 1, 1)
	for name, by := range map[string][]crypto.Signer{"the old ones alone": w.signers[:2], "the new one alone": signers, "too few of the old": append(signers, w.signers[0])} {
		_, err := bundle.Make(w.held, w.bundle(2), keys, issued, by...)
		require.Equal(t, ca.ReasonBundleSignature, ca.ReasonOf(err), name)
	}
	changed, err := bundle.Make(w.held, w.bundle(2), keys, issued, append(signers, w.signers[:2]...)...)
	require.NoError(t, err)
	second, err := w.held.Next(changed)
	require.NoError(t, err)
	third, err := bundle.Make(second, w.bundle(3), keys, issued, signers...)
	require.NoError(t, err)
	_, err = second.Next(third)
	require.NoError(t, err)
	_, err = bundle.Make(second, w.bundle(3), keys, issued, w.signers...)
	require.Equal(t, ca.ReasonBundleSignature, ca.ReasonOf(err), "the old keys are over")
}

func TestFirstBundleIsPinned(t *testing.T) {
	w := newWorld(t)
	_, err := bundle.Begin(w.first, bundle.Hash{})
	require.Equal(t, ca.ReasonBundleForked, ca.ReasonOf(err))
	unsigned := w.first
	unsigned.Signatures = nil
	_, err = bundle.Begin(unsigned, sha256.Sum256(unsigned.Payload))
	require.Equal(t, ca.ReasonBundleSignature, ca.ReasonOf(err))
}

func TestKeysThatCannotBeMetAreRefused(t *testing.T) {
	w := newWorld(t)
	signers, keys := newKeys(t, 2, 1)
	for name, bad := range map[string]bundle.Keys{
		"none":               {Threshold: 1},
		"threshold 0":        {Public: keys.Public},
		"more than there":    {Public: keys.Public, Threshold: 3},
		"one twice":          {Public: []crypto.PublicKey{keys.Public[0], keys.Public[0]}, Threshold: 2},
		"one that is no key": {Public: []crypto.PublicKey{"key"}, Threshold: 1},
	} {
		_, err := bundle.Make(w.held, w.bundle(2), bad, issued, append(signers, w.signers...)...)
		require.Error(t, err, name)
	}
}

// FuzzNext: whatever is accepted follows what is held, and is the one encoding of
// itself.
func FuzzNext(f *testing.F) {
	w := newWorld(f)
	chain := w.chain(2)
	for _, s := range append(chain, w.first) {
		f.Add(s.Payload, s.Signatures[0].Key, s.Signatures[0].Value, s.Signatures[1].Key, s.Signatures[1].Value)
	}
	f.Fuzz(func(t *testing.T, raw []byte, key1 string, value1 []byte, key2 string, value2 []byte) {
		s := bundle.Signed{Payload: raw, Signatures: []bundle.Signature{{Key: key1, Value: value1}, {Key: key2, Value: value2}}}
		next, err := w.held.Next(s)
		if err != nil {
			require.NotEqual(t, ca.ReasonInternal, ca.ReasonOf(err), "%v", err)
			return
		}
		require.Contains(t, []string{base64.StdEncoding.EncodeToString(w.first.Payload), base64.StdEncoding.EncodeToString(chain[0].Payload)}, base64.StdEncoding.EncodeToString(raw), "a bundle that nobody made")
		require.LessOrEqual(t, next.Bundle().Sequence(), uint64(2))
	})
}
