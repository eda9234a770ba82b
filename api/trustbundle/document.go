package trustbundle

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// RefreshHint is how often a federated domain is asked to look for a new bundle. A
// rotation counts on five times as long.
const RefreshHint = 5 * time.Minute

// key is a JSON Web Key (RFC 7517 §4) with the fields in the order of their writing.
type key struct {
	Use         string   `json:"use"` // SPIFFE_Trust_Domain_and_Bundle §4.2.2
	KeyType     string   `json:"kty"`
	Curve       string   `json:"crv,omitempty"`
	X           string   `json:"x,omitempty"`
	Y           string   `json:"y,omitempty"`
	N           string   `json:"n,omitempty"`
	E           string   `json:"e,omitempty"`
	Certificate [][]byte `json:"x5c"` // one, standard base64 of the DER (RFC 7517 §4.7)
}

// JWKS is the bundle as a JSON Web Key Set: each anchor a key with its certificate,
// in canonical order.
func JWKS(b *ca.Bundle) ([]byte, error) {
	keys, err := keysOf(b)
	if err != nil {
		return nil, err
	}
	return encode(struct {
		Keys []key `json:"keys"`
	}{keys})
}

// SPIFFE is the bundle document of SPIFFE_Trust_Domain_and_Bundle §4: the key set with
// its sequence and a refresh hint in seconds.
func SPIFFE(b *ca.Bundle) ([]byte, error) {
	keys, err := keysOf(b)
	if err != nil {
		return nil, err
	}
	return encode(struct {
		Keys     []key  `json:"keys"`
		Sequence uint64 `json:"spiffe_sequence"`
		Refresh  int    `json:"spiffe_refresh_hint"`
	}{keys, b.Sequence(), int(RefreshHint / time.Second)})
}

func encode(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding bundle: %w", err)
	}
	return append(raw, '\n'), nil
}

func keysOf(b *ca.Bundle) ([]key, error) {
	keys := make([]key, 0, len(b.Anchors()))
	for _, a := range b.Anchors() {
		k, err := keyOf(a.Certificate)
		if err != nil {
			return nil, fmt.Errorf("anchor %s: %w", ca.AnchorIDOf(a.Certificate), err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// keyOf is the key of an anchor (RFC 7518 §6.2, §6.3).
func keyOf(anchor *x509.Certificate) (key, error) {
	k := key{Use: "x509-svid", Certificate: [][]byte{anchor.Raw}}
	switch pub := anchor.PublicKey.(type) {
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil {
			return key{}, fmt.Errorf("encoding its key: %w", err)
		}
		half := (len(point) - 1) / 2 // after the octet that says that it is uncompressed
		k.KeyType, k.Curve = "EC", pub.Curve.Params().Name
		k.X, k.Y = base64url(point[1:1+half]), base64url(point[1+half:])
	case *rsa.PublicKey:
		k.KeyType = "RSA"
		k.N, k.E = base64url(pub.N.Bytes()), base64url(big.NewInt(int64(pub.E)).Bytes())
	default:
		return key{}, fmt.Errorf("its key is a %T", pub)
	}
	return k, nil
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
