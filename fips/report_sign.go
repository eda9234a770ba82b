package fips

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// ReportPayloadType is the payloadType of a signed report's envelope.
const ReportPayloadType = "application/vnd.kedge.fips-report.v1+json"

const (
	signedReportSize  = 1 << 20
	signedReportChain = 8
	// reportSkew is how far a report's clock may be ahead of the verifier's.
	reportSkew = 5 * time.Minute
)

// SignedReport is a DSSE envelope (Dead Simple Signing Envelope, v1) around the
// exact bytes of a report, with the signer's certificates beside the signature.
type SignedReport struct {
	PayloadType string            `json:"payloadType"`
	Payload     []byte            `json:"payload"`
	Signatures  []ReportSignature `json:"signatures"`
}

// ReportSignature is one signature of a SignedReport.
type ReportSignature struct {
	// KeyID is the hex SHA-256 of the signer's SubjectPublicKeyInfo, a hint.
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
	// Chain is DER, the signer's certificate first, without the root.
	Chain [][]byte `json:"chain"`
}

// SignReport wraps the JSON of a Report into a signed envelope and returns its
// JSON. chain is the DER chain of s: in Kedge the serving certificate of the CA
// and its intermediate.
func SignReport(report []byte, s crypto.Signer, chain [][]byte) ([]byte, error) {
	leaf, err := reportSigner(report, s, chain)
	if err != nil {
		return nil, fmt.Errorf("signing report: %w", err)
	}
	scheme, err := SchemeFor(s.Public())
	if err != nil {
		return nil, fmt.Errorf("signing report: %w", err)
	}
	sig, err := Sign(s, scheme, preAuthEncoding(ReportPayloadType, report))
	if err != nil {
		return nil, fmt.Errorf("signing report: %w", err)
	}
	id := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	b, err := json.MarshalIndent(SignedReport{
		PayloadType: ReportPayloadType,
		Payload:     report,
		Signatures:  []ReportSignature{{KeyID: hex.EncodeToString(id[:]), Sig: sig, Chain: chain}},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("signing report: %w", err)
	}
	return append(b, '\n'), nil
}

// reportSigner refuses what VerifyReport would refuse for sure.
func reportSigner(report []byte, s crypto.Signer, chain [][]byte) (*x509.Certificate, error) {
	if _, err := parseReport(report); err != nil {
		return nil, err
	}
	if len(chain) == 0 || len(chain) > signedReportChain {
		return nil, fmt.Errorf("chain of %d certificates", len(chain))
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, fmt.Errorf("parsing certificate: %w", err)
	}
	if !PublicKeyEqual(leaf.PublicKey, s.Public()) {
		return nil, errors.New("the certificate is for another key")
	}
	return leaf, nil
}

// VerifyReport checks an envelope made by SignReport: the signature, the chain
// to one of roots at time now with extended key usage serverAuth, every key and
// signature algorithm by the policy fips, and that the report was made within
// the life of the signer's certificate and not after now. It returns the report
// and the signer's certificate. To check an old report, pass the time at which
// it is claimed to have been made and judge for yourself whether the key can
// have been stolen since.
func VerifyReport(signed []byte, roots *x509.CertPool, now time.Time) (Report, *x509.Certificate, error) {
	r, leaf, err := verifyReport(signed, roots, now)
	if err != nil {
		return Report{}, nil, fmt.Errorf("verifying report: %w", err)
	}
	return r, leaf, nil
}

func verifyReport(signed []byte, roots *x509.CertPool, now time.Time) (Report, *x509.Certificate, error) {
	env, err := parseEnvelope(signed)
	if err != nil {
		return Report{}, nil, err
	}
	if roots == nil {
		return Report{}, nil, errors.New("no anchors")
	}
	leaf, err := verifyReportChain(env.Signatures[0].Chain, roots, now)
	if err != nil {
		return Report{}, nil, err
	}
	scheme, err := SchemeFor(leaf.PublicKey)
	if err != nil {
		return Report{}, nil, err
	}
	message := preAuthEncoding(env.PayloadType, env.Payload)
	if err := Verify(leaf.PublicKey, scheme, message, env.Signatures[0].Sig); err != nil {
		return Report{}, nil, err
	}
	r, err := parseReport(env.Payload)
	if err != nil {
		return Report{}, nil, err
	}
	if r.Time.Before(leaf.NotBefore) || r.Time.After(leaf.NotAfter) {
		return Report{}, nil, errors.New("the report was not made within the life of the signer's certificate")
	}
	if r.Time.After(now.Add(reportSkew)) {
		return Report{}, nil, errors.New("the report comes from the future")
	}
	return r, leaf, nil
}

func parseEnvelope(signed []byte) (SignedReport, error) {
	var env SignedReport
	if len(signed) > signedReportSize {
		return env, errors.New("envelope is too large")
	}
	if err := decodeStrict(signed, &env); err != nil {
		return env, fmt.Errorf("reading envelope: %w", err)
	}
	if env.PayloadType != ReportPayloadType {
		return env, fmt.Errorf("payload type %q", env.PayloadType)
	}
	if len(env.Signatures) != 1 {
		return env, fmt.Errorf("%d signatures, want one", len(env.Signatures))
	}
	if n := len(env.Signatures[0].Chain); n == 0 || n > signedReportChain {
		return env, fmt.Errorf("chain of %d certificates", n)
	}
	return env, nil
}

// verifyReportChain verifies with crypto/x509 and then judges every key of the
// chain, which crypto/x509 does not do in either FIPS mode.
func verifyReportChain(chain [][]byte, roots *x509.CertPool, now time.Time) (*x509.Certificate, error) {
	var leaf *x509.Certificate
	intermediates := x509.NewCertPool()
	for i, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("parsing certificate %d: %w", i, err)
		}
		if i == 0 {
			leaf = c
			continue
		}
		intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("verifying chain: %w", err)
	}
	p, err := PolicyByName("fips")
	if err != nil {
		return nil, err
	}
	for _, c := range chains {
		if err = checkChain(p, c); err == nil {
			return leaf, nil
		}
	}
	return nil, err
}

func checkChain(p Policy, chain []*x509.Certificate) error {
	for i, c := range chain {
		use := UseCA
		if i == 0 {
			use = UseTLS
		}
		if d := p.CheckKey(c.PublicKey, use, c.NotAfter); !d.Allow {
			return fmt.Errorf("certificate %d: %s: %s", i, d.Code, d.Detail)
		}
		if i == len(chain)-1 {
			break // nobody relies on a root's signature of itself
		}
		if d := p.CheckSignatureAlgorithm(c.SignatureAlgorithm); !d.Allow {
			return fmt.Errorf("certificate %d: %s: %s", i, d.Code, d.Detail)
		}
	}
	return nil
}

// parseReport reads a report leniently: a newer program of the same schema may
// have added fields.
func parseReport(b []byte) (Report, error) {
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return Report{}, fmt.Errorf("reading report: %w", err)
	}
	if r.Schema != ReportSchema {
		return Report{}, fmt.Errorf("reading report: schema %q", r.Schema)
	}
	return r, nil
}

// preAuthEncoding is the PAE of DSSE v1: what is signed names its type, so that
// a signature of this key over anything else never passes for a report.
func preAuthEncoding(payloadType string, payload []byte) []byte {
	var b bytes.Buffer
	b.WriteString("DSSEv1 ")
	b.WriteString(strconv.Itoa(len(payloadType)))
	b.WriteString(" " + payloadType + " ")
	b.WriteString(strconv.Itoa(len(payload)))
	b.WriteString(" ")
	b.Write(payload)
	return b.Bytes()
}
