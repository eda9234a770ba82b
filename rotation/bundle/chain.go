package bundle

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// Signed is a bundle on its way: a payload and the signatures over it.
type Signed struct {
	Payload    []byte      `json:"payload"`
	Signatures []Signature `json:"signatures"`
}

// Hash names s, whether or not it holds.
func (s Signed) Hash() Hash { return sha256.Sum256(s.Payload) }

// Signature is one key's.
type Signature struct {
	Key   string `json:"key"` // KeyID in hex
	Value []byte `json:"value"`
}

// Accepted is a bundle whose history was checked. Only Begin, Next and Replay make
// one.
type Accepted struct {
	bundle   *ca.Bundle
	hash     Hash
	previous string // hash in hex of the one before
	keys     Keys
	issuedAt time.Time
}

// Bundle is what was accepted.
func (a *Accepted) Bundle() *ca.Bundle { return a.bundle }

// Hash names it, and is what a zone reports.
func (a *Accepted) Hash() Hash { return a.hash }

// Keys sign the bundle that follows.
func (a *Accepted) Keys() Keys { return a.keys }

// IssuedAt is when it was made, by the clock of who made it.
func (a *Accepted) IssuedAt() time.Time { return a.issuedAt }

// signedText is what a signature is over: nothing else that a bundle key might sign
// can be taken for it.
func signedText(payload []byte) []byte { return append([]byte("kedge bundle 1\n"), payload...) }

// Make makes the bundle that follows previous, nil for the first, and signs it. The
// signers are keys of previous and, where keys changes, of keys.
func Make(previous *Accepted, next *ca.Bundle, keys Keys, issuedAt time.Time, signers ...crypto.Signer) (Signed, error) {
	spkis, err := keys.canonical()
	if err != nil {
		return Signed{}, fmt.Errorf("making bundle: %w", err)
	}
	p := payload{
		Version: payloadVersion, TrustDomain: next.TrustDomain().String(), Sequence: next.Sequence(),
		Previous: Hash{}.String(), IssuedAt: issuedAt.UTC().Truncate(time.Second), Keys: spkis, Threshold: keys.Threshold,
	}
	if previous != nil {
		p.Previous = previous.hash.String()
	}
	for _, a := range next.Anchors() {
		p.Anchors = append(p.Anchors, payloadAnchor{a.Slot, a.Certificate.Raw})
	}
	s := Signed{}
	if s.Payload, err = p.encode(); err != nil {
		return Signed{}, fmt.Errorf("making bundle: %w", err)
	}
	for _, signer := range signers {
		signature, err := sign(signer, s.Payload)
		if err != nil {
			return Signed{}, fmt.Errorf("signing bundle: %w", err)
		}
		s.Signatures = append(s.Signatures, signature)
	}
	// What nobody would accept is not published.
	if previous == nil {
		_, err = Begin(s, sha256.Sum256(s.Payload))
	} else {
		_, err = previous.Next(s)
	}
	return s, err
}

func sign(signer crypto.Signer, payload []byte) (Signature, error) {
	id, err := KeyIDOf(signer.Public())
	if err != nil {
		return Signature{}, err
	}
	scheme, err := fips.SchemeFor(signer.Public())
	if err != nil {
		return Signature{}, err
	}
	value, err := fips.Sign(signer, scheme, signedText(payload))
	return Signature{id.String(), value}, err
}

// Begin accepts the first bundle that a party holds, by its hash, which came over a
// channel that is trusted: a join token, an operator.
func Begin(s Signed, pinned Hash) (*Accepted, error) {
	if Hash(sha256.Sum256(s.Payload)) != pinned {
		return nil, ca.Refuse(ca.ReasonBundleForked, "the bundle's hash is %x, not the one that was given", sha256.Sum256(s.Payload))
	}
	a, err := read(s)
	if err != nil {
		return nil, err
	}
	return a, a.keys.verify(s)
}

