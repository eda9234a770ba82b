package authn_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/api/authn/authntest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

func TestTokenOfAPodBecomesItsServiceAccount(t *testing.T) {
	w := newWorld(t, fips.RSA2048)
	token := w.east.Token(t, w.web())
	caller, err := w.authenticate(token, "")
	require.NoError(t, err)

	identity, err := domain(t).ServiceAccount("shop", "web")
	require.NoError(t, err)
	hash := sha256.Sum256([]byte(token))
	want, err := ca.NewCaller(identity, ca.Evidence{
		Method: ca.MethodKubernetes, Issuer: authntest.URL, Subject: "system:serviceaccount:shop:web", Cluster: "east",
		Pod: "web-7d4b9c/5e0bd49b-f040-43b0-99b7-22765a53f7f3", Node: "node-1/646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1",
		TokenHash: hex.EncodeToString(hash[:]), Peer: "192.0.2.7:443",
	})
	require.NoError(t, err)
	require.Equal(t, want, caller)
}

func TestOIDCTokenBecomesThePathOfItsClaim(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	token := w.ci.Token(t, w.build())
	// Its issuer alone chooses the provider: an agent always sends some clusterid.
	caller, err := w.authenticate(token, "Kubernetes")
	require.NoError(t, err)

	identity, err := ca.ParseIdentity("spiffe://cluster.local/ci/shop/web")
	require.NoError(t, err)
	hash := sha256.Sum256([]byte(token))
	want, err := ca.NewCaller(identity, ca.Evidence{
		Method: ca.MethodOIDC, Issuer: ciURL, Subject: "repo:shop/web:ref:refs/heads/main",
		TokenHash: hex.EncodeToString(hash[:]), Peer: "192.0.2.7:443",
	})
	require.NoError(t, err)
	require.Equal(t, want, caller)
}

// tokenRow is one token and what becomes of it; no reason means that it passes.
type tokenRow struct {
	name      string
	token     func(t *testing.T, w *world) string
	clusterID string
	reason    ca.Reason
}

func (r tokenRow) run(t *testing.T, w *world) {
	t.Helper()
	t.Run(r.name, func(t *testing.T) {
		caller, err := w.authenticate(r.token(t, w), r.clusterID)
		if r.reason != "" {
			refused(t, r.reason, caller, err)
			return
		}
		require.NoError(t, err)
		require.False(t, caller.Identity().IsZero())
	})
}

// east makes a token of cluster east from changed claims.
func east(change func(w *world) authntest.Claims) func(*testing.T, *world) string {
	return func(t *testing.T, w *world) string { return w.east.Token(t, change(w)) }
}

// with is a row's token with one claim changed.
func with(claim string, value any) func(*testing.T, *world) string {
	return east(func(w *world) authntest.Claims { return w.web().With(claim, value) })
}

// at is a row's token with one date changed, relative to now.
func at(claim string, d time.Duration) func(*testing.T, *world) string {
	return east(func(w *world) authntest.Claims { return w.web().With(claim, w.now.Add(d).Unix()) })
}

// bound is a row's token with one bound object changed; nil removes it.
func bound(object string, value any) func(*testing.T, *world) string {
	return east(func(w *world) authntest.Claims {
		objects, _ := w.web()["kubernetes.io"].(map[string]any)
		return w.web().With("kubernetes.io", map[string]any(authntest.Claims(objects).With(object, value)))
	})
}

// payload is a row's token with a payload that encoding/json would not write.
func payload(edit func(json string) string) func(*testing.T, *world) string {
	return func(t *testing.T, w *world) string {
		text, err := json.Marshal(w.web())
		require.NoError(t, err)
		edited := edit(string(text))
		require.NotEqual(t, string(text), edited)
		return w.east.Sign(t, w.east.Header(t), []byte(edited))
	}
}

// header is a row's token with a header of its own; %s is the key id.
func header(format string) func(*testing.T, *world) string {
	return func(t *testing.T, w *world) string {
		text, err := json.Marshal(w.web())
		require.NoError(t, err)
		return w.east.Sign(t, []byte(strings.ReplaceAll(format, "%s", w.east.KeyID)), text)
	}
}

