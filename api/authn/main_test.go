package authn_test

import (
	"context"
	"testing"
	"time"

	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/api/authn/authntest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
	"github.com/stretchr/testify/require"
)

// TestMain proves that the tests run on the backend that they were asked to run on.
func TestMain(m *testing.M) { fipstest.Main(m) }

// world is an authenticator with two clusters that share one issuer URL, as real
// clusters do, and one OIDC provider.
type world struct {
	auth  *authn.Authenticator
	clock *authntest.Clock
	now   time.Time
	east  *authntest.Issuer // the default cluster
	west  *authntest.Issuer // a cluster with namespace "shop" only
	ci    *authntest.Issuer // the OIDC provider
	join  *joinTokens
}

const ciURL = "https://ci.example.org"

func newWorld(t testing.TB, eastKey fips.KeyType) *world {
	t.Helper()
	w := &world{
		clock: authntest.NewClock(catest.Start), now: catest.Start, join: &joinTokens{},
		east: authntest.NewIssuer(t, eastKey), west: authntest.NewIssuer(t, fips.ECDSAP256), ci: authntest.NewIssuer(t, fips.ECDSAP384),
	}
	east, west := w.east.Cluster(t, "east"), w.west.Cluster(t, "west")
	west.Default, west.Namespaces = false, []string{"shop"}
	w.auth = newAuthenticator(t, authn.Config{
		TrustDomain: domain(t), Now: w.clock.Now, JoinTokens: w.join,
		Kubernetes: []authn.KubernetesConfig{east, west},
		OIDC: []authn.OIDCConfig{{
			Name: "ci", Issuer: ciURL, Audiences: []string{"kedge"}, JWKS: authn.KeySource{Static: w.ci.JWKS(t)},
			PathPrefix: "/ci", Claim: "repository", RequireClaims: map[string]string{"ref": "refs/heads/main"},
		}},
	})
	return w
}

func newAuthenticator(t testing.TB, c authn.Config) *authn.Authenticator {
	t.Helper()
	a, err := authn.New(c)
	require.NoError(t, err)
	t.Cleanup(a.Close)
	return a
}

func domain(t testing.TB) ca.TrustDomain {
	t.Helper()
	d, err := ca.ParseTrustDomain("cluster.local")
	require.NoError(t, err)
	return d
}

// web is the payload of an honest token of service account shop/web.
func (w *world) web() authntest.Claims { return authntest.ServiceAccount("shop", "web", w.now) }

// build is the payload of an honest token of the OIDC provider.
func (w *world) build() authntest.Claims {
	return authntest.Claims{
		"iss": ciURL, "sub": "repo:shop/web:ref:refs/heads/main", "aud": "kedge", "repository": "shop/web", "ref": "refs/heads/main",
		"iat": w.now.Unix(), "exp": w.now.Add(time.Hour).Unix(),
	}
}

func (w *world) authenticate(token, clusterID string) (ca.Caller, error) {
	return w.auth.Authenticate(context.Background(), authn.Credentials{Token: token, ClusterID: clusterID, Peer: "192.0.2.7:443"}, nil)
}

// refused holds that err is a refusal for exactly this reason, and that the
// caller which came with it is nobody.
func refused(t testing.TB, reason ca.Reason, caller ca.Caller, err error) {
	t.Helper()
	var refusal *ca.Error
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, reason, refusal.Reason, "%v", err)
	require.Equal(t, ca.Caller{}, caller)
}
