package main

import (
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// tokenIssuer signs service-account tokens with RS256, as API servers do by default.
type tokenIssuer struct {
	key    crypto.Signer
	scheme fips.SignatureScheme
}

const (
	tokenURL = "https://kubernetes.default.svc.cluster.local"
	tokenKey = "bench"
)

func newTokenIssuer() (*tokenIssuer, error) {
	key, err := fips.GenerateKey(fips.RSA2048)
	if err != nil {
		return nil, err
	}
	scheme, err := fips.SchemeFor(key.Public())
	return &tokenIssuer{key: key, scheme: scheme}, err
}

func (i *tokenIssuer) jwks() ([]byte, error) {
	pub, ok := i.key.Public().(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("key is a %T", i.key.Public())
	}
	return json.Marshal(map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "kid": tokenKey, "alg": "RS256", "use": "sig",
		"n": b64(pub.N.Bytes()), "e": b64(big.NewInt(int64(pub.E)).Bytes()),
	}}})
}

// token is a projected token of a pod of service account bench/name.
func (i *tokenIssuer) token(name string) (string, error) {
	now := time.Now().Unix()
	payload, err := json.Marshal(map[string]any{
		"iss": tokenURL, "sub": "system:serviceaccount:bench:" + name, "aud": []string{"istio-ca"},
		"iat": now, "nbf": now, "exp": now + 43200, "jti": name,
		"kubernetes.io": map[string]any{
			"namespace": "bench", "node": map[string]string{"name": "node-1", "uid": "6d4e0a7c-0000-4000-8000-000000000001"},
			"pod":            map[string]string{"name": name + "-0", "uid": "6d4e0a7c-0000-4000-8000-000000000002"},
			"serviceaccount": map[string]string{"name": name, "uid": "6d4e0a7c-0000-4000-8000-000000000003"},
		},
	})
	if err != nil {
		return "", err
	}
	signed := b64([]byte(`{"alg":"RS256","kid":"`+tokenKey+`"}`)) + "." + b64(payload)
	signature, err := fips.Sign(i.key, i.scheme, []byte(signed))
	if err != nil {
		return "", err
	}
	return signed + "." + b64(signature), nil
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
