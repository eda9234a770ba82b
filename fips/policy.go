package fips

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Use says what a key under judgement is for.
type Use uint8

// The uses. The zero Use is invalid, so that a forgotten one is refused.
const (
	// UseLeaf is the key of a workload certificate.
	UseLeaf Use = iota + 1
	// UseCA is the key of a root, a bridge or an intermediate.
	UseCA
	// UseTLS is the key of one of Kedge's own servers.
	UseTLS
)

// Decision is the answer of a policy. A refusal always has a Code; an approval
// never has one.
type Decision struct {
	Allow bool
	// Code is a stable name in snake case, for records, metrics and clients.
	Code string
	// Standard is the document and clause that the refusal rests on.
	Standard string
	// Detail is for the record; it holds nothing secret.
	Detail string
}

// Policy says which keys and signature algorithms may enter. PolicyByName makes
// one; the zero value is invalid and refuses everything. A Policy is immutable.
type Policy struct {
	p *profile
}

// profile is one column of the policy table.
type profile struct {
	name        string
	defaultKey  KeyType
	curves      []string
	leafRSABits []int
	caRSABits   []int
	// hashes are the smallest first; certificate requests may use any.
	hashes []crypto.Hash
	// rsaHash is what Kedge itself signs with under an RSA key.
	rsaHash crypto.Hash
	// rsa2048Until is the last instant at which a leaf with an RSA-2048 key may
	// be valid; zero where that size is refused.
	rsa2048Until time.Time
}

// PolicyByName returns a policy by its name: "fips" (the default elsewhere),
// "fips-2031" (at least 128 bits of strength everywhere, as SP 800-131A will
// ask after 2030) or "cnsa1" (P-384, RSA of at least 3072 bits, SHA-384).
func PolicyByName(name string) (Policy, error) {
	sha2 := []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}
	switch name {
	case "fips":
		return Policy{&profile{
			name: name, defaultKey: ECDSAP256, curves: []string{"P-256", "P-384"},
			leafRSABits: []int{2048, 3072, 4096}, caRSABits: []int{3072, 4096},
			hashes: sha2, rsaHash: crypto.SHA256,
			// SP 800-131A r3 (draft): 112 bits of strength end with 2030.
			rsa2048Until: time.Date(2030, 12, 31, 23, 59, 59, 0, time.UTC),
		}}, nil
	case "fips-2031":
		return Policy{&profile{
			name: name, defaultKey: ECDSAP256, curves: []string{"P-256", "P-384"},
			leafRSABits: []int{3072, 4096}, caRSABits: []int{3072, 4096},
			hashes: sha2, rsaHash: crypto.SHA256,
		}}, nil
	case "cnsa1":
		return Policy{&profile{
			name: name, defaultKey: ECDSAP384, curves: []string{"P-384"},
			leafRSABits: []int{3072, 4096}, caRSABits: []int{3072, 4096},
			hashes: sha2[1:], rsaHash: crypto.SHA384,
		}}, nil
	}
	return Policy{}, fmt.Errorf("unknown policy %q: want fips, fips-2031 or cnsa1", name)
}

// Name returns the name the policy was found by, or "" for the zero value.
func (p Policy) Name() string {
	if p.p == nil {
		return ""
	}
	return p.p.name
}

// DefaultKeyType returns the key type Kedge makes when nobody chose one.
func (p Policy) DefaultKeyType() KeyType {
	if p.p == nil {
		return ""
	}
	return p.p.defaultKey
}

// SHA256 returns the hex SHA-256 of the policy's canonical table, so that two
// reports can be compared. It changes when, and only when, a rule changes.
func (p Policy) SHA256() string {
	if p.p == nil {
		return ""
	}
	sum := sha256.Sum256([]byte(p.p.canonical()))
	return hex.EncodeToString(sum[:])
}

// canonical writes the table in a fixed order, one rule a line. rulesVersion
// counts changes of the rules that are code, not table (policy_key.go).
func (p *profile) canonical() string {
	const rulesVersion = 1
	var b strings.Builder
	fmt.Fprintf(&b, "kedge-policy/v1\nname %s\nrules %d\ndefault %s\n", p.name, rulesVersion, p.defaultKey)
	fmt.Fprintf(&b, "curves %s\nleaf-rsa %v\nca-rsa %v\nrsa-exponent %d\n",
		strings.Join(p.curves, " "), p.leafRSABits, p.caRSABits, rsaExponent)
	for _, h := range p.hashes {
		fmt.Fprintf(&b, "hash %s\n", h)
	}
	fmt.Fprintf(&b, "rsa-hash %s\n", p.rsaHash)
	if !p.rsa2048Until.IsZero() {
		fmt.Fprintf(&b, "rsa-2048-until %s\n", p.rsa2048Until.Format(time.RFC3339))
	}
	return b.String()
}

// SchemeFor is the function SchemeFor, with the hash this policy wants: cnsa1
// signs with SHA-384 under an RSA key.
func (p Policy) SchemeFor(pub crypto.PublicKey) (SignatureScheme, error) {
	if p.p == nil {
		return SignatureScheme{}, fmt.Errorf("choosing signature scheme: invalid policy")
	}
	if _, ok := pub.(*rsa.PublicKey); ok && p.p.rsaHash == crypto.SHA384 {
		return schemeRSA(x509.SHA384WithRSA, crypto.SHA384, 0x0c), nil
	}
	return SchemeFor(pub)
}

// CheckSignatureAlgorithm judges the algorithm of a signature that somebody
// else made. Call it before CheckSignature: Go verifies SHA-1 requests in every
// mode but fips140=only, where it panics.
func (p Policy) CheckSignatureAlgorithm(a x509.SignatureAlgorithm) Decision {
	if p.p == nil {
		return refuse("policy_invalid", "", "no policy was chosen")
	}
	var h crypto.Hash
	switch a {
	case x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256:
		h = crypto.SHA256
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		h = crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		h = crypto.SHA512
	case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1:
		return refuse("sigalg_sha1", "SP 800-131A r2 §9", a.String())
	case x509.MD5WithRSA, x509.MD2WithRSA:
		return refuse("sigalg_md5", "FIPS 180-4", a.String())
	case x509.PureEd25519:
		return refuse("sigalg_ed25519", "CMVP #4735: not in the module", a.String())
	case x509.DSAWithSHA256:
		return refuse("sigalg_dsa", "FIPS 186-5 §1", a.String())
	default:
		return refuse("sigalg_unknown", "FIPS 186-5", "unknown signature algorithm")
	}
	if !slices.Contains(p.p.hashes, h) {
		return refuse("sigalg_hash", "CNSA 1.0", fmt.Sprintf("%v is weaker than policy %s allows", a, p.p.name))
	}
	return Decision{Allow: true}
}

func refuse(code, standard, detail string) Decision {
	return Decision{Code: code, Standard: standard, Detail: detail}
}
