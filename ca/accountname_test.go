package ca_test

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/netip"
	"strings"
	"testing"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

const (
	accounts = "serviceaccount.identity.linkerd.cluster.local"
	ownName  = "web.default." + accounts
)

// linkerdPolicy grants every workload its name as a service account, for P-256
// keys only, and on request a leaf without it.
func linkerdPolicy(t testing.TB, c *catest.CA) *ca.Policy {
	t.Helper()
	linkerd, err := ca.NewProfile(ca.ProfileConfig{Name: "linkerd", AccountDomain: accounts, KeyTypes: []fips.KeyType{fips.ECDSAP256}})
	require.NoError(t, err)
	workload, err := ca.NewProfile(ca.ProfileConfig{Name: "workload"})
	require.NoError(t, err)
	host, err := ca.NewProfile(ca.ProfileConfig{Name: "host", DNSNames: []string{ownName}})
	require.NoError(t, err)
	policy, err := ca.NewPolicy(ca.PolicyConfig{
		TrustDomain: c.Domain, Profiles: []*ca.Profile{linkerd, workload, host},
		Rules: []ca.RuleConfig{
			{Name: "no guests", Identities: []string{"spiffe://cluster.local/ns/guest/*"}, Deny: true},
			{Name: "linkerd", Profile: "linkerd"}, {Name: "workload", Profile: "workload"}, {Name: "host", Profile: "host"},
		},
	})
	require.NoError(t, err)
	return policy
}

// namedCSR is what Linkerd's proxy-identity writes: the name as common name and as
// the one DNS name (linkerd2 proxy-identity/main.go).
func namedCSR(t testing.TB, key crypto.Signer, name string) []byte {
	t.Helper()
	der, err := fips.CreateRequest(&x509.CertificateRequest{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}, key)
	require.NoError(t, err)
	return der
}

