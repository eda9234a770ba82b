package ca_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// A certificate does not say which cluster its holder's token came from. A rule
// that denies a cluster must not be passed by renewing what was issued before it.
func TestDenialOfAClusterHoldsForRenewals(t *testing.T) {
	c := catest.New(t)
	profile, err := ca.NewProfile(ca.ProfileConfig{Name: "workload"})
	require.NoError(t, err)
	policy, err := ca.NewPolicy(ca.PolicyConfig{
		TrustDomain: c.Domain, Profiles: []*ca.Profile{profile},
		Rules: []ca.RuleConfig{
			{Name: "lost cluster", Clusters: []string{"lost"}, Identities: []string{"spiffe://cluster.local/ns/default/*"}, Deny: true},
			{Name: "every workload", Profile: "workload"},
		},
	})
	require.NoError(t, err)
	request := c.Request(t, catest.GenerateKey(t, fips.ECDSAP256), "")
	for _, row := range []struct {
		name     string
		id       string
		evidence ca.Evidence
		allowed  bool
	}{
		{"by token of the cluster", "spiffe://cluster.local/ns/default/sa/web", ca.Evidence{Method: ca.MethodKubernetes, Cluster: "lost"}, false},
		{"by token of another cluster", "spiffe://cluster.local/ns/default/sa/web", ca.Evidence{Method: ca.MethodKubernetes, Cluster: "kept"}, true},
		{"by certificate", "spiffe://cluster.local/ns/default/sa/web", ca.Evidence{Method: ca.MethodCertificate}, false},
		{"by certificate of an identity that the rule does not name", "spiffe://cluster.local/vm/db", ca.Evidence{Method: ca.MethodCertificate}, true},
		{"by a token that belongs to no cluster", "spiffe://cluster.local/ns/default/sa/web", ca.Evidence{Method: ca.MethodOIDC}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			id, err := ca.ParseIdentity(row.id)
			require.NoError(t, err)
			caller, err := ca.NewCaller(id, row.evidence)
			require.NoError(t, err)
			_, err = policy.Grant(caller, request)
			if row.allowed {
				require.NoError(t, err)
				return
			}
			require.Equal(t, ca.ReasonPolicy, ca.ReasonOf(err))
		})
	}
}
