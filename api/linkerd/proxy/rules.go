package proxy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"

	identityapi "github.com/linkerd/linkerd2-proxy-api/go/identity"

	"github.com/kedge-ca/kedge/fips"
)

// Rule is one condition of the proxy.
type Rule struct {
	ID     string // stable, the same in docs/meshes/linkerd.md
	Source string // repository and file
	check  func(a *answer) error
}

// answer is what the server gave, read.
type answer struct {
	own        Identity
	anchors    *x509.CertPool
	now        time.Time
	validUntil time.Time
	hasExpiry  bool
	leaf       *x509.Certificate
	between    []*x509.Certificate
}

// Rules are the conditions under which the proxy uses an answer, in the order in
// which it meets them. Where Go's parser is stricter than webpki's, Go's stands.
func Rules() []Rule {
	return []Rule{
		{"valid-until", "linkerd2-proxy linkerd/proxy/identity-client/src/certify.rs", checkValidUntil},
		{"version-3", "webpki src/cert.rs", checkVersions},
		{"known-critical-extensions", "webpki src/cert.rs", checkExtensions},
		{"within-validity", "webpki src/verify_cert.rs", checkValidity},
		{"leaf-is-no-ca", "webpki src/verify_cert.rs", checkLeafIsNoCA},
		{"ca-above-leaf", "webpki src/verify_cert.rs", checkAuthorities},
		{"at-most-six-cas", "webpki src/verify_cert.rs", checkDepth},
		{"server-and-client-auth", "webpki src/verify_cert.rs; linkerd2-proxy linkerd/meshtls/src/creds/store.rs", checkUsages},
		{"signature-algorithms", "linkerd2-proxy linkerd/rustls/src/crypto.rs", checkAlgorithms},
		{"chain-to-anchors", "linkerd2-proxy linkerd/meshtls/src/creds/verify.rs", checkChain},
		{"names-itself", "linkerd2-proxy linkerd/meshtls/verifier/src/lib.rs", checkNamesItself},
		{"named-first", "linkerd2-proxy linkerd/meshtls/verifier/src/lib.rs", checkNamedFirst},
		{"key-is-its-own", "linkerd2-proxy linkerd/meshtls/src/creds/store.rs", checkOwnKey},
		{"key-is-p256", "linkerd2-proxy linkerd/meshtls/src/creds/store.rs", checkKeyIsP256},
	}
}

// Accept judges an answer as the proxy does and names the rule that it breaks.
func (i Issuer) Accept(own Identity, r *identityapi.CertifyResponse, now time.Time) (Certified, error) {
	a := &answer{own: own, anchors: i.Anchors, now: now, validUntil: r.GetValidUntil().AsTime(), hasExpiry: r.GetValidUntil() != nil}
	var err error
	if a.leaf, err = x509.ParseCertificate(r.GetLeafCertificate()); err != nil {
		return Certified{}, fmt.Errorf("the leaf is not one DER certificate: %w", err)
	}
	for n, der := range r.GetIntermediateCertificates() {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return Certified{}, fmt.Errorf("intermediate %d is not one DER certificate: %w", n, err)
		}
		a.between = append(a.between, c)
	}
	for _, rule := range Rules() {
		if err := rule.check(a); err != nil {
			return Certified{}, fmt.Errorf("rule %s (%s): %w", rule.ID, rule.Source, err)
		}
	}
	return Certified{Leaf: a.leaf, Chain: a.between, ValidUntil: a.validUntil, RefreshIn: refreshIn(a.validUntil.Sub(now))}, nil
}

// refreshIn is seven tenths of what is left, within LINKERD2_PROXY_IDENTITY_MIN_REFRESH
// and _MAX_REFRESH (linkerd/proxy/identity-client/src/certify.rs).
func refreshIn(left time.Duration) time.Duration {
	const atLeast, atMost = 10 * time.Second, 24 * time.Hour
	return min(max(left*7/10, atLeast), atMost)
}

// acceptServer judges the server. Name and chain were verified by the handshake, as
// strictly as the proxy's verifier does. Its list of schemes has no RSA-PSS, without
// which an RSA key signs nothing in TLS 1.3; Go's client would take it.
func acceptServer(s tls.ConnectionState) error {
	switch key := s.PeerCertificates[0].PublicKey.(type) {
	case *ecdsa.PublicKey:
	default:
		return fmt.Errorf("the server's key is %T, and the proxy verifies no RSA-PSS (linkerd/rustls/src/crypto.rs)", key)
	}
	if s.Version != tls.VersionTLS13 {
		return fmt.Errorf("the server chose TLS %x, and the proxy speaks 1.3 only (linkerd/rustls/src/crypto.rs)", s.Version)
	}
	return nil
}

func (a *answer) all() []*x509.Certificate {
	return append([]*x509.Certificate{a.leaf}, a.between...)
}

func checkValidUntil(a *answer) error {
	if !a.hasExpiry || !a.validUntil.After(a.now) {
		return fmt.Errorf("valid_until is missing or over: %s", a.validUntil)
	}
	return nil
}

