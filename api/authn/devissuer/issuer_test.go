package devissuer_test

import (
	"testing"
	"time"

	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/api/authn/devissuer"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips/fipstest"
	"github.com/stretchr/testify/require"
)

// TestMain proves that the tests run on the backend that they were asked to run on.
func TestMain(m *testing.M) { fipstest.Main(m) }

func TestDevTokensPassTheSameChecksAsAClusters(t *testing.T) {
	issuer, err := devissuer.New()
	require.NoError(t, err)
	domain, err := ca.ParseTrustDomain("cluster.local")
	require.NoError(t, err)
	now := catest.Start
	auth, err := authn.New(authn.Config{
		TrustDomain: domain, Now: func() time.Time { return now },
		Kubernetes: []authn.KubernetesConfig{{
			Cluster: "dev", Default: true, Issuer: devissuer.URL, Audiences: []string{"istio-ca"},
			JWKS: authn.KeySource{Static: issuer.JWKS()},
		}},
	})
	require.NoError(t, err)
	t.Cleanup(auth.Close)
	for range 8 {
		token, err := issuer.Token(devissuer.ServiceAccount{Namespace: "default", Name: "default", Audience: "istio-ca", TTL: time.Hour}, now)
		require.NoError(t, err)
		caller, err := auth.Authenticate(t.Context(), authn.Credentials{Token: token}, nil)
		require.NoError(t, err)
		require.Equal(t, "spiffe://cluster.local/ns/default/sa/default", caller.Identity().String())
	}
}

func TestDevIssuerRefusals(t *testing.T) {
	issuer, err := devissuer.New()
	require.NoError(t, err)
	good := devissuer.ServiceAccount{Namespace: "default", Name: "default", Audience: "istio-ca", TTL: time.Hour}
	for name, change := range map[string]func(s *devissuer.ServiceAccount){
		"no namespace":            func(s *devissuer.ServiceAccount) { s.Namespace = "" },
		"no name":                 func(s *devissuer.ServiceAccount) { s.Name = "" },
		"namespace of two":        func(s *devissuer.ServiceAccount) { s.Namespace = "a:b" },
		"name that is a path":     func(s *devissuer.ServiceAccount) { s.Name = "a/b" },
		"no audience":             func(s *devissuer.ServiceAccount) { s.Audience = "" },
		"no lifetime":             func(s *devissuer.ServiceAccount) { s.TTL = 0 },
		"lifetime in the past":    func(s *devissuer.ServiceAccount) { s.TTL = -time.Hour },
		"lifetime below a second": func(s *devissuer.ServiceAccount) { s.TTL = time.Second - 1 },
	} {
		t.Run(name, func(t *testing.T) {
			bad := good
			change(&bad)
			_, err := issuer.Token(bad, catest.Start)
			require.Error(t, err)
		})
	}
}
