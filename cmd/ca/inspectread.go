package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/kedge-ca/kedge/fips"
)

// maxInput bounds what is read as certificates.
const maxInput = 4 << 20

// material is what a file, standard input or a server held.
type material struct {
	certs []*x509.Certificate
	csrs  []*x509.CertificateRequest
	// refusal says why a server's chain did not verify; nil for what was read.
	refusal error
}

// load reads FILE, - or HOST:PORT. anchors verify a server; a chain that does not
// verify comes back all the same, with the refusal.
func (a *app) load(ctx context.Context, source string, anchors []*x509.Certificate) (material, error) {
	if isAddress(source) {
		m, err := a.fetchChain(ctx, source, anchors)
		if err != nil {
			return material{}, fmt.Errorf("connecting to %s: %w", source, err)
		}
		return m, nil
	}
	raw, err := a.readInput(source)
	if err != nil {
		return material{}, err
	}
	m, err := parseMaterial(raw)
	if err != nil {
		return material{}, fmt.Errorf("%s: %w", source, err)
	}
	return m, nil
}

// isAddress tells HOST:PORT from a file; a file of such a name is a file.
func isAddress(source string) bool {
	host, port, err := net.SplitHostPort(source)
	if err != nil || host == "" || port == "" {
		return false
	}
	_, err = os.Lstat(source)
	return errors.Is(err, os.ErrNotExist)
}

// loadBundle reads trust anchors from a file.
func (a *app) loadBundle(path string) ([]*x509.Certificate, error) {
	raw, err := a.readInput(path)
	if err != nil {
		return nil, err
	}
	m, err := parseMaterial(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(m.certs) == 0 {
		return nil, fmt.Errorf("%s holds a CSR and no certificate", path)
	}
	return m.certs, nil
}

// readInput reads a file, or standard input for -.
func (a *app) readInput(source string) ([]byte, error) {
	in := a.stdin
	if source != "-" {
		f, err := os.Open(source)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", source, err)
	}
	if len(raw) > maxInput {
		return nil, fmt.Errorf("%s is larger than %d MiB", source, maxInput>>20)
	}
	return raw, nil
}

// pemBegin starts every PEM block (RFC 7468 §2).
const pemBegin = "-----BEGIN "

// parseMaterial reads PEM blocks of certificates and CSRs, or DER: certificates
// one after another, or one CSR. Blocks of other types are passed over.
func parseMaterial(raw []byte) (material, error) {
	if !bytes.Contains(raw, []byte(pemBegin)) {
		return parseDER(raw)
	}
	var m material
	var others []string
	blocks := 0
	for rest := raw; ; blocks++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch block.Type {
		case "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return material{}, fmt.Errorf("certificate %d: %w", len(m.certs)+1, err)
			}
			m.certs = append(m.certs, c)
		case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
			c, err := x509.ParseCertificateRequest(block.Bytes)
			if err != nil {
				return material{}, fmt.Errorf("CSR %d: %w", len(m.csrs)+1, err)
			}
			m.csrs = append(m.csrs, c)
		default:
			others = append(others, block.Type)
		}
	}
	// pem.Decode passes over what it cannot read; half a bundle must not look whole.
	if begun := bytes.Count(raw, []byte(pemBegin)); begun != blocks {
		return material{}, fmt.Errorf("%d of %d PEM blocks cannot be read", begun-blocks, begun)
	}
	if len(m.certs)+len(m.csrs) == 0 {
		return material{}, fmt.Errorf("no certificate and no CSR in it, only %q", others)
	}
	return m, nil
}

func parseDER(raw []byte) (material, error) {
	if len(raw) == 0 {
		return material{}, errors.New("it is empty")
	}
	if certs, err := x509.ParseCertificates(raw); err == nil {
		return material{certs: certs}, nil
	}
	csr, err := x509.ParseCertificateRequest(raw)
	if err != nil {
		return material{}, errors.New("neither PEM, nor a DER certificate or CSR")
	}
	return material{csrs: []*x509.CertificateRequest{csr}}, nil
}

// fetchChain shakes hands with a server. A chain that does not verify comes out
// of the verification error, so that no check is ever switched off.
func (a *app) fetchChain(ctx context.Context, addr string, anchors []*x509.Certificate) (material, error) {
	if _, err := a.startModule(defaultConfig()); err != nil {
		return material{}, err
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return material{}, err
	}
	roots := x509.NewCertPool()
	for _, c := range anchors {
		roots.AddCert(c)
	}
	config, err := fips.ClientTLS(fips.ClientTLSConfig{Roots: roots, ServerName: host, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		return material{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return material{}, err
	}
	defer raw.Close()
	conn := tls.Client(raw, config)
	var unverified *tls.CertificateVerificationError
	switch err = conn.HandshakeContext(ctx); {
	case errors.As(err, &unverified):
		return material{certs: unverified.UnverifiedCertificates, refusal: unverified.Err}, nil
	case err != nil:
		return material{}, err
	}
	return material{certs: conn.ConnectionState().PeerCertificates}, nil
}
