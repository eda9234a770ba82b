package ca_test

import (
	"crypto/x509"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// svidRules are the faults that path validation does not look at.
var svidRules = []string{"leaf-one-uri", "leaf-spiffe-id", "leaf-identity", "leaf-is-ca", "leaf-key-usage"}

// verifies asks crypto/x509.
func verifies(chain, anchors []*x509.Certificate, o ca.DiagnoseOptions) bool {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, a := range anchors {
		roots.AddCert(a)
	}
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: o.At, KeyUsages: []x509.ExtKeyUsage{o.Usage},
	})
	return err == nil
}

// faults are the findings that are not OK, as "level id subject".
func faults(found []ca.Finding) []string {
	list := []string{}
	for _, f := range found {
		if f.Level != ca.LevelOK {
			list = append(list, string(f.Level)+" "+f.ID+" "+f.Subject)
		}
	}
	return list
}

// requireAgreement holds that a chain fails here exactly when it does there.
func requireAgreement(t *testing.T, chain, anchors []*x509.Certificate, o ca.DiagnoseOptions) {
	t.Helper()
	found := ca.Diagnose(chain, anchors, o)
	failed := slices.ContainsFunc(found, func(f ca.Finding) bool {
		return f.Level == ca.LevelFail && !slices.Contains(svidRules, f.ID)
	})
	require.Equal(t, verifies(chain, anchors, o), !failed, "crypto/x509 and Diagnose differ on %v: %v", names(chain), found)
}

func names(chain []*x509.Certificate) []string {
	var list []string
	for _, c := range chain {
		list = append(list, c.Subject.CommonName)
	}
	return list
}

type diagnosisRow struct {
	name           string
	chain, anchors []*x509.Certificate
	edit           func(*ca.DiagnoseOptions)
	want           []string // faults; nil: none
	detail         string   // of the first fault
}

const me = "spiffe://cluster.local/ns/a/sa/b"

