package ca

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// Limits of the CSR contract. A P-256 request is about 400 bytes and an RSA-4096
// request about 1 600; nothing a workload needs comes near the limit.
const (
	MaxCSRDER = 4 << 10
	MaxCSRPEM = 8 << 10
)

// RequestOptions is what a caller may ask for beside its CSR.
type RequestOptions struct {
	TTL       time.Duration // 0 asks for the profile's default
	Profile   string        // "" leaves the choice to policy
	DNSName   string        // asked for beside the CSR, which must then name it and nothing else; "": a CSR for a SPIFFE ID
	RequestID string        // joins log, record and the client's error
	Now       time.Time     // judges keys whose approval ends on a date
}

// Request is all that survives of a CSR: a key whose possession was proved and
// at most one identity that it asked for. Subject, attributes and extensions end
// here; nothing later can copy them.
type Request struct {
	pub       crypto.PublicKey
	spki      []byte // DER SubjectPublicKeyInfo
	keyHash   [32]byte
	asked     string // the one URI SAN, "" if none
	dnsName   string // the one DNS SAN, "" if none was asked for
	ttl       time.Duration
	profile   string
	requestID string
}

// KeyHash is SHA-256 of the SubjectPublicKeyInfo.
func (r Request) KeyHash() [32]byte { return r.keyHash }

// Asked is the URI that the CSR asked for, "" if it asked for none.
func (r Request) Asked() string { return r.asked }

// DecodeCSRPEM returns the DER of a file or field that holds exactly one PEM
// block of type CERTIFICATE REQUEST, without headers and without other bytes
// around it but white space.
func DecodeCSRPEM(b []byte) ([]byte, error) {
	if len(b) > MaxCSRPEM {
		return nil, Refuse(ReasonCSRTooLarge, "PEM of %d bytes, limit %d", len(b), MaxCSRPEM)
	}
	block, rest := pem.Decode(b)
	switch {
	case block == nil:
		return nil, Refuse(ReasonCSREncoding, "no PEM block")
	case block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST":
		return nil, Refuse(ReasonCSREncoding, "PEM block is of another type")
	case len(block.Headers) != 0:
		return nil, Refuse(ReasonCSREncoding, "PEM block has headers")
	case !onlySpace(rest):
		return nil, Refuse(ReasonCSREncoding, "bytes after the PEM block")
	case !startsWithPEM(b):
		return nil, Refuse(ReasonCSREncoding, "bytes before the PEM block")
	}
	return block.Bytes, nil
}

// ParseRequest reads a PKCS#10 request (RFC 2986) under the contract that
// docs/certificate-spec.md states: everything that is not expressly allowed is
// refused by name. The checks go from cheap to dear, and the key and the
// algorithm are judged before any arithmetic is done with them.
func ParseRequest(der []byte, o RequestOptions, policy fips.Policy) (Request, error) {
	if len(der) > MaxCSRDER {
		return Request{}, Refuse(ReasonCSRTooLarge, "DER of %d bytes, limit %d", len(der), MaxCSRDER)
	}
	if o.TTL < 0 {
		return Request{}, Refuse(ReasonTTL, "negative lifetime %s", o.TTL)
	}
	asked, err := csrContract{dnsName: o.DNSName}.read(der)
	if err != nil {
		return Request{}, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return Request{}, &Error{Reason: ReasonCSREncoding, Err: err}
	}
	if csr.Version != 0 {
		return Request{}, Refuse(ReasonCSRVersion, "version %d", csr.Version)
	}
	if d := policy.CheckKey(csr.PublicKey, fips.UseLeaf, o.Now.Add(MaxLeafTTL)); !d.Allow {
		return Request{}, keyRefusal(d)
	}
	if d := policy.CheckSPKI(csr.RawSubjectPublicKeyInfo); !d.Allow {
		return Request{}, keyRefusal(d)
	}
	if d := policy.CheckSignatureAlgorithm(csr.SignatureAlgorithm); !d.Allow {
		return Request{}, Refuse(ReasonCSRSigAlgorithm, "%s: %s", d.Code, d.Detail)
	}
	if err := csr.CheckSignature(); err != nil {
		return Request{}, &Error{Reason: ReasonCSRSignature, Err: err}
	}
	return Request{
		pub: csr.PublicKey, spki: csr.RawSubjectPublicKeyInfo,
		keyHash: sha256.Sum256(csr.RawSubjectPublicKeyInfo),
		asked:   asked, dnsName: o.DNSName, ttl: o.TTL, profile: o.Profile, requestID: o.RequestID,
	}, nil
}

// keyRefusal turns a decision of the FIPS policy about a key into a refusal:
// a broken key is weak, anything else is of a kind that is not approved.
func keyRefusal(d fips.Decision) *Error {
	reason := ReasonKeyUnsupported
	switch d.Code {
	case "key_rsa_close_primes", "key_rsa_roca", "key_rsa_small_factor", "key_rsa_modulus_even", "key_published":
		reason = ReasonKeyWeak
	}
	return Refuse(reason, "%s: %s (%s)", d.Code, d.Detail, d.Standard)
}

func onlySpace(b []byte) bool {
	for _, c := range b {
		if c != '\n' && c != '\r' && c != ' ' && c != '\t' {
			return false
		}
	}
	return true
}

// startsWithPEM refuses text before the block, which pem.Decode skips.
func startsWithPEM(b []byte) bool {
	const begin = "-----BEGIN "
	for len(b) > 0 && onlySpace(b[:1]) {
		b = b[1:]
	}
	return len(b) >= len(begin) && string(b[:len(begin)]) == begin
}