func checkVersions(a *answer) error {
	for _, c := range a.all() {
		if c.Version != 3 {
			return fmt.Errorf("version %d", c.Version)
		}
	}
	return nil
}

// checkExtensions: key usage, alternative names, basic constraints, name
// constraints, CRL distribution points and extended key usage are known; another is
// skipped unless it is critical, and none may come twice.
func checkExtensions(a *answer) error {
	known := []int{15, 17, 19, 30, 31, 37}
	for _, c := range a.all() {
		var seen []string
		for _, e := range c.Extensions {
			isKnown := len(e.Id) == 4 && e.Id[:3].Equal(asn1.ObjectIdentifier{2, 5, 29}) && slices.Contains(known, e.Id[3])
			if e.Critical && !isKnown || slices.Contains(seen, e.Id.String()) {
				return fmt.Errorf("extension %s is critical and unknown, or there twice", e.Id)
			}
			seen = append(seen, e.Id.String())
		}
	}
	return nil
}

// checkValidity: an anchor's own dates are not looked at.
func checkValidity(a *answer) error {
	for _, c := range a.all() {
		if a.now.Before(c.NotBefore) || a.now.After(c.NotAfter) {
			return fmt.Errorf("%q is valid from %s to %s", c.Subject, c.NotBefore, c.NotAfter)
		}
	}
	return nil
}

func checkLeafIsNoCA(a *answer) error {
	if a.leaf.IsCA {
		return fmt.Errorf("the leaf is a CA")
	}
	return nil
}

func checkAuthorities(a *answer) error {
	for below, c := range a.between {
		limited := c.MaxPathLen > 0 || c.MaxPathLenZero
		if !c.IsCA || limited && below > c.MaxPathLen {
			return fmt.Errorf("intermediate %d is no CA, or its path length %d is below %d", below, c.MaxPathLen, below)
		}
	}
	return nil
}

func checkDepth(a *answer) error {
	const limit = 6
	if len(a.between) > limit {
		return fmt.Errorf("%d intermediates", len(a.between))
	}
	return nil
}

// checkUsages: a certificate that limits its usage must allow both, the leaf and
// what is above it: the proxy is a server to some peers and a client to others.
func checkUsages(a *answer) error {
	for _, c := range a.all() {
		if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 {
			continue
		}
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
			if !slices.Contains(c.ExtKeyUsage, usage) {
				return fmt.Errorf("%q is not for usage %d", c.Subject, usage)
			}
		}
	}
	return nil
}

// checkAlgorithms: PKCS#1 v1.5 and ECDSA with SHA-2; never PSS, never SHA-1. The
// list has Ed25519 too, which no FIPS module of ours has.
func checkAlgorithms(a *answer) error {
	allowed := []x509.SignatureAlgorithm{
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
		x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
	}
	for _, c := range a.all() {
		if !slices.Contains(allowed, c.SignatureAlgorithm) {
			return fmt.Errorf("%q is signed with %s", c.Subject, c.SignatureAlgorithm)
		}
	}
	return nil
}

// checkChain builds the path with Go's verifier, which also holds to the key usage
// that webpki ignores.
func checkChain(a *answer) error {
	between := x509.NewCertPool()
	for _, c := range a.between {
		between.AddCert(c)
	}
	_, err := a.leaf.Verify(x509.VerifyOptions{
		Roots: a.anchors, Intermediates: between, CurrentTime: a.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}

func checkNamesItself(a *answer) error {
	if !slices.Contains(readableNames(a.leaf), a.own.Name) {
		return fmt.Errorf("the leaf names %q, not %q", readableNames(a.leaf), a.own.Name)
	}
	return nil
}

// checkNamedFirst is the rule of its peers: whoever takes a connection from the
// proxy knows it by the first name that can be read, and policies are about that.
func checkNamedFirst(a *answer) error {
	if names := readableNames(a.leaf); len(names) == 0 || names[0] != a.own.Name {
		return fmt.Errorf("the first name is not %q: %q", a.own.Name, names)
	}
	return nil
}

func checkOwnKey(a *answer) error {
	if !fips.PublicKeyEqual(a.own.Key.Public(), a.leaf.PublicKey) {
		return fmt.Errorf("the leaf is for another key")
	}
	return nil
}

// checkKeyIsP256: the proxy presents its certificate to peers that take
// ecdsa_secp256r1_sha256 and to no others.
func checkKeyIsP256(a *answer) error {
	key, ok := a.leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return fmt.Errorf("the leaf's key is no P-256 key")
	}
	return nil
}

// readableNames are the DNS and URI names of a leaf in the order of its bytes,
// without those that the proxy cannot read, such as a DNS name with a dot at its end.
func readableNames(c *x509.Certificate) []string {
	var names []string
	for _, e := range c.Extensions {
		if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		var list []asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &list); err != nil || len(rest) > 0 {
			return nil
		}
		for _, n := range list {
			isDNS := n.Class == asn1.ClassContextSpecific && n.Tag == 2 && !bytes.HasSuffix(n.Bytes, []byte("."))
			isURI := n.Class == asn1.ClassContextSpecific && n.Tag == 6
			if isDNS || isURI {
				names = append(names, string(n.Bytes))
			}
		}
	}
	return names
}