func TestDiagnoseNamesEveryFaultOfAPath(t *testing.T) {
	w := newWorld(t)
	root, leaf := certs(w.root), w.leaf
	under := func(parent *holder, changes ...change) *holder { return mintLeaf(t, parent, changes...) }
	expired, future := under(w.inter, lives(-2*time.Hour, -time.Hour)), under(w.inter, lives(time.Minute, time.Hour))
	oldInter := mintCA(t, "old inter", w.root, lives(-48*time.Hour, -30*time.Minute))
	deepInter := mintCA(t, "deep inter", w.inter)
	noBit := mintCA(t, "no ca", w.root, noCA)
	noSign := mintCA(t, "no sign", w.root, usageBits(x509.KeyUsageCRLSign))
	strange := mintCA(t, "strange", w.root, strangeExtension)
	wrongKeyID := mintCAWithKey(t, "inter", w.inter.key, w.root, func(c *x509.Certificate) { c.SubjectKeyId = []byte{1, 2, 3} })
	limited := mintCA(t, "limited", w.root, onlyTrustDomain("elsewhere.example"))

	rows := []diagnosisRow{
		{name: "good", chain: certs(leaf, w.inter), anchors: root},
		{name: "good with its root", chain: certs(leaf, w.inter, w.root), anchors: root},
		{name: "good among other anchors", chain: certs(leaf, w.inter), anchors: certs(w.other, w.next, w.root)},
		{name: "leaf under its anchor", chain: certs(w.direct), anchors: root},
		{name: "a CA is judged as one", chain: certs(w.inter), anchors: root},
		{name: "an anchor alone", chain: root, anchors: root},
		{name: "a leaf that is its own anchor", chain: certs(leaf), anchors: certs(leaf)},
		{name: "more than is needed", chain: certs(leaf, w.inter, w.otherInter), anchors: root},

		{name: "expired leaf", chain: certs(expired, w.inter), anchors: root, want: []string{"fail expired " + me}, detail: "1h0m0s earlier"},
		{name: "leaf of the future", chain: certs(future, w.inter), anchors: root, want: []string{"fail not-yet-valid " + me}, detail: "1m0s later"},
		{name: "expired intermediate", chain: certs(under(oldInter), oldInter), anchors: root, want: []string{"fail expired old inter"}},
		{name: "expired anchor", chain: certs(under(w.expiredRoot)), anchors: certs(w.expiredRoot), want: []string{"fail expired expired root"}},
		{name: "an end that is near", chain: certs(under(w.inter, lives(-24*time.Hour, time.Hour)), w.inter), anchors: root, want: []string{"warn ends-soon " + me}},

		{name: "no intermediate", chain: certs(leaf), anchors: root, want: []string{"fail anchor-missing " + me}, detail: "neither in the chain nor one of the 1 trust anchors; there is root, sha256 "},
		{name: "another anchor", chain: certs(leaf, w.inter), anchors: certs(w.other), want: []string{"fail anchor-missing inter"}, detail: `issuer "CN=root"`},
		{name: "another anchor, and the root comes along", chain: certs(leaf, w.inter, w.root), anchors: certs(w.other), want: []string{"fail anchor-missing root"}, detail: "it is a root, sha256 "},
		{name: "another anchor, a root and more come along", chain: certs(leaf, w.inter, w.root, w.otherInter), anchors: certs(w.next), want: []string{"fail anchor-missing root"}},
		{name: "no anchors", chain: certs(leaf, w.inter), want: []string{"fail anchor-missing inter"}, detail: "there are no trust anchors"},
		{name: "another intermediate", chain: certs(leaf, w.otherInter), anchors: certs(w.other), want: []string{"fail issuer-name " + me}, detail: `its issuer is "CN=inter", the next certificate is "CN=other inter"`},
		{name: "another key of that name", chain: certs(leaf, w.twin), anchors: root, want: []string{"fail key-id " + me}},
		{name: "another key of that name, unmarked", chain: certs(leaf, mintCAWithoutID(t, "inter", w.root)), anchors: root, want: []string{"fail signature " + me}},
		{name: "forged leaf", chain: certs(forged(t, leaf), w.inter), anchors: root, want: []string{"fail signature " + me}},
		{name: "forged intermediate", chain: certs(leaf, forged(t, w.inter)), anchors: root, want: []string{"fail signature inter"}},
		{name: "key identifiers differ, the key does not", chain: certs(leaf, wrongKeyID), anchors: root, want: []string{"warn key-id " + me}},

		{name: "path too long", chain: certs(under(deepInter), deepInter, w.inter), anchors: root, want: []string{"fail path-length inter"}, detail: "its path length is 0, but 1 CA certificates are below it"},
		{name: "not a CA", chain: certs(under(noBit), noBit), anchors: root, want: []string{"fail not-a-ca no ca"}},
		{name: "may not sign", chain: certs(under(noSign), noSign), anchors: root, want: []string{"fail no-cert-sign no sign"}},
		{name: "critical extension of a leaf", chain: certs(under(w.inter, strangeExtension), w.inter), anchors: root, want: []string{"fail critical-extension " + me}},
		{name: "critical extension of a CA", chain: certs(under(strange), strange), anchors: root, want: []string{"fail critical-extension strange"}},
		{name: "name constraints", chain: certs(under(limited), limited), anchors: root, want: []string{"fail refused " + me}, detail: "not permitted by any constraint"},
		{name: "SHA-1", chain: certs(under(w.inter, sha1), w.inter), anchors: root, want: []string{"fail signature-algorithm " + me}},
		{name: "an anchor of X.509 version 1", chain: certs(w.direct), anchors: certs(versionOne(w.root)), want: []string{"warn old-version root"}},

		{name: "several at once", chain: certs(under(oldInter, lives(-2*time.Hour, -time.Hour)), oldInter), anchors: certs(w.other),
			want: []string{"fail expired " + me, "fail expired old inter", "fail anchor-missing old inter"}},
		{name: "before everything", chain: certs(w.direct), anchors: root, edit: func(o *ca.DiagnoseOptions) { o.At = time.Time{} },
			want: []string{"fail not-yet-valid " + me, "fail not-yet-valid root"}},
	}
	runDiagnosis(t, rows)
}