func TestACSRForADNSNameNamesItAndNothingElse(t *testing.T) {
	key := catest.GenerateKey(t, fips.ECDSAP256)
	cn := func(tag uint8, s string) []byte { return catest.Subject(oidCN, tag, s) }
	own := catest.SAN(catest.Name(2, ownName))
	rows := []struct {
		name string
		csr  catest.RawCSR
		want ca.Reason // "" is read
	}{
		{"common name and DNS name", catest.RawCSR{Subject: cn(19, ownName), Extensions: [][]byte{own}}, ""},
		{"the common name in UTF-8", catest.RawCSR{Subject: cn(12, ownName), Extensions: [][]byte{own}}, ""},
		{"no subject", catest.RawCSR{Extensions: [][]byte{own}}, ""},
		{"usages of a workload", catest.RawCSR{Extensions: [][]byte{own, bcNotCA}}, ""},

		{"no names at all", catest.RawCSR{Subject: cn(19, ownName)}, ca.ReasonCSRNames},
		{"an extension, but no names", catest.RawCSR{Subject: cn(19, ownName), Extensions: [][]byte{bcNotCA}}, ca.ReasonCSRNames},
		{"another DNS name", catest.RawCSR{Extensions: [][]byte{catest.SAN(catest.Name(2, "db.default."+accounts))}}, ca.ReasonCSRNames},
		{"the DNS name in capitals", catest.RawCSR{Extensions: [][]byte{catest.SAN(catest.Name(2, strings.ToUpper(ownName)))}}, ca.ReasonCSRNames},
		{"the DNS name with a dot at its end", catest.RawCSR{Extensions: [][]byte{catest.SAN(catest.Name(2, ownName+"."))}}, ca.ReasonCSRNames},
		{"a NUL after the DNS name", catest.RawCSR{Extensions: [][]byte{catest.SAN(catest.Name(2, ownName+"\x00.evil"))}}, ca.ReasonCSRNames},
		{"two DNS names", catest.RawCSR{Extensions: [][]byte{catest.SAN(catest.Name(2, ownName), catest.Name(2, "db.default."+accounts))}}, ca.ReasonCSRNames},
		{"the DNS name twice", catest.RawCSR{Extensions: [][]byte{catest.SAN(catest.Name(2, ownName), catest.Name(2, ownName))}}, ca.ReasonCSRNames},
		{"a URI beside it", catest.RawCSR{Extensions: [][]byte{catest.SAN(catest.Name(2, ownName), catest.Name(6, ownURI))}}, ca.ReasonCSRNames},
		{"a URI instead", catest.RawCSR{Extensions: [][]byte{ownSAN}}, ca.ReasonCSRNames},
		{"an address beside it", catest.RawCSR{Extensions: [][]byte{catest.SAN(catest.Name(2, ownName), catest.Name(7, "\x7f\x00\x00\x01"))}}, ca.ReasonCSRNames},
		{"an e-mail name beside it", catest.RawCSR{Extensions: [][]byte{catest.SAN(catest.Name(2, ownName), catest.Name(1, "a@b"))}}, ca.ReasonCSRNames},
		{"the name in the e-mail form", catest.RawCSR{Extensions: [][]byte{catest.SAN(catest.Name(1, ownName))}}, ca.ReasonCSRNames},
		{"names twice", catest.RawCSR{Extensions: [][]byte{own, catest.SAN(catest.Name(2, "db.default."+accounts))}}, ca.ReasonCSRExtension},

		{"another common name", catest.RawCSR{Subject: cn(19, "db.default."+accounts), Extensions: [][]byte{own}}, ca.ReasonCSRSubject},
		{"the common name as a T61String", catest.RawCSR{Subject: cn(20, ownName), Extensions: [][]byte{own}}, ca.ReasonCSRSubject},
		{"the name as the organization", catest.RawCSR{Subject: catest.Subject(oidO, 19, ownName), Extensions: [][]byte{own}}, ca.ReasonCSRSubject},
		{"CA:TRUE", catest.RawCSR{Extensions: [][]byte{own, bcCA}}, ca.ReasonCSRCA},
		{"no proof of possession", catest.RawCSR{Extensions: [][]byte{own}, BadSig: true}, ca.ReasonCSRSignature},
		{"bytes after the request", catest.RawCSR{Extensions: [][]byte{own}, AfterOuter: []byte{0}}, ca.ReasonCSREncoding},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := ca.ParseRequest(row.csr.Encode(t, key), ca.RequestOptions{Now: catest.Start, DNSName: ownName}, fipsPolicy(t))
			if row.want == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, row.want, ca.ReasonOf(err), "%v", err)
		})
	}
	// Without a DNS name asked for, the same CSR stays refused.
	_, err := parse(t, namedCSR(t, key, ownName))
	require.Equal(t, ca.ReasonCSRSubject, ca.ReasonOf(err), "%v", err)
}

