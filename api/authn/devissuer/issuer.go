package devissuer

import (
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/kedge-ca/kedge/fips"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

const (
	// URL is the issuer of all tokens. The domain can exist nowhere (RFC 2606 §2).
	URL = "https://dev.kedge.invalid"
	// coordinate is the size of r and of s for P-256 (RFC 7518 §3.4).
	coordinate = 32
)

// ServiceAccount says for whom a token is.
type ServiceAccount struct {
	Namespace string
	Name      string
	Audience  string
	TTL       time.Duration
}

// Issuer issues tokens; New makes one. It is safe for concurrent use.
type Issuer struct {
	key    crypto.Signer
	scheme fips.SignatureScheme
	keyID  string
	jwks   []byte
}

// New makes an issuer with a fresh P-256 key.
func New() (*Issuer, error) {
	key, err := fips.GenerateKey(fips.ECDSAP256)
	if err != nil {
		return nil, fmt.Errorf("making dev issuer: %w", err)
	}
	scheme, err := fips.SchemeFor(key.Public())
	if err != nil {
		return nil, fmt.Errorf("making dev issuer: %w", err)
	}
	id, err := fips.KeyID(key.Public())
	if err != nil {
		return nil, fmt.Errorf("making dev issuer: %w", err)
	}
	i := &Issuer{key: key, scheme: scheme, keyID: base64.RawURLEncoding.EncodeToString(id)}
	i.jwks, err = json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: key.Public(), KeyID: i.keyID, Algorithm: "ES256", Use: "sig"},
	}})
	if err != nil {
		return nil, fmt.Errorf("making dev issuer: %w", err)
	}
	return i, nil
}

// JWKS is the key set that verifies the tokens. The caller must not change it.
func (i *Issuer) JWKS() []byte { return i.jwks }

// The claims of a projected token, in the order in which an API server has them.
type (
	claims struct {
		Audience   []string `json:"aud"`
		Expires    int64    `json:"exp"`
		IssuedAt   int64    `json:"iat"`
		Issuer     string   `json:"iss"`
		ID         string   `json:"jti"`
		Kubernetes bound    `json:"kubernetes.io"`
		NotBefore  int64    `json:"nbf"`
		Subject    string   `json:"sub"`
	}
	bound struct {
		Namespace      string `json:"namespace"`
		Node           object `json:"node"`
		Pod            object `json:"pod"`
		ServiceAccount object `json:"serviceaccount"`
	}
	object struct {
		Name string `json:"name"`
		UID  string `json:"uid"`
	}
)

// Token issues a token that is valid from now for s.TTL. It is bound to a pod
// that does not exist.
func (i *Issuer) Token(s ServiceAccount, now time.Time) (string, error) {
	if err := s.check(); err != nil {
		return "", fmt.Errorf("issuing dev token: %w", err)
	}
	ids := make([]string, 4)
	for n := range ids {
		var err error
		if ids[n], err = newID(); err != nil {
			return "", fmt.Errorf("issuing dev token: %w", err)
		}
	}
	payload, err := json.Marshal(claims{
		Audience: []string{s.Audience}, Issuer: URL, ID: ids[0],
		Subject:  "system:serviceaccount:" + s.Namespace + ":" + s.Name,
		IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: now.Add(s.TTL).Unix(),
		Kubernetes: bound{
			Namespace: s.Namespace, ServiceAccount: object{s.Name, ids[1]},
			Pod: object{"dev", ids[2]}, Node: object{"dev", ids[3]},
		},
	})
	if err != nil {
		return "", fmt.Errorf("issuing dev token: %w", err)
	}
	return i.sign(payload)
}

func (s ServiceAccount) check() error {
	switch {
	case s.Namespace == "" || s.Name == "" || strings.ContainsAny(s.Namespace+s.Name, ":/"):
		return fmt.Errorf("%q in namespace %q is not a service account", s.Name, s.Namespace)
	case s.Audience == "":
		return errors.New("no audience")
	case s.TTL < time.Second:
		return fmt.Errorf("lifetime %s is below 1s", s.TTL)
	}
	return nil
}

// sign makes a JWS in compact form (RFC 7515 §3.1).
func (i *Issuer) sign(payload []byte) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": "ES256", "kid": i.keyID, "typ": "JWT"})
	if err != nil {
		return "", fmt.Errorf("signing dev token: %w", err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode(header) + "." + encode(payload)
	der, err := fips.Sign(i.key, i.scheme, []byte(signed))
	if err != nil {
		return "", fmt.Errorf("signing dev token: %w", err)
	}
	signature, err := rawSignature(der)
	if err != nil {
		return "", fmt.Errorf("signing dev token: %w", err)
	}
	return signed + "." + encode(signature), nil
}

// rawSignature turns the ASN.1 of an ECDSA signature into r || s at full length
// (RFC 7518 §3.4).
func rawSignature(der []byte) ([]byte, error) {
	input, sequence := cryptobyte.String(der), cryptobyte.String(nil)
	var r, s []byte
	if !input.ReadASN1(&sequence, asn1.SEQUENCE) || !input.Empty() ||
		!sequence.ReadASN1Integer(&r) || !sequence.ReadASN1Integer(&s) || !sequence.Empty() ||
		len(r) > coordinate || len(s) > coordinate {
		return nil, errors.New("not an ECDSA signature of P-256")
	}
	raw := make([]byte, 2*coordinate)
	copy(raw[coordinate-len(r):], r)
	copy(raw[2*coordinate-len(s):], s)
	return raw, nil
}

// newID makes a random UUID (RFC 9562 §5.4).
func newID() (string, error) {
	var b [16]byte
	if err := fips.Random(b[:]); err != nil {
		return "", err
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}