func mintCAWithoutID(t testing.TB, name string, signer *holder) *holder {
	t.Helper()
	h := mintCA(t, name, signer)
	cert := *h.cert
	cert.SubjectKeyId = nil
	return &holder{&cert, h.key}
}

func TestDiagnoseHoldsTheLeafToWhatIsWanted(t *testing.T) {
	w := newWorld(t)
	root := certs(w.root)
	chainOf := func(changes ...change) []*x509.Certificate { return certs(mintLeaf(t, w.inter, changes...), w.inter) }
	wants := func(id string, usage x509.ExtKeyUsage) func(*ca.DiagnoseOptions) {
		return func(o *ca.DiagnoseOptions) {
			o.Usage = usage
			if id != "" {
				o.Identity = identity(t, id)
			}
		}
	}
	serverInter := mintCA(t, "server inter", w.root, extUsage(x509.ExtKeyUsageServerAuth))
	runDiagnosis(t, []diagnosisRow{
		{name: "the identity", chain: chainOf(), anchors: root, edit: wants(me, x509.ExtKeyUsageClientAuth)},
		{name: "another workload", chain: chainOf(), anchors: root, edit: wants(me+"b", 0), want: []string{"fail leaf-identity " + me}, detail: "it is not " + me + "b"},
		{name: "another trust domain", chain: chainOf(), anchors: root, edit: wants("spiffe://example.org/ns/a/sa/b", 0), want: []string{"fail leaf-identity " + me}, detail: `of trust domain "cluster.local", not of example.org`},
		{name: "two URIs", chain: chainOf(named(me, me+"b")), anchors: root, want: []string{"fail leaf-one-uri " + me}, detail: "it has 2 URI names: " + me + ", " + me + "b"},
		{name: "no URI", chain: chainOf(named(), func(c *x509.Certificate) { c.DNSNames = []string{"a.b"} }), anchors: root, want: []string{"fail leaf-one-uri a.b"}},
		{name: "a web address", chain: chainOf(named("https://a.b/c")), anchors: root, want: []string{"fail leaf-spiffe-id https://a.b/c"}},
		{name: "a trust domain", chain: chainOf(named("spiffe://cluster.local")), anchors: root, want: []string{"fail leaf-spiffe-id spiffe://cluster.local"}},
		{name: "a CA as a leaf", chain: certs(w.inter), anchors: root, edit: wants("", x509.ExtKeyUsageClientAuth), want: []string{"fail leaf-is-ca inter"}},
		{name: "a leaf that may sign", chain: chainOf(usageBits(x509.KeyUsageCertSign)), anchors: root, want: []string{"fail leaf-key-usage " + me}},
		{name: "client only", chain: chainOf(extUsage(x509.ExtKeyUsageClientAuth)), anchors: root, edit: wants("", x509.ExtKeyUsageServerAuth), want: []string{"fail leaf-ext-key-usage " + me}},
		{name: "client only, and a client", chain: chainOf(extUsage(x509.ExtKeyUsageClientAuth)), anchors: root, edit: wants("", x509.ExtKeyUsageClientAuth)},
		{name: "any usage", chain: chainOf(extUsage(x509.ExtKeyUsageAny)), anchors: root, edit: wants("", x509.ExtKeyUsageServerAuth)},
		{name: "no usage", chain: chainOf(extUsage()), anchors: root, edit: wants("", x509.ExtKeyUsageServerAuth)},
		{name: "a CA for servers only", chain: certs(mintLeaf(t, serverInter), serverInter), anchors: root, edit: wants("", x509.ExtKeyUsageClientAuth), want: []string{"fail ext-key-usage server inter"}},
		{name: "a CA of another trust domain", chain: chainOf(named("spiffe://example.org/x")), anchors: root, want: []string{"warn trust-domain inter"}, detail: "it is of spiffe://cluster.local, the leaf is of spiffe://example.org"},
	})
}