func TestTokenDates(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	number := func(claim, literal string) func(*testing.T, *world) string {
		return payload(func(s string) string {
			value, _ := w.web()[claim].(int64)
			return strings.Replace(s, fmt.Sprintf(`"%s":%d`, claim, value), fmt.Sprintf(`"%s":%s`, claim, literal), 1)
		})
	}
	for _, row := range []tokenRow{
		{"still valid for a second", at("exp", time.Second), "", ""},
		{"expires now", at("exp", 0), "", ca.ReasonTokenExpired},
		{"expired by a second", at("exp", -time.Second), "", ca.ReasonTokenExpired},
		{"without exp", with("exp", nil), "", ca.ReasonTokenLifetime},
		{"without iat", with("iat", nil), "", ca.ReasonTokenLifetime},
		{"without nbf", with("nbf", nil), "", ""},
		{"nbf in a second", at("nbf", time.Second), "", ca.ReasonTokenNotYet},
		{"iat in a second", at("iat", time.Second), "", ca.ReasonTokenNotYet},
		{"lives for 24 hours", at("exp", 24*time.Hour), "", ""},
		{"lives longer than 24 hours", at("exp", 24*time.Hour+time.Second), "", ca.ReasonTokenLifetime},
		{"extended to a year for old clients", at("exp", 365*24*time.Hour), "", ca.ReasonTokenLifetime},
		{"exp with a fraction", number("exp", fmt.Sprintf("%d.5", w.now.Unix())), "", ""},
		{"iat with an exponent", number("iat", "1.7955216e9"), "", ""},
		{"exp 2^63", number("exp", "9223372036854775808"), "", ca.ReasonTokenMalformed},
		{"exp -2^63", number("exp", "-9223372036854775808"), "", ca.ReasonTokenMalformed},
		{"exp 1e400", number("exp", "1e400"), "", ca.ReasonTokenMalformed},
		{"exp after 9999", number("exp", "253402300800"), "", ca.ReasonTokenMalformed},
		{"exp negative", number("exp", "-1"), "", ca.ReasonTokenMalformed},
		{"exp NaN", number("exp", "NaN"), "", ca.ReasonTokenMalformed},
		{"exp as a string", number("exp", `"1795536000"`), "", ca.ReasonTokenMalformed},
		{"exp null", number("exp", "null"), "", ca.ReasonTokenMalformed},
		{"exp with a leading zero", number("exp", "01795536000"), "", ca.ReasonTokenMalformed},
		{"nbf -1", number("nbf", "-1"), "", ca.ReasonTokenMalformed},
	} {
		row.run(t, w)
	}
}

func TestFractionalDatesAreExact(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	token := w.east.Token(t, w.web().With("exp", json.Number(fmt.Sprintf("%d.5", w.now.Unix()+60))))
	w.clock.Advance(60*time.Second + 499*time.Millisecond)
	_, err := w.authenticate(token, "")
	require.NoError(t, err)
	w.clock.Advance(time.Millisecond)
	caller, err := w.authenticate(token, "")
	refused(t, ca.ReasonTokenExpired, caller, err)
}

func TestLeewayAppliesToBothEnds(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	w.auth = newAuthenticator(t, authn.Config{
		TrustDomain: domain(t), Now: w.clock.Now, Leeway: 30 * time.Second,
		Kubernetes: []authn.KubernetesConfig{w.east.Cluster(t, "east")},
	})
	old := func(exp time.Duration) func(*testing.T, *world) string {
		return east(func(w *world) authntest.Claims {
			return w.web().With("iat", w.now.Add(-time.Hour).Unix()).With("exp", w.now.Add(exp).Unix())
		})
	}
	for _, row := range []tokenRow{
		{"expired 29 s ago", old(-29 * time.Second), "", ""},
		{"expired 30 s ago", old(-30 * time.Second), "", ca.ReasonTokenExpired},
		{"valid in 30 s", at("nbf", 30*time.Second), "", ""},
		{"valid in 31 s", at("nbf", 31*time.Second), "", ca.ReasonTokenNotYet},
		{"issued in 31 s", at("iat", 31*time.Second), "", ca.ReasonTokenNotYet},
		{"expires before it was issued", east(func(w *world) authntest.Claims {
			return w.web().With("iat", w.now.Unix()+20).With("exp", w.now.Unix()+10)
		}), "", ca.ReasonTokenLifetime},
	} {
		row.run(t, w)
	}
}

