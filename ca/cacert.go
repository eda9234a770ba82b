package ca

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// Lifetimes of the certificates above a leaf.
const (
	RootLifetime            = 10 * 365 * 24 * time.Hour
	IntermediateLifetime    = 7 * 24 * time.Hour
	MaxIntermediateLifetime = 14 * 24 * time.Hour
	// CABackdate lets a verifier whose clock is behind accept a new CA certificate.
	CABackdate = time.Hour
)

// RootRequest describes a self-signed trust anchor.
type RootRequest struct {
	TrustDomain TrustDomain
	NotBefore   time.Time
	NotAfter    time.Time
	Signer      crypto.Signer
	Policy      fips.Policy
}

// NewRootCertificate makes a self-signed trust anchor. It sets no path length: a
// root limited to 1 could never be bridged to its successor.
func NewRootCertificate(r RootRequest) (*x509.Certificate, error) {
	if d := r.Policy.CheckKey(r.Signer.Public(), fips.UseCA, r.NotAfter); !d.Allow {
		return nil, fmt.Errorf("making root: %s: %s", d.Code, d.Detail)
	}
	spki, keyID, err := publicKeyInfo(r.Signer.Public())
	if err != nil {
		return nil, fmt.Errorf("making root: %w", err)
	}
	name, err := caName("Root", keyID)
	if err != nil {
		return nil, fmt.Errorf("making root: %w", err)
	}
	return signCA(&tbsCertificate{
		issuer: name, subject: name, spki: spki, notBefore: r.NotBefore, notAfter: r.NotAfter,
		extensions: []extension{
			keyUsage(5, 6), isCA(-1), subjectKeyID(keyID), altNames(hosts{}, r.TrustDomain.URI(), false),
		},
	}, r.Signer, r.Policy)
}

// IntermediateSigning is what a local root needs to sign an intermediate.
type IntermediateSigning struct {
	Anchor       *x509.Certificate
	AnchorSigner crypto.Signer
	CSR          []byte // DER PKCS#10, made by this CA for its own key
	Policy       fips.Policy
	Request      IntermediateRequest
}

// SignIntermediate signs the key in s.CSR as an intermediate with path length 0.
// Everything but the key comes from s.Request; the certificate ends with the
// anchor at the latest.
func SignIntermediate(s IntermediateSigning) (*x509.Certificate, error) {
	csr, err := CheckIntermediateCSR(s.CSR, s.Policy, s.Request.NotAfter)
	if err != nil {
		return nil, fmt.Errorf("signing intermediate: %w", err)
	}
	if !fips.PublicKeyEqual(s.Anchor.PublicKey, s.AnchorSigner.Public()) {
		return nil, fmt.Errorf("signing intermediate: the root key is not that of the root certificate")
	}
	_, keyID, err := publicKeyInfo(csr.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("signing intermediate: %w", err)
	}
	name, err := caName("Intermediate", keyID)
	if err != nil {
		return nil, fmt.Errorf("signing intermediate: %w", err)
	}
	notAfter := s.Request.NotAfter
	if s.Anchor.NotAfter.Before(notAfter) {
		notAfter = s.Anchor.NotAfter
	}
	return signCA(&tbsCertificate{
		issuer: s.Anchor.RawSubject, subject: name, spki: csr.RawSubjectPublicKeyInfo,
		notBefore: s.Request.NotBefore, notAfter: notAfter,
		extensions: []extension{
			keyUsage(5, 6), isCA(0), subjectKeyID(keyID), authorityKeyID(s.Anchor.SubjectKeyId),
			altNames(hosts{}, s.Request.TrustDomain.URI(), false),
		},
	}, s.AnchorSigner, s.Policy)
}

// signCA gives t a serial and signs it.
func signCA(t *tbsCertificate, signer crypto.Signer, policy fips.Policy) (*x509.Certificate, error) {
	scheme, err := policy.SchemeFor(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("choosing signature algorithm: %w", err)
	}
	if !t.notAfter.After(t.notBefore) {
		return nil, fmt.Errorf("certificate would end at %s, before it begins", t.notAfter)
	}
	t.algorithm = scheme.AlgorithmIdentifier
	if t.serial, err = fips.NewSerial(); err != nil {
		return nil, fmt.Errorf("making serial: %w", err)
	}
	tbs, err := t.encode()
	if err != nil {
		return nil, err
	}
	signature, err := fips.Sign(signer, scheme, tbs)
	if err != nil {
		return nil, fmt.Errorf("signing CA certificate: %w", err)
	}
	der, err := assemble(tbs, scheme.AlgorithmIdentifier, signature)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading back the new CA certificate: %w", err)
	}
	return cert, nil
}

// caName is a name that differs for every key, so that a verifier never has to
// choose between two CAs of one name. The trust domain stands in the URI SAN,
// where it has room (ub-common-name is 64).
func caName(role string, keyID []byte) ([]byte, error) {
	name := pkix.Name{Organization: []string{"Kedge"}, CommonName: role + " " + hex.EncodeToString(keyID[:8])}
	der, err := asn1.Marshal(name.ToRDNSequence())
	if err != nil {
		return nil, fmt.Errorf("encoding CA name: %w", err)
	}
	return der, nil
}

func publicKeyInfo(pub crypto.PublicKey) (spki, keyID []byte, err error) {
	spki, err = x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding public key: %w", err)
	}
	keyID, err = fips.KeyIDFromSPKI(spki)
	if err != nil {
		return nil, nil, fmt.Errorf("computing key id: %w", err)
	}
	return spki, keyID, nil
}
