package fips

import "crypto/tls"

// DangerouslyUnverifiedClientTLS builds the configuration of a client that talks to
// whoever answers: anybody between the two reads and changes everything. It is for
// one purpose, fetching what proves itself and is no secret: a zone that slept until
// every anchor it knows was replaced has no other way to learn the new ones, and the
// signed chain of bundles needs no channel. It must send no token. The certificate
// shows whoever answers a public key, and proves it to nobody else. A lint refuses
// this client everywhere but in api/zones.
func DangerouslyUnverifiedClientTLS(certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error), nextProtos ...string) *tls.Config {
	t := baseTLS(0, nextProtos, false)
	t.InsecureSkipVerify = true
	t.GetClientCertificate = certificate
	return t
}