func TestTokenAudience(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	for _, row := range []tokenRow{
		{"one string", with("aud", "istio-ca"), "", ""},
		{"a superset list", with("aud", []string{"vault", "istio-ca"}), "", ""},
		{"another audience", with("aud", []string{"https://kubernetes.default.svc"}), "", ca.ReasonTokenAudience},
		{"a longer audience", with("aud", "istio-ca2"), "", ca.ReasonTokenAudience},
		{"another case", with("aud", "Istio-CA"), "", ca.ReasonTokenAudience},
		{"a list joined to one string", with("aud", "vault istio-ca"), "", ca.ReasonTokenAudience},
		{"missing", with("aud", nil), "", ca.ReasonTokenAudience},
		{"an empty list", with("aud", []string{}), "", ca.ReasonTokenAudience},
		{"an empty string", with("aud", ""), "", ca.ReasonTokenAudience},
		{"a number", with("aud", 7), "", ca.ReasonTokenMalformed},
		{"a list with a number", with("aud", []any{"istio-ca", 7}), "", ca.ReasonTokenMalformed},
		{"an object", with("aud", map[string]string{"istio-ca": "istio-ca"}), "", ca.ReasonTokenMalformed},
	} {
		row.run(t, w)
	}
}

func TestTokenSubject(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	// The bound objects agree with each subject, so that only its form can refuse it.
	subject := func(s string) func(*testing.T, *world) string {
		return east(func(w *world) authntest.Claims {
			parts := append(strings.SplitN(s, ":", 4), "", "", "", "")
			return w.web().With("sub", s).With("kubernetes.io", map[string]any{
				"namespace": parts[2], "serviceaccount": map[string]any{"name": parts[3], "uid": "1"}, "pod": map[string]any{"name": "p", "uid": "1"},
			})
		})
	}
	for _, row := range []tokenRow{
		{"the longest names", subject("system:serviceaccount:" + strings.Repeat("a", 63) + ":" + strings.Repeat("a", 253)), "", ""},
		{"name with dots", subject("system:serviceaccount:shop:web.v2"), "", ""},
		{"name with an empty label", subject("system:serviceaccount:shop:web..v2"), "", ca.ReasonTokenSubject},
		{"name that ends in a hyphen", subject("system:serviceaccount:shop:web-"), "", ca.ReasonTokenSubject},
		{"namespace that starts with a hyphen", subject("system:serviceaccount:-shop:web"), "", ca.ReasonTokenSubject},
		{"of two segments", subject("system:serviceaccount"), "", ca.ReasonTokenSubject},
		{"of three segments", subject("system:serviceaccount:shop"), "", ca.ReasonTokenSubject},
		{"of five segments", subject("system:serviceaccount:shop:web:admin"), "", ca.ReasonTokenSubject},
		{"empty namespace", subject("system:serviceaccount::web"), "", ca.ReasonTokenSubject},
		{"empty name", subject("system:serviceaccount:shop:"), "", ca.ReasonTokenSubject},
		{"a node", subject("system:node:node-1"), "", ca.ReasonTokenSubject},
		{"a user", subject("admin"), "", ca.ReasonTokenSubject},
		{"empty", subject(""), "", ca.ReasonTokenSubject},
		{"missing", with("sub", nil), "", ca.ReasonTokenSubject},
		{"upper case", subject("system:serviceaccount:Shop:web"), "", ca.ReasonTokenSubject},
		{"another case of the prefix", subject("System:serviceaccount:shop:web"), "", ca.ReasonTokenSubject},
		{"path in the name", subject("system:serviceaccount:shop:web/../admin"), "", ca.ReasonTokenSubject},
		{"path in the namespace", subject("system:serviceaccount:shop/sa/admin:web"), "", ca.ReasonTokenSubject},
		{"namespace with a dot", subject("system:serviceaccount:shop.x:web"), "", ca.ReasonTokenSubject},
		{"namespace of 64 characters", subject("system:serviceaccount:" + strings.Repeat("a", 64) + ":web"), "", ca.ReasonTokenSubject},
		{"name of 254 characters", subject("system:serviceaccount:shop:" + strings.Repeat("a", 254)), "", ca.ReasonTokenSubject},
		{"line end", subject("system:serviceaccount:shop:web\n"), "", ca.ReasonTokenSubject},
		{"another name than the bound one", with("sub", "system:serviceaccount:shop:admin"), "", ca.ReasonTokenSubject},
		{"another namespace than the bound one", with("sub", "system:serviceaccount:other:web"), "", ca.ReasonTokenSubject},
		{"a list", with("sub", []string{"system:serviceaccount:shop:web"}), "", ca.ReasonTokenMalformed},
	} {
		row.run(t, w)
	}
}

