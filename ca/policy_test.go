package ca_test

import (
	"testing"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

func TestFirstMatchingRuleDecides(t *testing.T) {
	c := catest.New(t)
	workload, err := ca.NewProfile(ca.ProfileConfig{Name: "workload"})
	require.NoError(t, err)
	short, err := ca.NewProfile(ca.ProfileConfig{Name: "short", MaxTTL: time.Hour})
	require.NoError(t, err)
	key := catest.GenerateKey(t, fips.ECDSAP256)
	blocked := catest.GenerateKey(t, fips.ECDSAP256)
	policy, err := ca.NewPolicy(ca.PolicyConfig{
		TrustDomain: c.Domain, Profiles: []*ca.Profile{workload, short},
		BlockedKeys: [][32]byte{c.Request(t, blocked, "").KeyHash()},
		Rules: []ca.RuleConfig{
			{Name: "no guests", Identities: []string{"spiffe://cluster.local/ns/guest/*"}, Deny: true},
			{Name: "one exact", Identities: []string{"spiffe://cluster.local/ns/default/sa/db"}, Profile: "short"},
			{Name: "cluster a", Clusters: []string{"a"}, Profile: "workload"},
			{Name: "machines", Methods: []ca.Method{ca.MethodJoinToken}, Profile: "short", MaxTTL: 10 * time.Minute},
		},
	})
	require.NoError(t, err)
	caller := func(id string, e ca.Evidence) ca.Caller {
		identity, err := ca.ParseIdentity(id)
		require.NoError(t, err)
		caller, err := ca.NewCaller(identity, e)
		require.NoError(t, err)
		return caller
	}
	k8s := func(cluster string) ca.Evidence { return ca.Evidence{Method: ca.MethodKubernetes, Cluster: cluster} }
	rows := []struct {
		name    string
		caller  ca.Caller
		profile string
		rule    string
		want    ca.Reason
	}{
		{"a denied prefix", caller("spiffe://cluster.local/ns/guest/sa/x", k8s("a")), "", "", ca.ReasonPolicy},
		{"a prefix ends at a slash", caller("spiffe://cluster.local/ns/guests/sa/x", k8s("a")), "", "cluster a", ""},
		{"an exact identity", caller("spiffe://cluster.local/ns/default/sa/db", k8s("b")), "", "one exact", ""},
		{"an exact identity is no prefix", caller("spiffe://cluster.local/ns/default/sa/db2", k8s("b")), "", "", ca.ReasonPolicy},
		{"by method", caller("spiffe://cluster.local/vm/1", ca.Evidence{Method: ca.MethodJoinToken}), "", "machines", ""},
		{"no rule", caller("spiffe://cluster.local/ns/x/sa/y", k8s("b")), "", "", ca.ReasonPolicy},
		{"another trust domain", caller("spiffe://other/ns/x/sa/y", k8s("a")), "", "", ca.ReasonPolicy},
		{"the process itself needs a rule that names it", caller("spiffe://cluster.local/x", ca.Evidence{Method: ca.MethodLocal, Cluster: "a"}), "", "", ca.ReasonPolicy},
		{"a profile that exists but is not granted", caller("spiffe://cluster.local/ns/x/sa/y", k8s("a")), "short", "", ca.ReasonPolicy},
		{"a profile that does not exist", caller("spiffe://cluster.local/ns/x/sa/y", k8s("a")), "nope", "", ca.ReasonProfile},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			r, err := ca.ParseRequest(catest.CSR(t, key, ""), ca.RequestOptions{Now: catest.Start, Profile: row.profile}, c.FIPS)
			require.NoError(t, err)
			grant, err := policy.Grant(row.caller, r)
			if row.want != "" {
				require.Equal(t, row.want, ca.ReasonOf(err), "%v", err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, row.rule, grant.Rule())
		})
	}
	_, err = policy.Grant(caller("spiffe://cluster.local/ns/x/sa/y", k8s("a")), c.Request(t, blocked, ""))
	require.Equal(t, ca.ReasonKeyBlocked, ca.ReasonOf(err))
}

func TestPolicyThatCannotMeanWhatItSaysIsRefused(t *testing.T) {
	td, err := ca.ParseTrustDomain("cluster.local")
	require.NoError(t, err)
	profile, err := ca.NewProfile(ca.ProfileConfig{Name: "workload"})
	require.NoError(t, err)
	rows := map[string]ca.RuleConfig{
		"no name":                {Profile: "workload"},
		"unknown profile":        {Name: "r", Profile: "nope"},
		"other trust domain":     {Name: "r", Profile: "workload", Identities: []string{"spiffe://other/*"}},
		"star inside a segment":  {Name: "r", Profile: "workload", Identities: []string{"spiffe://cluster.local/ns/a*"}},
		"star everywhere":        {Name: "r", Profile: "workload", Identities: []string{"*"}},
		"lifetime below minimum": {Name: "r", Profile: "workload", MaxTTL: time.Second},
	}
	for name, rule := range rows {
		t.Run(name, func(t *testing.T) {
			_, err := ca.NewPolicy(ca.PolicyConfig{TrustDomain: td, Profiles: []*ca.Profile{profile}, Rules: []ca.RuleConfig{rule}})
			require.Error(t, err)
		})
	}
	_, err = ca.NewPolicy(ca.PolicyConfig{TrustDomain: td, Profiles: []*ca.Profile{profile}, Rules: []ca.RuleConfig{
		{Name: "r", Profile: "workload", Identities: []string{"spiffe://cluster.local/*"}},
	}})
	require.NoError(t, err)
}

func TestProfileOutsideTheBoundsIsRefused(t *testing.T) {
	rows := map[string]ca.ProfileConfig{
		"name":            {Name: "No Spaces"},
		"minimum":         {Name: "p", MinTTL: time.Minute},
		"maximum":         {Name: "p", MaxTTL: 25 * time.Hour},
		"default":         {Name: "p", DefaultTTL: time.Hour, MaxTTL: 30 * time.Minute},
		"backdate":        {Name: "p", Backdate: 6 * time.Minute},
		"verifiers":       {Name: "p", Verifiers: ca.ClassPush},
		"wildcard name":   {Name: "p", DNSNames: []string{"*.example.com"}},
		"upper-case name": {Name: "p", DNSNames: []string{"Kedge"}},
	}
	for name, config := range rows {
		t.Run(name, func(t *testing.T) {
			_, err := ca.NewProfile(config)
			require.Error(t, err)
		})
	}
}
