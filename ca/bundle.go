package ca

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
)

// AnchorID identifies a trust anchor: SHA-256 of its DER encoding. It is not the
// hash of the key, because a re-issued certificate on one key is another anchor.
type AnchorID [32]byte

// AnchorIDOf is the id of an anchor.
func AnchorIDOf(anchor *x509.Certificate) AnchorID { return sha256.Sum256(anchor.Raw) }

// ParseAnchorID reads what String writes.
func ParseAnchorID(s string) (AnchorID, error) {
	var id AnchorID
	if raw, err := hex.DecodeString(s); err != nil || copy(id[:], raw) != len(id) || len(raw) != len(id) || id.String() != s {
		return AnchorID{}, fmt.Errorf("%q is not an anchor's id: 64 lower-case hex digits", s)
	}
	return id, nil
}

// String is the id in lower-case hex.
func (id AnchorID) String() string { return hex.EncodeToString(id[:]) }

// IsZero tells whether id names no anchor.
func (id AnchorID) IsZero() bool { return id == AnchorID{} }

// MarshalText is String, so that ids are keys and values of JSON.
func (id AnchorID) MarshalText() ([]byte, error) {
	return []byte(id.String()), nil
}

// UnmarshalText is ParseAnchorID.
func (id *AnchorID) UnmarshalText(text []byte) error {
	parsed, err := ParseAnchorID(string(text))
	*id = parsed
	return err
}

// Anchor is a trust anchor and the part it plays.
type Anchor struct {
	Certificate *x509.Certificate
	Slot        Slot
}

// Bundle is the set of trust anchors of a trust domain with a sequence that only
// grows. It is an immutable value: never empty, exactly one active anchor,
// canonical order (by id), so that equal bundles have equal bytes.
type Bundle struct {
	domain  TrustDomain
	seq     uint64
	anchors []Anchor
	ids     map[AnchorID]struct{}
	pem     []byte
	pool    *x509.CertPool
}

// NewBundle checks and freezes a bundle.
func NewBundle(domain TrustDomain, seq uint64, anchors []Anchor) (*Bundle, error) {
	if domain.IsZero() {
		return nil, fmt.Errorf("bundle without a trust domain")
	}
	if seq == 0 {
		return nil, fmt.Errorf("bundle sequence 0 is reserved for no bundle")
	}
	b := &Bundle{
		domain: domain, seq: seq, anchors: slices.Clone(anchors),
		ids: make(map[AnchorID]struct{}, len(anchors)), pool: x509.NewCertPool(),
	}
	slices.SortFunc(b.anchors, func(x, y Anchor) int {
		xid, yid := AnchorIDOf(x.Certificate), AnchorIDOf(y.Certificate)
		return bytes.Compare(xid[:], yid[:])
	})
	active := 0
	for _, a := range b.anchors {
		id := AnchorIDOf(a.Certificate)
		if _, twice := b.ids[id]; twice {
			return nil, fmt.Errorf("anchor %s is in the bundle twice", id)
		}
		if err := checkAnchor(a); err != nil {
			return nil, fmt.Errorf("anchor %s: %w", id, err)
		}
		if a.Slot == SlotActive {
			active++
		}
		b.ids[id] = struct{}{}
		b.pem = append(b.pem, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate.Raw})...)
		b.pool.AddCert(a.Certificate)
	}
	if active != 1 {
		return nil, fmt.Errorf("bundle has %d active anchors, needs exactly one", active)
	}
	return b, nil
}

// checkAnchor holds what every verifier of every mesh needs of an anchor: a
// self-signed CA certificate (Envoy's SPIFFE validator builds no partial chain).
func checkAnchor(a Anchor) error {
	c := a.Certificate
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return fmt.Errorf("not a CA certificate")
	case c.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("key usage lacks keyCertSign")
	case !bytes.Equal(c.RawSubject, c.RawIssuer):
		return fmt.Errorf("not self-signed")
	case c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) != nil:
		return fmt.Errorf("its signature is not its own")
	}
	switch a.Slot {
	case SlotActive, SlotStandby, SlotDraining:
		return nil
	}
	return fmt.Errorf("unknown slot %q", a.Slot)
}

// TrustDomain is the trust domain whose anchors these are.
func (b *Bundle) TrustDomain() TrustDomain { return b.domain }

// Sequence grows with every change of the bundle and never falls.
func (b *Bundle) Sequence() uint64 { return b.seq }

// Anchors are the anchors in canonical order.
func (b *Bundle) Anchors() []Anchor { return slices.Clone(b.anchors) }

// Active is the anchor that signs.
func (b *Bundle) Active() *x509.Certificate {
	for _, a := range b.anchors {
		if a.Slot == SlotActive {
			return a.Certificate
		}
	}
	return nil // NewBundle made this impossible
}

// Anchor is the certificate of an anchor of the bundle, nil if it is not in it.
func (b *Bundle) Anchor(id AnchorID) *x509.Certificate {
	for _, a := range b.anchors {
		if AnchorIDOf(a.Certificate) == id {
			return a.Certificate
		}
	}
	return nil
}

// slot is the part that the anchor plays, "" if it is not in the bundle.
func (b *Bundle) slot(id AnchorID) Slot {
	for _, a := range b.anchors {
		if AnchorIDOf(a.Certificate) == id {
			return a.Slot
		}
	}
	return ""
}

// Contains tells whether the anchor is in the bundle.
func (b *Bundle) Contains(id AnchorID) bool {
	_, ok := b.ids[id]
	return ok
}

// PEM is the canonical encoding: every anchor in order of id. The bytes are
// stable, because Istio and SPIRE compare bundles byte by byte. The caller must
// not change them.
func (b *Bundle) PEM() []byte { return b.pem }

// Pool is the pool for verifying against the bundle. The caller must not add to it.
func (b *Bundle) Pool() *x509.CertPool { return b.pool }
