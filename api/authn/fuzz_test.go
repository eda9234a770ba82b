package authn_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-ca/kedge/api/authn/authntest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

// FuzzToken feeds whole tokens (signing false), and headers and payloads that
// our own issuer signs whatever they say (signing true), so that the checks
// behind the signature are reached. The oracle reads an accepted token a second
// time, with encoding/json and its own arithmetic.
func FuzzToken(f *testing.F) {
	w := newWorld(f, fips.ECDSAP256)
	honest, err := json.Marshal(w.web())
	require.NoError(f, err)
	head := w.east.Header(f)
	token := w.east.Token(f, w.web())
	parts := strings.Split(token, ".")
	f.Add([]byte(token), []byte(nil), false)
	f.Add([]byte(parts[0]+"."+parts[1]+"."), []byte(nil), false)
	f.Add([]byte("kedge-join-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), []byte(nil), false)
	f.Add(head, honest, true)
	for _, change := range [][2]string{
		{`"sub":"`, `"sub":"x`}, {`"exp":`, `"exp":1`}, {`"exp":`, `"exp":-`}, {`"aud":["`, `"aud":["x","`}, {`"iss":"`, `"iss":"x`},
		{`"pod":`, `"Pod":`}, {`"namespace":"`, `"namespace":"x`}, {`"nbf":`, `"nbf":9`}, {`{`, `{"sub":"system:serviceaccount:shop:admin",`},
	} {
		f.Add(head, []byte(strings.Replace(string(honest), change[0], change[1], 1)), true)
	}
	f.Add([]byte(`{"alg":"none","kid":"`+w.east.KeyID+`"}`), honest, true)
	f.Fuzz(func(t *testing.T, first, second []byte, signing bool) {
		raw := string(first)
		if signing {
			raw = w.east.Sign(t, first, second)
		}
		caller, err := w.authenticate(raw, "")
		if err != nil {
			class := ca.ReasonOf(err).Class()
			require.Contains(t, []ca.Class{ca.Unauthenticated}, class, "%v", err)
			require.Equal(t, ca.Caller{}, caller)
			return
		}
		checkAccepted(t, w, raw, caller)
	})
}

// checkAccepted is the second reading of an accepted token.
func checkAccepted(t *testing.T, w *world, raw string, caller ca.Caller) {
	t.Helper()
	require.LessOrEqual(t, len(raw), 16<<10)
	parts := strings.Split(raw, ".")
	require.Len(t, parts, 3)
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	require.NoError(t, err)
	require.Len(t, signature, 64)
	key, ok := w.east.Key.Public().(*ecdsa.PublicKey)
	require.True(t, ok)
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	require.True(t, ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])))

	var header struct{ Alg, Kid, Typ string }
	read(t, parts[0], &header)
	require.Equal(t, "ES256", header.Alg)
	require.Equal(t, w.east.KeyID, header.Kid)

	var claims struct {
		Iss, Sub      string
		Aud           any
		Exp, Iat, Nbf float64
		Kubernetes    struct {
			Namespace           string
			Pod, Serviceaccount struct{ Name, UID string }
		} `json:"kubernetes.io"`
	}
	read(t, parts[1], &claims)
	now := float64(w.now.Unix())
	require.Equal(t, authntest.URL, claims.Iss)
	require.Less(t, now, claims.Exp)
	require.GreaterOrEqual(t, now, claims.Iat)
	require.GreaterOrEqual(t, now, claims.Nbf)
	require.LessOrEqual(t, claims.Exp-claims.Iat, 86400.0)
	switch aud := claims.Aud.(type) {
	case string:
		require.Equal(t, authntest.Audience, aud)
	case []any:
		require.True(t, slices.Contains(aud, any(authntest.Audience)))
	default:
		t.Fatalf("audience %v", aud)
	}
	require.NotEmpty(t, claims.Kubernetes.Pod.Name)
	require.NotEmpty(t, claims.Kubernetes.Pod.UID)
	segments := strings.Split(claims.Sub, ":")
	require.Len(t, segments, 4)
	require.Equal(t, claims.Kubernetes.Namespace, segments[2])
	require.Equal(t, claims.Kubernetes.Serviceaccount.Name, segments[3])
	require.Equal(t, "spiffe://cluster.local/ns/"+segments[2]+"/sa/"+segments[3], caller.Identity().String())
	require.Equal(t, claims.Sub, caller.Evidence().Subject)
}

func read(t *testing.T, segment string, into any) {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(segment)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}
