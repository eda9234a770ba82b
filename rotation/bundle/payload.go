package bundle

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// Bounds of what is read.
const (
	maxAnchors = 16
	maxKeys    = 16
	maxPayload = 256 << 10
)

// Hash names a bundle: SHA-256 of its payload.
type Hash [sha256.Size]byte

// String is the hash in lower-case hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// KeyID names a bundle key: SHA-256 of its SubjectPublicKeyInfo.
type KeyID [sha256.Size]byte

// String is the id in lower-case hex.
func (k KeyID) String() string { return hex.EncodeToString(k[:]) }

// KeyIDOf is the id of a public key.
func KeyIDOf(pub crypto.PublicKey) (KeyID, error) {
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return KeyID{}, fmt.Errorf("encoding bundle key: %w", err)
	}
	return sha256.Sum256(spki), nil
}

// payload is what is signed, in the order in which it is encoded. JSON, for whoever
// looks at it; the decoder takes the one encoding that the encoder makes.
type payload struct {
	Version     int             `json:"version"`
	TrustDomain string          `json:"trust_domain"`
	Sequence    uint64          `json:"sequence"`
	Previous    string          `json:"previous"` // hash in hex; zeros before the first
	IssuedAt    time.Time       `json:"issued_at"`
	Anchors     []payloadAnchor `json:"anchors"`
	Keys        [][]byte        `json:"keys"` // SubjectPublicKeyInfo, in the order of their ids
	Threshold   int             `json:"threshold"`
}

type payloadAnchor struct {
	Slot        ca.Slot `json:"slot"`
	Certificate []byte  `json:"certificate"`
}

const payloadVersion = 1

// Keys are the bundle keys and how many of them must sign.
type Keys struct {
	Public    []crypto.PublicKey
	Threshold int
}

// canonical checks keys and puts them in the order of their ids.
func (k Keys) canonical() ([][]byte, error) {
	if len(k.Public) == 0 || len(k.Public) > maxKeys || k.Threshold < 1 || k.Threshold > len(k.Public) {
		return nil, fmt.Errorf("%d of %d bundle keys must sign; that cannot be met", k.Threshold, len(k.Public))
	}
	all := make([][]byte, 0, len(k.Public))
	for _, pub := range k.Public {
		if _, err := fips.SchemeFor(pub); err != nil {
			return nil, fmt.Errorf("bundle key: %w", err)
		}
		spki, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			return nil, fmt.Errorf("bundle key: %w", err)
		}
		all = append(all, spki)
	}
	slices.SortFunc(all, func(a, b []byte) int {
		x, y := sha256.Sum256(a), sha256.Sum256(b)
		return bytes.Compare(x[:], y[:])
	})
	for i := 1; i < len(all); i++ {
		if bytes.Equal(all[i-1], all[i]) {
			return nil, fmt.Errorf("a bundle key is named twice: it would sign for two")
		}
	}
	return all, nil
}

// encode is the one encoding of p.
func (p *payload) encode() ([]byte, error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding bundle: %w", err)
	}
	return raw, nil
}

// decode reads an encoding, and refuses every other one of the same value.
func decode(raw []byte) (*payload, error) {
	if len(raw) > maxPayload {
		return nil, fmt.Errorf("it has %d bytes, at most %d are read", len(raw), maxPayload)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	var p payload
	if err := d.Decode(&p); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("there are bytes after it")
	}
	again, err := p.encode()
	switch {
	case err != nil:
		return nil, err
	case !bytes.Equal(raw, again):
		return nil, fmt.Errorf("it is not encoded as it has to be")
	case p.Version != payloadVersion:
		return nil, fmt.Errorf("its version is %d; a newer program made it", p.Version)
	case len(p.Anchors) > maxAnchors:
		return nil, fmt.Errorf("it has %d anchors, at most %d are read", len(p.Anchors), maxAnchors)
	}
	return &p, nil
}

// bundle is the bundle of p, with everything that a bundle has to be.
func (p *payload) bundle() (*ca.Bundle, error) {
	domain, err := ca.ParseTrustDomain(p.TrustDomain)
	if err != nil {
		return nil, err
	}
	var anchors []ca.Anchor
	for i, a := range p.Anchors {
		cert, err := x509.ParseCertificate(a.Certificate)
		if err != nil {
			return nil, fmt.Errorf("anchor %d: %w", i, err)
		}
		anchors = append(anchors, ca.Anchor{Certificate: cert, Slot: a.Slot})
	}
	b, err := ca.NewBundle(domain, p.Sequence, anchors)
	if err != nil {
		return nil, err
	}
	for i, a := range b.Anchors() {
		if !bytes.Equal(a.Certificate.Raw, p.Anchors[i].Certificate) {
			return nil, fmt.Errorf("its anchors are not in the order of their ids")
		}
	}
	return b, nil
}

// keys are the bundle keys that p names, in canonical order.
func (p *payload) keys() (Keys, error) {
	k := Keys{Threshold: p.Threshold}
	for i, spki := range p.Keys {
		pub, err := x509.ParsePKIXPublicKey(spki)
		if err != nil {
			return Keys{}, fmt.Errorf("bundle key %d: %w", i, err)
		}
		k.Public = append(k.Public, pub)
	}
	all, err := k.canonical()
	if err != nil {
		return Keys{}, err
	}
	for i := range all {
		if !bytes.Equal(all[i], p.Keys[i]) {
			return Keys{}, fmt.Errorf("its keys are not in the order of their ids, or not encoded as they have to be")
		}
	}
	return k, nil
}
