package ca

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Slot is the part that an anchor plays in the bundle.
type Slot string

// The slots. Active signs; standby is published and never signs; draining was
// active and is kept until its last leaf has died.
const (
	SlotActive   Slot = "active"
	SlotStandby  Slot = "standby"
	SlotDraining Slot = "draining"
)

// State is everything durable about a replica's authority except its private
// keys and its issuance records: the bundle and the intermediates. It changes
// only as a whole, by compare-and-swap.
type State struct {
	TrustDomain   string              `json:"trust_domain"`
	BundleSeq     uint64              `json:"bundle_seq"`
	Anchors       []StateAnchor       `json:"anchors"`
	Intermediates []StateIntermediate `json:"intermediates"`
	// PendingKey names a key that is being made; it is written before the key is
	// created, so that a crash in between leaves nothing behind unnamed.
	PendingKey string `json:"pending_key,omitempty"`
	// SignedBundle is the signed form of the bundle, as package rotation/bundle
	// keeps it; empty while no rotation has published one.
	SignedBundle []byte `json:"signed_bundle,omitempty"`
	// Signer is the anchor under which this replica was commanded to sign, by the
	// command that Epoch numbers. Epoch 0 is none: the active anchor signs.
	Signer AnchorID `json:"signer,omitzero"`
	Epoch  uint64   `json:"epoch,omitempty"`
	// Halted is why nothing may be issued; empty while it may.
	Halted string `json:"halted,omitempty"`
}

// signer is the anchor under which this replica has to sign: the commanded one, and
// the active one where no command has come, or where the commanded one has left the
// bundle.
func (s State) signer(b *Bundle) *x509.Certificate {
	if s.Epoch > 0 {
		if a := b.Anchor(s.Signer); a != nil {
			return a
		}
	}
	return b.Active()
}

// StateAnchor is one trust anchor of the bundle.
type StateAnchor struct {
	Certificate []byte `json:"certificate"` // DER
	Slot        Slot   `json:"slot"`
}

// StateIntermediate is one intermediate of this replica.
type StateIntermediate struct {
	KeyName      string    `json:"key_name"` // in the KeyStore
	Chain        [][]byte  `json:"chain"`    // DER, the intermediate first, without the anchor
	CreatedAt    time.Time `json:"created_at"`
	Epoch        uint64    `json:"epoch,omitempty"`        // of the command in force when it was made
	RetiredAt    time.Time `json:"retired_at,omitzero"`    // no longer signs
	DestroyAfter time.Time `json:"destroy_after,omitzero"` // its last leaf is dead then
}

// ErrForeignState means that the stored authority is one of another trust domain.
// No retry mends that: the configuration names the wrong store or the wrong name.
var ErrForeignState = errors.New("the authority is of another trust domain")

// Version is the version of a stored State; 0 means that none is stored.
type Version uint64

// StateStore keeps one State.
//
// Replace is a compare-and-swap: it stores next only when the stored version is
// old, and returns the new version. A lost race is an *Error with ReasonStale,
// and nothing was written. Any other error leaves the outcome unknown: the
// caller must Load again before it acts. Load of an empty store returns a zero
// State with version 0 and no error. Replace returns only when next would
// survive a crash.
type StateStore interface {
	Load(ctx context.Context) (State, Version, error)
	Replace(ctx context.Context, old Version, next State) (Version, error)
}

// Bundle is the bundle that the state holds.
func (s State) Bundle() (*Bundle, error) {
	domain, err := ParseTrustDomain(s.TrustDomain)
	if err != nil {
		return nil, err
	}
	anchors := make([]Anchor, 0, len(s.Anchors))
	for _, a := range s.Anchors {
		cert, err := x509.ParseCertificate(a.Certificate)
		if err != nil {
			return nil, fmt.Errorf("reading anchor: %w", err)
		}
		anchors = append(anchors, Anchor{Certificate: cert, Slot: a.Slot})
	}
	return NewBundle(domain, s.BundleSeq, anchors)
}

// withIntermediate adds the intermediate that was pending under keyName.
func (s State) withIntermediate(keyName string, i *Intermediate, now time.Time) State {
	s.Intermediates = append(slices.Clone(s.Intermediates), StateIntermediate{
		KeyName: keyName, Chain: i.chainDER, CreatedAt: now.UTC(), Epoch: s.Epoch,
	})
	s.PendingKey = ""
	return s
}

func stateAnchors(anchors []Anchor) []StateAnchor {
	stored := make([]StateAnchor, 0, len(anchors))
	for _, a := range anchors {
		stored = append(stored, StateAnchor{Certificate: a.Certificate.Raw, Slot: a.Slot})
	}
	return stored
}

func parseChain(chain [][]byte) ([]*x509.Certificate, error) {
	certs := make([]*x509.Certificate, 0, len(chain))
	for _, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("reading certificate: %w", err)
		}
		certs = append(certs, cert)
	}
	return certs, nil
}
