package fips

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"time"
)

// negativeRequest is a certificate request that every policy refuses.
type negativeRequest struct {
	name, request, code string
}

func negativeRequests() []negativeRequest {
	return []negativeRequest{
		{"sha1_request", vectorRequestSHA1, "sigalg_sha1"},
		{"rsa_e3_request", vectorRequestE3, "key_rsa_exponent"},
		{"p224_request", vectorRequestP224, "key_ecdsa_p224"},
	}
}

// refusedBy judges the request's algorithm and key, as ca does.
func (v negativeRequest) refusedBy(p Policy) error {
	der, err := base64.StdEncoding.DecodeString(v.request)
	if err != nil {
		return fmt.Errorf("decoding vector: %w", err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return fmt.Errorf("parsing vector: %w", err)
	}
	byAlgorithm := p.CheckSignatureAlgorithm(csr.SignatureAlgorithm)
	byKey := p.CheckKey(csr.PublicKey, UseLeaf, time.Time{})
	if byAlgorithm.Code != v.code && byKey.Code != v.code {
		return fmt.Errorf("policy %s decided %+v and %+v, want refusal %s", p.Name(), byAlgorithm, byKey, v.code)
	}
	return nil
}