func TestTokenMustBeBound(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	rows := []tokenRow{
		{"no bound objects", with("kubernetes.io", nil), "", ca.ReasonTokenUnbound},
		{"claims of a Secret's token", east(func(w *world) authntest.Claims {
			return w.web().With("kubernetes.io", nil).With("kubernetes.io/serviceaccount/namespace", "shop").
				With("kubernetes.io/serviceaccount/service-account.name", "web")
		}), "", ca.ReasonTokenUnbound},
		{"no pod", bound("pod", nil), "", ca.ReasonTokenUnbound},
		{"bound to a Secret", east(func(w *world) authntest.Claims {
			return w.web().With("kubernetes.io", map[string]any{
				"namespace": "shop", "serviceaccount": map[string]any{"name": "web", "uid": "1"}, "secret": map[string]any{"name": "s", "uid": "2"},
			})
		}), "", ca.ReasonTokenUnbound},
		{"pod without a uid", bound("pod", map[string]any{"name": "web-1"}), "", ca.ReasonTokenUnbound},
		{"pod without a name", bound("pod", map[string]any{"uid": "1"}), "", ca.ReasonTokenUnbound},
		{"no node", bound("node", nil), "", ""},
		{"no service account", bound("serviceaccount", nil), "", ca.ReasonTokenSubject},
		{"no namespace", bound("namespace", nil), "", ca.ReasonTokenSubject},
		{"another service account", bound("serviceaccount", map[string]any{"name": "admin", "uid": "1"}), "", ca.ReasonTokenSubject},
		{"another namespace", bound("namespace", "other"), "", ca.ReasonTokenSubject},
		{"pod with an impossible name", bound("pod", map[string]any{"name": "web/../x", "uid": "1"}), "", ca.ReasonTokenMalformed},
		{"pod with an impossible uid", bound("pod", map[string]any{"name": "web", "uid": "1\n2"}), "", ca.ReasonTokenMalformed},
		{"pod with a uid of 65 characters", bound("pod", map[string]any{"name": "web", "uid": strings.Repeat("1", 65)}), "", ca.ReasonTokenMalformed},
		{"node with an impossible name", bound("node", map[string]any{"name": `n",`, "uid": "1"}), "", ca.ReasonTokenMalformed},
		{"pod as a string", bound("pod", "web"), "", ca.ReasonTokenMalformed},
		{"bound objects as a list", with("kubernetes.io", []string{}), "", ca.ReasonTokenMalformed},
		{"bound objects null", payload(func(s string) string {
			return strings.Replace(s, `"kubernetes.io":{`, `"kubernetes.io":null,"x":{`, 1)
		}), "", ca.ReasonTokenMalformed},
	}
	for _, row := range rows {
		row.run(t, w)
	}
	t.Run("not where the operator asks for none", func(t *testing.T) {
		cluster := w.east.Cluster(t, "east")
		cluster.RequireBound = authn.BoundNone
		w.auth = newAuthenticator(t, authn.Config{TrustDomain: domain(t), Now: w.clock.Now, Kubernetes: []authn.KubernetesConfig{cluster}})
		for _, row := range []tokenRow{
			{"no pod", bound("pod", nil), "", ""},
			{"no bound objects", with("kubernetes.io", nil), "", ca.ReasonTokenUnbound},
			{"another service account", bound("serviceaccount", map[string]any{"name": "admin", "uid": "1"}), "", ca.ReasonTokenSubject},
		} {
			row.run(t, w)
		}
	})
}

