package authn

import (
	"crypto"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/kedge-ca/kedge/fips"
)

const (
	// maxKeySetSize bounds a JWKS; that of a large provider has a few KiB.
	maxKeySetSize = 1 << 20
	// maxKeys bounds the keys of one set.
	maxKeys = 100
)

// verificationKey is one public key of an issuer.
type verificationKey struct {
	public    crypto.PublicKey
	algorithm string // the only one it is for, "" for all that fit
}

// keySet is a JWKS after everything that may not verify a token was taken out.
type keySet struct {
	keys    map[string][]verificationKey // by key id; two keys may share one
	size    int
	ignored map[string]int // keys left out, by reason
}

// parseKeySet reads a JWKS (RFC 7517 §5). A key that cannot be used is left out
// and counted, because one new kind of key must not take the others away; only a
// text that is no JWKS at all is an error.
func parseKeySet(text []byte, policy fips.Policy) (*keySet, error) {
	set := &keySet{keys: make(map[string][]verificationKey), ignored: make(map[string]int)}
	found := false
	s := scanner{data: text}
	err := s.object(func(name []byte) error {
		if string(name) != "keys" {
			return s.skip()
		}
		found = true
		return s.array(func() error {
			s.space()
			start := s.pos
			private, err := s.jwkIsPrivate()
			if err != nil {
				return err
			}
			set.add(text[start:s.pos], private, policy)
			return nil
		})
	})
	if err == nil {
		err = s.end()
	}
	if err == nil && !found {
		err = errors.New(`no member "keys"`)
	}
	if err != nil {
		return nil, fmt.Errorf("reading JWKS: %w", err)
	}
	return set, nil
}

// jwkIsPrivate reads one key and tells whether it holds a secret (RFC 7518
// §6.2.2, §6.3.2, §6.4). Such a key is known to everybody who can read the set.
func (s *scanner) jwkIsPrivate() (bool, error) {
	private := false
	err := s.object(func(name []byte) error {
		switch string(name) {
		case "d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv":
			private = true
		}
		return s.skip()
	})
	return private, err
}

func (set *keySet) add(text []byte, private bool, policy fips.Policy) {
	if private {
		set.ignored["secret"]++
		return
	}
	var jwk jose.JSONWebKey
	err := jwk.UnmarshalJSON(text)
	switch {
	case errors.Is(err, jose.ErrUnsupportedKeyType):
		set.ignored["unsupported"]++
		return
	case err != nil:
		set.ignored["malformed"]++
		return
	}
	if reason := set.whyIgnore(&jwk, policy); reason != "" {
		set.ignored[reason]++
		return
	}
	set.keys[jwk.KeyID] = append(set.keys[jwk.KeyID], verificationKey{public: jwk.Key, algorithm: jwk.Algorithm})
	set.size++
}

// whyIgnore is why key cannot be used, "" if it can.
func (set *keySet) whyIgnore(key *jose.JSONWebKey, policy fips.Policy) string {
	// Judged like the key of a leaf. Verifying ends with the token, so the last
	// day of RSA-2048 certificates does not apply; Kubernetes signs with RSA-2048.
	verdict := policy.CheckKey(key.Key, fips.UseLeaf, time.Time{})
	switch {
	case !verdict.Allow:
		return verdict.Code
	case key.Use != "" && key.Use != "sig":
		return "use"
	case key.KeyID == "" || len(key.KeyID) > maxKeyIDSize:
		return "key_id"
	case set.size == maxKeys:
		return "too_many"
	}
	if key.Algorithm != "" {
		if a, ok := algorithmNamed(key.Algorithm); !ok || !a.fits(key.Key) {
			return "algorithm"
		}
	}
	for _, k := range set.keys[key.KeyID] {
		if fips.PublicKeyEqual(k.public, key.Key) {
			return "duplicate"
		}
	}
	return ""
}