func identity(t testing.TB, s string) ca.Identity {
	t.Helper()
	id, err := ca.ParseIdentity(s)
	require.NoError(t, err)
	return id
}

// TestDiagnoseBuildsThePathThatIsThere is the heart of a rotation: one chain, with
// a bridge in it, and verifiers whose bundles are of different days.
func TestDiagnoseBuildsThePathThatIsThere(t *testing.T) {
	w := newWorld(t)
	chain := certs(w.nextLeaf, w.nextInter, w.bridge)
	pastBridge := mintCAWithKey(t, "next root", w.next.key, w.root, pathLength(1), lives(-48*time.Hour, -24*time.Hour))
	runDiagnosis(t, []diagnosisRow{
		{name: "fewer faults after more", chain: certs(w.nextLeaf, w.nextInter, pastBridge, w.bridge), anchors: certs(w.other), want: []string{"fail anchor-missing next root"}},
		{name: "the old anchor, by the bridge", chain: chain, anchors: certs(w.root)},
		{name: "the new anchor, past the bridge", chain: chain, anchors: certs(w.next)},
		{name: "both", chain: chain, anchors: certs(w.root, w.next)},
		{name: "no bridge", chain: certs(w.nextLeaf, w.nextInter), anchors: certs(w.root), want: []string{"fail anchor-missing next inter"}},
		{name: "an expired anchor below the bridge", chain: certs(w.nextLeaf, w.nextInter, w.expiredBridge), anchors: certs(w.expiredRoot), want: []string{"fail expired expired root"}},
		{name: "the better of two bridges", chain: certs(w.nextLeaf, w.nextInter, w.expiredBridge, w.bridge), anchors: certs(w.expiredRoot, w.other), want: []string{"fail expired expired root"}},
		{name: "the one bridge that works", chain: certs(w.nextLeaf, w.nextInter, w.expiredBridge, w.bridge), anchors: certs(w.expiredRoot, w.root)},
		{name: "out of order", chain: certs(w.nextLeaf, w.bridge, w.nextInter), anchors: certs(w.root), want: []string{"warn chain-order next root"}},
	})
	found := ca.Diagnose(chain, certs(w.next), ca.DiagnoseOptions{At: catest.Start})
	require.Contains(t, found, ca.Finding{ID: "not-needed", Level: ca.LevelOK, Subject: "next root", Detail: "the path to the anchor does without it"})
	require.Equal(t, "fail", string(ca.Diagnose(nil, certs(w.root), ca.DiagnoseOptions{At: catest.Start})[0].Level), "no chain")
}

func TestDiagnoseWarnsOfWhatThePolicyRefuses(t *testing.T) {
	w := newWorld(t)
	edwards, p521 := unapprovedKeys(t)
	policy, err := fips.PolicyByName("fips")
	require.NoError(t, err)
	underPolicy := func(o *ca.DiagnoseOptions) { o.FIPS = policy }
	bigInter := mintCAWithKey(t, "p521", p521, w.root)
	template := x509.Certificate{URIs: uris(me)}
	runDiagnosis(t, []diagnosisRow{
		{name: "approved", chain: certs(w.leaf, w.inter), anchors: certs(w.root), edit: underPolicy},
		{name: "Ed25519", chain: certs(mint(t, template, edwards, w.inter), w.inter), anchors: certs(w.root), edit: underPolicy, want: []string{"warn not-approved " + me}, detail: "key_ed25519"},
		{name: "P-521 above", chain: certs(mintLeaf(t, bigInter), bigInter), anchors: certs(w.root), edit: underPolicy, want: []string{"warn not-approved p521"}, detail: "policy fips"},
		{name: "nobody asked", chain: certs(mint(t, template, edwards, w.inter), w.inter), anchors: certs(w.root)},
		{name: "SHA-1", chain: certs(mintLeaf(t, w.inter, sha1), w.inter), anchors: certs(w.root), edit: underPolicy,
			want: []string{"warn not-approved " + me, "fail signature-algorithm " + me}, detail: "sigalg_sha1"},
	})
}