// read decodes s without judging its signatures or its place.
func read(s Signed) (*Accepted, error) {
	p, err := decode(s.Payload)
	if err != nil {
		return nil, &ca.Error{Reason: ca.ReasonBundleMalformed, Err: fmt.Errorf("reading bundle: %w", err)}
	}
	b, err := p.bundle()
	if err != nil {
		return nil, &ca.Error{Reason: ca.ReasonBundleMalformed, Err: fmt.Errorf("reading bundle: %w", err)}
	}
	keys, err := p.keys()
	if err != nil {
		return nil, &ca.Error{Reason: ca.ReasonBundleMalformed, Err: fmt.Errorf("reading bundle: %w", err)}
	}
	return &Accepted{bundle: b, hash: sha256.Sum256(s.Payload), previous: p.Previous, keys: keys, issuedAt: p.IssuedAt}, nil
}

// Next accepts the bundle that follows a, and nothing else. The same bundle again is
// a itself.
func (a *Accepted) Next(s Signed) (*Accepted, error) {
	if Hash(sha256.Sum256(s.Payload)) == a.hash {
		return a, nil
	}
	next, err := read(s)
	if err != nil {
		return nil, err
	}
	held, came := a.bundle.Sequence(), next.bundle.Sequence()
	switch {
	case next.bundle.TrustDomain() != a.bundle.TrustDomain():
		return nil, ca.Refuse(ca.ReasonBundleForeign, "the bundle is of trust domain %s, not %s", next.bundle.TrustDomain(), a.bundle.TrustDomain())
	case came < held:
		return nil, ca.Refuse(ca.ReasonBundleReplayed, "bundle %d is older than bundle %d, which is held", came, held)
	case came > held+1:
		return nil, ca.Refuse(ca.ReasonBundleGap, "bundle %d does not follow bundle %d; ask for those between", came, held)
	case came == held || next.previous != a.hash.String():
		return nil, ca.Refuse(ca.ReasonBundleForked, "bundle %d is of another history than bundle %d, which is held; one of the two was forged, or restored from a backup", came, held)
	}
	if err := a.keys.verify(s); err != nil {
		return nil, err
	}
	// New keys prove that somebody has them: a typing error would end the chain.
	if err := next.keys.verify(s); err != nil {
		return nil, err
	}
	return next, nil
}

// Replay accepts a run of bundles, oldest first, as a zone that slept gets it; those
// that a has already are passed over. It stops at the first that is refused, and
// returns what was accepted before it.
func (a *Accepted) Replay(chain []Signed) (*Accepted, error) {
	at := a
	for _, s := range chain {
		next, err := at.Next(s)
		if ca.ReasonOf(err) == ca.ReasonBundleReplayed && at == a {
			continue
		}
		if err != nil {
			return at, err
		}
		at = next
	}
	return at, nil
}

// SignedBy demands the threshold of signatures by keys, for who judges a bundle that is
// not the next one.
func (s Signed) SignedBy(keys Keys) error { return keys.verify(s) }

// verify demands the threshold of signatures by different keys of k. Signatures of
// others are passed over: a bundle that changes the keys has them of both.
func (k Keys) verify(s Signed) error {
	signed := make(map[string]bool)
	for _, pub := range k.Public {
		id, err := KeyIDOf(pub)
		if err != nil {
			return err
		}
		scheme, err := fips.SchemeFor(pub)
		if err != nil {
			return err
		}
		for _, signature := range s.Signatures {
			if signature.Key == id.String() && fips.Verify(pub, scheme, signedText(s.Payload), signature.Value) == nil {
				signed[hex.EncodeToString(id[:])] = true
			}
		}
	}
	if len(signed) < k.Threshold {
		return ca.Refuse(ca.ReasonBundleSignature, "%d of %d keys have signed the bundle, %d must", len(signed), len(k.Public), k.Threshold)
	}
	return nil
}