func TestTokenHeader(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	for _, row := range []tokenRow{
		{"with a type", header(`{"alg":"ES256","kid":"%s","typ":"JWT"}`), "", ""},
		{"with a thumbprint", header(`{"alg":"ES256","kid":"%s","typ":"jwt","x5t":"a"}`), "", ""},
		{"another type", header(`{"alg":"ES256","kid":"%s","typ":"secevent+jwt"}`), "", ca.ReasonTokenHeader},
		{"crit", header(`{"alg":"ES256","kid":"%s","crit":["exp"]}`), "", ca.ReasonTokenHeader},
		{"jku", header(`{"alg":"ES256","kid":"%s","jku":"https://evil.example/jwks"}`), "", ca.ReasonTokenHeader},
		{"jwk", header(`{"alg":"ES256","kid":"%s","jwk":{"kty":"EC"}}`), "", ca.ReasonTokenHeader},
		{"x5u", header(`{"alg":"ES256","kid":"%s","x5u":"https://evil.example/c"}`), "", ca.ReasonTokenHeader},
		{"x5c", header(`{"alg":"ES256","kid":"%s","x5c":["MIIB"]}`), "", ca.ReasonTokenHeader},
		{"b64", header(`{"alg":"ES256","kid":"%s","b64":false}`), "", ca.ReasonTokenHeader},
		{"zip", header(`{"alg":"ES256","kid":"%s","zip":"DEF"}`), "", ca.ReasonTokenHeader},
		{"alg in another case", header(`{"ALG":"ES256","kid":"%s"}`), "", ca.ReasonTokenHeader},
		{"without a key id", header(`{"alg":"ES256"}`), "", ca.ReasonTokenHeader},
		{"key id of 257 bytes", header(`{"alg":"ES256","kid":"` + strings.Repeat("k", 257) + `"}`), "", ca.ReasonTokenHeader},
		{"key id is a number", header(`{"alg":"ES256","kid":1}`), "", ca.ReasonTokenMalformed},
		{"key id is a path", header(`{"alg":"ES256","kid":"../../../../dev/null"}`), "", ca.ReasonTokenKeyUnknown},
		{"key id is a URL", header(`{"alg":"ES256","kid":"https://evil.example/key"}`), "", ca.ReasonTokenKeyUnknown},
		{"key id is SQL", header(`{"alg":"ES256","kid":"x' UNION SELECT 'key"}`), "", ca.ReasonTokenKeyUnknown},
		{"alg twice", header(`{"alg":"ES256","alg":"none","kid":"%s"}`), "", ca.ReasonTokenMalformed},
		{"kid twice, once escaped", header(`{"alg":"ES256","kid":"%s","k\u0069d":"%s"}`), "", ca.ReasonTokenMalformed},
		{"not JSON", header(`alg=ES256`), "", ca.ReasonTokenMalformed},
		{"bytes after it", header(`{"alg":"ES256","kid":"%s"}{}`), "", ca.ReasonTokenMalformed},
		{"a list", header(`["ES256"]`), "", ca.ReasonTokenMalformed},
		{"no algorithm", header(`{"kid":"%s"}`), "", ca.ReasonTokenAlgorithm},
		{"algorithm none", header(`{"alg":"none","kid":"%s"}`), "", ca.ReasonTokenAlgorithm},
		{"algorithm NONE", header(`{"alg":"NONE","kid":"%s"}`), "", ca.ReasonTokenAlgorithm},
		{"algorithm in lower case", header(`{"alg":"es256","kid":"%s"}`), "", ca.ReasonTokenAlgorithm},
		{"algorithm EdDSA", header(`{"alg":"EdDSA","kid":"%s"}`), "", ca.ReasonTokenAlgorithm},
		{"algorithm ES512", header(`{"alg":"ES512","kid":"%s"}`), "", ca.ReasonTokenAlgorithm},
		{"algorithm of an encryption", header(`{"alg":"RSA-OAEP","kid":"%s"}`), "", ca.ReasonTokenAlgorithm},
		{"algorithm of another key", header(`{"alg":"RS256","kid":"%s"}`), "", ca.ReasonTokenAlgorithm},
		{"algorithm of another curve", header(`{"alg":"ES384","kid":"%s"}`), "", ca.ReasonTokenAlgorithm},
	} {
		row.run(t, w)
	}
}