func runDiagnosis(t *testing.T, rows []diagnosisRow) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			o := ca.DiagnoseOptions{At: catest.Start}
			if r.edit != nil {
				r.edit(&o)
			}
			found := ca.Diagnose(r.chain, r.anchors, o)
			require.ElementsMatch(t, r.want, faults(found), "%v", found)
			if o.At.IsZero() {
				o.At = time.Unix(0, 0)
			}
			requireAgreement(t, r.chain, r.anchors, o)
			for _, f := range found {
				require.NotEmpty(t, f.Detail)
				if f.Level != ca.LevelOK {
					require.NotEmpty(t, f.Next, f.ID)
				}
			}
			if r.detail != "" {
				first := found[slices.IndexFunc(found, func(f ca.Finding) bool { return f.Level != ca.LevelOK })]
				require.Contains(t, first.Detail, r.detail)
			}
		})
	}
}

// TestDiagnoseAgreesWithTheVerifier tries every chain of up to three certificates
// of a world against several bundles, in time and after everything.
func TestDiagnoseAgreesWithTheVerifier(t *testing.T) {
	w := newWorld(t)
	bundles := [][]*x509.Certificate{certs(w.root), certs(w.next, w.expiredRoot), certs(w.root, w.next), certs(w.other, w.inter)}
	for _, leaf := range certs(w.leaf, w.nextLeaf, w.direct, w.bridge) {
		for _, first := range w.all() {
			for _, anchors := range bundles {
				for _, second := range w.all() {
					requireAgreement(t, []*x509.Certificate{leaf, first, second}, anchors, ca.DiagnoseOptions{At: catest.Start})
				}
				requireAgreement(t, []*x509.Certificate{leaf, first}, anchors, ca.DiagnoseOptions{At: catest.Start.Add(30 * 24 * time.Hour)})
			}
		}
	}
}

// FuzzDiagnose puts chains and bundles together by the bytes of the input: it must
// agree with crypto/x509, whatever the pile.
func FuzzDiagnose(f *testing.F) {
	f.Add([]byte{0, 4}, []byte{10}, byte(0))
	f.Add([]byte{2, 7, 8}, []byte{10, 12}, byte(1))
	f.Add([]byte{2, 8, 7, 9, 4, 4}, []byte{13, 11}, byte(2))
	all := newWorld(f).all()
	pick := func(by []byte) []*x509.Certificate {
		var list []*x509.Certificate
		for _, b := range by[:min(len(by), 8)] {
			list = append(list, all[int(b)%len(all)])
		}
		return list
	}
	f.Fuzz(func(t *testing.T, chain, anchors []byte, how byte) {
		if len(chain) == 0 {
			return
		}
		o := ca.DiagnoseOptions{At: catest.Start.Add(time.Duration(int8(how)) * 6 * time.Hour)}
		if how&1 == 1 {
			o.Usage = x509.ExtKeyUsageClientAuth
		}
		requireAgreement(t, pick(chain), pick(anchors), o)
	})
}

// TestEveryFindingIsDocumented holds docs/checks.md to the findings of the source,
// both ways.
func TestEveryFindingIsDocumented(t *testing.T) {
	inSource := map[string]bool{}
	// server-name is added by ca verify, which alone knows how a server was called.
	for _, file := range []string{"diagnose.go", "diagnosepath.go", "../cmd/ca/verify.go"} {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`(?:\.(?:ok|warn|fail)\(|ID: |\bid :?= |id, getBundle = )"([a-z-]+)"`).FindAllSubmatch(raw, -1) {
			inSource[string(m[1])] = true
		}
	}
	raw, err := os.ReadFile("../docs/checks.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(raw), "\n# A chain: ca verify\n")
	require.True(t, ok)
	documented := map[string]bool{}
	for _, s := range strings.Split(section, "\n## ")[1:] {
		name, body, _ := strings.Cut(s, "\n")
		require.NotEmpty(t, strings.TrimSpace(body), name)
		documented[name] = true
	}
	require.Equal(t, inSource, documented)
	require.Greater(t, len(documented), 25)
}