func TestADNSNameFollowsFromTheCallerAlone(t *testing.T) {
	c := catest.New(t)
	policy := linkerdPolicy(t, c)
	c.Authority.SetPolicy(policy)
	rows := []struct {
		name     string
		identity string
		asked    string // "" asks by a CSR without names
		profile  string
		want     string // the DNS name; "" has none
		reason   ca.Reason
	}{
		{"its own", "/ns/default/sa/web", ownName, "linkerd", ownName, ""},
		{"its own, granted by the first rule", "/ns/default/sa/web", ownName, "", ownName, ""},
		{"it asks for none and gets its own", "/ns/default/sa/web", "", "linkerd", ownName, ""},
		{"another profile grants none", "/ns/default/sa/web", "", "workload", "", ""},
		{"a label of 63 bytes", "/ns/default/sa/" + strings.Repeat("a", 63), strings.Repeat("a", 63) + ".default." + accounts, "linkerd", strings.Repeat("a", 63) + ".default." + accounts, ""},

		{"another account's", "/ns/default/sa/web", "db.default." + accounts, "linkerd", "", ca.ReasonCSRIdentity},
		{"another namespace's", "/ns/default/sa/web", "web.other." + accounts, "linkerd", "", ca.ReasonCSRIdentity},
		{"another control plane's", "/ns/default/sa/web", "web.default.serviceaccount.identity.other.cluster.local", "linkerd", "", ca.ReasonCSRIdentity},
		{"a profile without names", "/ns/default/sa/web", ownName, "workload", "", ca.ReasonCSRIdentity},
		{"a profile with that name for everybody", "/ns/default/sa/web", ownName, "host", "", ca.ReasonCSRIdentity},
		{"a denied namespace", "/ns/guest/sa/web", "web.guest." + accounts, "linkerd", "", ca.ReasonPolicy},
		{"an account with a dot", "/ns/default/sa/a.b", "a.b.default." + accounts, "linkerd", "", ca.ReasonCSRIdentity},
		{"an account with a dot that asks for none", "/ns/default/sa/a.b", "", "linkerd", "", ca.ReasonPolicy},
		{"capitals", "/ns/default/sa/Web", "Web.default." + accounts, "linkerd", "", ca.ReasonCSRIdentity},
		{"an underscore", "/ns/default/sa/w_b", "w_b.default." + accounts, "linkerd", "", ca.ReasonCSRIdentity},
		{"a label of 64 bytes", "/ns/default/sa/" + strings.Repeat("a", 64), strings.Repeat("a", 64) + ".default." + accounts, "linkerd", "", ca.ReasonCSRIdentity},
		{"not a service account", "/ci/web", "web.ci." + accounts, "linkerd", "", ca.ReasonCSRIdentity},
		{"a longer path", "/ns/default/sa/web/x", ownName, "linkerd", "", ca.ReasonCSRIdentity},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			identity, err := ca.ParseIdentity("spiffe://cluster.local" + row.identity)
			require.NoError(t, err)
			caller, err := ca.NewCaller(identity, ca.Evidence{Method: ca.MethodKubernetes})
			require.NoError(t, err)
			key := catest.GenerateKey(t, fips.ECDSAP256)
			csr := catest.CSR(t, key, "")
			if row.asked != "" {
				csr = namedCSR(t, key, row.asked)
			}
			r, err := ca.ParseRequest(csr, ca.RequestOptions{Now: catest.Start, DNSName: row.asked, Profile: row.profile}, c.FIPS)
			require.NoError(t, err)
			issued, err := c.Authority.Issue(t.Context(), caller, r)
			if row.reason != "" {
				require.Equal(t, row.reason, ca.ReasonOf(err), "%v", err)
				return
			}
			require.NoError(t, err)
			leaf, err := x509.ParseCertificate(issued.Leaf)
			require.NoError(t, err)
			var want []string
			if row.want != "" {
				want = []string{row.want}
			}
			require.Equal(t, want, leaf.DNSNames)
			require.Len(t, leaf.URIs, 1)
			require.Equal(t, identity.String(), leaf.URIs[0].String())
			require.Empty(t, leaf.Subject.Names, "no common name, whatever its length")
			records := c.Recorder.Records()
			require.Equal(t, want, records[len(records)-1].DNSNames)
		})
	}
}

// TestAProfileCertifiesTheKeysOfItsPeers: Linkerd's proxies offer no certificate
// but one with a P-256 key.
func TestAProfileCertifiesTheKeysOfItsPeers(t *testing.T) {
	c := catest.New(t)
	policy := linkerdPolicy(t, c)
	for kind, ok := range map[fips.KeyType]bool{fips.ECDSAP256: true, fips.ECDSAP384: false, fips.RSA2048: false, fips.RSA3072: false} {
		r, err := ca.ParseRequest(namedCSR(t, catest.GenerateKey(t, kind), ownName), ca.RequestOptions{Now: catest.Start, DNSName: ownName}, c.FIPS)
		require.NoError(t, err)
		_, err = policy.Grant(c.Caller(t, "web"), r)
		if ok {
			require.NoError(t, err)
			continue
		}
		require.Equal(t, ca.ReasonKeyUnsupported, ca.ReasonOf(err), "%s: %v", kind, err)
	}
}

func TestADomainOfAccountsIsRefused(t *testing.T) {
	for name, c := range map[string]ca.ProfileConfig{
		"that is no DNS name":       {AccountDomain: "_x.local"},
		"in capitals":               {AccountDomain: "Cluster.local"},
		"with a dot at its end":     {AccountDomain: "cluster.local."},
		"that leaves no room":       {AccountDomain: strings.Repeat("a.", 125) + "a"},
		"beside names of a host":    {AccountDomain: accounts, DNSNames: []string{"a.example"}},
		"beside addresses":          {AccountDomain: accounts, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}},
		"for a profile of a server": {AccountDomain: accounts, ServerOnly: true},
	} {
		c.Name = "linkerd"
		_, err := ca.NewProfile(c)
		require.Error(t, err, name)
	}
}
