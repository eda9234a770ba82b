package fips

import (
	"crypto/tls"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
)

// probeHello is a ClientHello written by hand. It reaches the server's filter
// alone: a tls.Client of this process would be filtered itself and send nothing.
type probeHello struct {
	name    string
	version uint16 // legacy_version
	suite   uint16
	group   tls.CurveID
	tls13   bool
	refused bool
}

// probeHellos pairs every refusal with the same message using approved values.
func probeHellos() []probeHello {
	const cbcSHA1, gcm, aes13 = tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_AES_128_GCM_SHA256
	const chacha = tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
	return []probeHello{
		{"tls_control_tls12_gcm", tls.VersionTLS12, gcm, tls.CurveP256, false, false},
		{"tls_control_tls13_p256", tls.VersionTLS12, aes13, tls.CurveP256, true, false},
		{"tls_refuses_chacha20", tls.VersionTLS12, chacha, tls.CurveP256, false, true},
		{"tls_refuses_chacha20_tls13", tls.VersionTLS12, tls.TLS_CHACHA20_POLY1305_SHA256, tls.CurveP256, true, true},
		{"tls_refuses_x25519", tls.VersionTLS12, gcm, tls.X25519, false, true},
		{"tls_refuses_x25519_tls13", tls.VersionTLS12, aes13, tls.X25519, true, true},
		{"tls_refuses_tls11", tls.VersionTLS11, cbcSHA1, tls.CurveP256, false, true},
	}
}

// The first byte of a TLS record (RFC 8446 §5.1).
const (
	recordAlert     = 21
	recordHandshake = 22
)

// hello sends the message to a server that permits everything it can and looks
// at the answer: an alert or the server's part of the handshake.
func (p *tlsProbe) hello(h probeHello) error {
	b, err := h.marshal()
	if err != nil {
		return fmt.Errorf("writing ClientHello: %w", err)
	}
	server := &tls.Config{
		Certificates: []tls.Certificate{p.good},
		MinVersion:   tls.VersionTLS10,
		CipherSuites: []uint16{h.suite},
	}
	sc, cc := memConnPair()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Server(sc, server).Handshake() // the answer on the wire counts
		_ = sc.Close()
	}()
	var first [1]byte
	if _, err = cc.Write(b); err == nil {
		_, err = io.ReadFull(cc, first[:])
	}
	_ = cc.Close()
	<-done
	switch {
	case err != nil:
		return fmt.Errorf("no answer to the ClientHello: %w", err)
	case h.refused && first[0] != recordAlert:
		return fmt.Errorf("the server went on (record type %d): the TLS filter is not active", first[0])
	case !h.refused && first[0] != recordHandshake:
		return fmt.Errorf("the server refused approved parameters (record type %d)", first[0])
	}
	return nil
}

// marshal writes one plaintext record with a ClientHello (RFC 8446 §4.1.2). In
// TLS 1.3 it offers no key share, so the server answers with a retry request.
func (h probeHello) marshal() ([]byte, error) {
	var random [32]byte
	if err := Random(random[:]); err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddUint8(recordHandshake)
	b.AddUint16(tls.VersionTLS10)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint8(1) // client_hello
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint16(h.version)
			b.AddBytes(random[:])
			b.AddUint8(0)            // legacy_session_id
			b.AddUint16(2)           // cipher_suites: length
			b.AddUint16(h.suite)     //
			b.AddBytes([]byte{1, 0}) // legacy_compression_methods: null
			b.AddUint16LengthPrefixed(h.extensions)
		})
	})
	return b.Bytes()
}

func (h probeHello) extensions(b *cryptobyte.Builder) {
	extension := func(number uint16, body []byte) {
		b.AddUint16(number)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(body) })
	}
	extension(10, []byte{0, 2, byte(h.group >> 8), byte(h.group)}) // supported_groups
	extension(11, []byte{1, 0})                                    // ec_point_formats: uncompressed
	extension(13, []byte{0, 4, 0x04, 0x03, 0x02, 0x03})            // signature_algorithms: ECDSA with SHA-256, SHA-1
	extension(23, nil)                                             // extended_master_secret
	if h.tls13 {
		extension(43, []byte{2, 0x03, 0x04}) // supported_versions
		extension(51, []byte{0, 0})          // key_share: none
	}
}