func TestTokenForm(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	honest := func(t *testing.T, w *world) string { return w.east.Token(t, w.web()) }
	edit := func(f func(token string) string) func(*testing.T, *world) string {
		return func(t *testing.T, w *world) string { return f(honest(t, w)) }
	}
	literal := func(s string) func(*testing.T, *world) string { return func(*testing.T, *world) string { return s } }
	for _, row := range []tokenRow{
		{"honest", honest, "", ""},
		{"one segment", literal("token"), "", ca.ReasonTokenMalformed},
		{"only dots", literal(".."), "", ca.ReasonTokenMalformed},
		{"16 KiB of dots", literal(strings.Repeat(".", 16<<10)), "", ca.ReasonTokenMalformed},
		{"a million dots", literal(strings.Repeat(".", 1_000_000)), "", ca.ReasonTokenTooLarge},
		{"1 MiB", literal(strings.Repeat("a", 1<<20)), "", ca.ReasonTokenTooLarge},
		{"16 KiB and a byte", literal(strings.Repeat("a", 16<<10+1)), "", ca.ReasonTokenTooLarge},
		{"two segments", edit(func(s string) string { return s[:strings.LastIndexByte(s, '.')] }), "", ca.ReasonTokenMalformed},
		{"four segments", edit(func(s string) string { return s + ".e30" }), "", ca.ReasonTokenMalformed},
		{"five segments of an encrypted token", literal("e30.e30.e30.e30.e30"), "", ca.ReasonTokenMalformed},
		{"the scheme left on it", edit(func(s string) string { return "Bearer " + s }), "", ca.ReasonTokenMalformed},
		{"line end inside", edit(func(s string) string { return s[:10] + "\n" + s[10:] }), "", ca.ReasonTokenMalformed},
		{"line end after it", edit(func(s string) string { return s + "\r\n" }), "", ca.ReasonTokenMalformed},
		{"padding", edit(func(s string) string { return s + "==" }), "", ca.ReasonTokenMalformed},
		{"standard base64", edit(func(s string) string { return s[:len(s)-2] + "+/" }), "", ca.ReasonTokenMalformed},
		{"no signature", edit(func(s string) string { return s[:strings.LastIndexByte(s, '.')+1] }), "", ca.ReasonTokenSignature},
		{"short signature", edit(func(s string) string { return s[:len(s)-2] }), "", ca.ReasonTokenSignature},
		{"long signature", edit(func(s string) string { return s + "AAAA" }), "", ca.ReasonTokenSignature},
		{"zero signature", edit(func(s string) string {
			return s[:strings.LastIndexByte(s, '.')+1] + authntest.Encode(make([]byte, 64))
		}), "", ca.ReasonTokenSignature},
		{"claims changed after signing", func(t *testing.T, w *world) string {
			mine, other := strings.Split(honest(t, w), "."), strings.Split(w.east.Token(t, authntest.ServiceAccount("shop", "admin", w.now)), ".")
			return mine[0] + "." + other[1] + "." + mine[2]
		}, "", ca.ReasonTokenSignature},
		{"payload is not JSON", payload(func(string) string { return "claims" }), "", ca.ReasonTokenMalformed},
		{"payload with bytes after it", payload(func(s string) string { return s + "{}" }), "", ca.ReasonTokenMalformed},
		{"claim twice", payload(func(s string) string {
			return strings.Replace(s, `"sub":`, `"sub":"system:serviceaccount:shop:admin","sub":`, 1)
		}), "", ca.ReasonTokenMalformed},
		{"unknown claim twice", payload(func(s string) string { return `{"x":1,"x":2,` + s[1:] }), "", ca.ReasonTokenMalformed},
		{"bound claim twice", payload(func(s string) string {
			return strings.Replace(s, `"namespace":`, `"namespace":"other","namespace":`, 1)
		}), "", ca.ReasonTokenMalformed},
		{"claim twice in an unknown object", payload(func(s string) string { return `{"x":{"a":1,"a":2},` + s[1:] }), "", ca.ReasonTokenMalformed},
		{"invalid UTF-8", payload(func(s string) string { return `{"x":"` + "\xff" + `",` + s[1:] }), "", ca.ReasonTokenMalformed},
		{"NUL in a claim", payload(func(s string) string { return `{"x":"` + "\x00" + `",` + s[1:] }), "", ca.ReasonTokenMalformed},
		{"nested 1000 deep", payload(func(s string) string {
			return `{"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `,` + s[1:]
		}), "", ca.ReasonTokenMalformed},
		{"iss in another case is another claim", payload(func(s string) string { return strings.Replace(s, `"iss"`, `"ISS"`, 1) }), "", ca.ReasonTokenIssuer},
		{"signed by a stranger under our key id", func(t *testing.T, w *world) string {
			stranger := authntest.NewIssuer(t, fips.ECDSAP256)
			stranger.KeyID = w.east.KeyID
			return stranger.Token(t, w.web())
		}, "", ca.ReasonTokenSignature},
	} {
		row.run(t, w)
	}
}

// TestPublicKeyIsNoSecret is the oldest attack on JWTs: the key that everybody
// may read, used as the key of an HMAC, in each spelling of it.
func TestPublicKeyIsNoSecret(t *testing.T) {
	w := newWorld(t, fips.RSA2048)
	der, err := x509.MarshalPKIXPublicKey(w.east.Key.Public())
	require.NoError(t, err)
	text, err := json.Marshal(w.web())
	require.NoError(t, err)
	for _, secret := range [][]byte{der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), w.east.JWKS(t)} {
		signed := authntest.Encode([]byte(`{"alg":"HS256","kid":"`+w.east.KeyID+`"}`)) + "." + authntest.Encode(text)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(signed))
		caller, err := w.authenticate(signed+"."+authntest.Encode(mac.Sum(nil)), "")
		refused(t, ca.ReasonTokenAlgorithm, caller, err)
	}
}
