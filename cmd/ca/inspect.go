package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/fips"
)

func newInspectCommand(a *app) *cobra.Command {
	var bundle string
	cmd := &cobra.Command{
		Use:   "inspect FILE|-|HOST:PORT",
		Short: "Show what certificates, bundles, CSRs or a TLS server hold",
		Long: `Shows every certificate or CSR of a PEM or DER file, of standard input, or the
chain that a TLS server presents. With --bundle a server's chain is verified as
well; without, it is shown as it came.`,
		Example: "  ca inspect my-workload/tls.crt\n  ca inspect 127.0.0.1:8443 --bundle kedge-dev/bundle.pem -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			certs, csrs, err := a.load(cmd.Context(), args[0], bundle)
			if err != nil {
				return err
			}
			return a.printInspected(certs, csrs)
		},
	}
	cmd.Flags().StringVar(&bundle, "bundle", "", "verify a server against these trust anchors")
	return cmd
}

// maxInput bounds what is read as certificates.
const maxInput = 4 << 20

// load reads from a file, standard input or a server.
func (a *app) load(ctx context.Context, source, bundle string) ([]*x509.Certificate, []*x509.CertificateRequest, error) {
	if _, _, err := net.SplitHostPort(source); err == nil && source != "-" {
		if _, statErr := os.Stat(source); statErr != nil {
			certs, err := a.fetchChain(ctx, source, bundle)
			return certs, nil, err
		}
	}
	raw, err := a.readInput(source)
	if err != nil {
		return nil, nil, err
	}
	certs, csrs, err := parseAll(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", source, err)
	}
	return certs, csrs, nil
}

func (a *app) readInput(source string) ([]byte, error) {
	if source == "-" {
		return io.ReadAll(io.LimitReader(a.stdin, maxInput))
	}
	f, err := os.Open(source)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxInput))
}

// parseAll reads PEM blocks of certificates and CSRs, or one DER of either.
func parseAll(raw []byte) (certs []*x509.Certificate, csrs []*x509.CertificateRequest, err error) {
	if !bytes.Contains(raw, []byte("-----BEGIN ")) {
		if c, err := x509.ParseCertificate(raw); err == nil {
			return []*x509.Certificate{c}, nil, nil
		}
		csr, err := x509.ParseCertificateRequest(raw)
		if err != nil {
			return nil, nil, fmt.Errorf("neither PEM, nor a DER certificate or CSR")
		}
		return nil, []*x509.CertificateRequest{csr}, nil
	}
	for {
		block, rest := pem.Decode(raw)
		if block == nil {
			break
		}
		raw = rest
		switch block.Type {
		case "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
			}
			certs = append(certs, c)
		case "CERTIFICATE REQUEST":
			c, err := x509.ParseCertificateRequest(block.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("CSR %d: %w", len(csrs)+1, err)
			}
			csrs = append(csrs, c)
		}
	}
	if len(certs)+len(csrs) == 0 {
		return nil, nil, fmt.Errorf("no certificate and no CSR in it")
	}
	return certs, csrs, nil
}

// fetchChain shakes hands with a server. A chain that does not verify comes out
// of the verification error, so that no check is ever switched off.
func (a *app) fetchChain(ctx context.Context, addr, bundle string) ([]*x509.Certificate, error) {
	if _, err := a.startModule(defaultConfig()); err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if bundle != "" {
		anchors, err := os.ReadFile(bundle)
		if err != nil {
			return nil, err
		}
		if !roots.AppendCertsFromPEM(anchors) {
			return nil, fmt.Errorf("%s holds no PEM certificate", bundle)
		}
	}
	config, err := fips.ClientTLS(fips.ClientTLSConfig{Roots: roots, ServerName: host, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: config}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	var unverified *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unverified) && bundle == "":
		return unverified.UnverifiedCertificates, nil
	case err != nil:
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates, nil
}

// inspected is one certificate or CSR as it is printed.
type inspected struct {
	Kind        string    `json:"kind"` // leaf, intermediate, root or csr
	Identity    string    `json:"identity,omitempty"`
	Subject     string    `json:"subject,omitempty"`
	Issuer      string    `json:"issuer,omitempty"`
	Serial      string    `json:"serial,omitempty"`
	Names       []string  `json:"names,omitempty"`
	Key         string    `json:"key"`
	Signature   string    `json:"signature"`
	Usages      []string  `json:"usages,omitempty"`
	NotBefore   time.Time `json:"notBefore,omitzero"`
	NotAfter    time.Time `json:"notAfter,omitzero"`
	Fingerprint string    `json:"sha256"`
}

func (a *app) printInspected(certs []*x509.Certificate, csrs []*x509.CertificateRequest) error {
	var rows []inspected
	for _, c := range certs {
		rows = append(rows, inspectCertificate(c))
	}
	for _, c := range csrs {
		rows = append(rows, inspectCSR(c))
	}
	return a.print("Inspection", struct {
		Items []inspected `json:"items"`
	}{rows}, func(w *tabwriter.Writer) {
		now := a.now()
		for i, r := range rows {
			if i > 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "%s\t%s\n", r.Kind, firstOf(r.Identity, r.Subject, "no name"))
			fmt.Fprintf(w, "  issuer\t%s\n  serial\t%s\n  key\t%s, signed %s\n", firstOf(r.Issuer, "-"), firstOf(r.Serial, "-"), r.Key, r.Signature)
			if len(r.Names) > 0 {
				fmt.Fprintf(w, "  hosts\t%s\n", strings.Join(r.Names, ", "))
			}
			if len(r.Usages) > 0 {
				fmt.Fprintf(w, "  usages\t%s\n", strings.Join(r.Usages, ", "))
			}
			if !r.NotAfter.IsZero() {
				fmt.Fprintf(w, "  begins\t%s\n  ends\t%s\n", relative(r.NotBefore, now), relative(r.NotAfter, now))
			}
			fmt.Fprintf(w, "  sha256\t%.16s…\n", r.Fingerprint)
		}
	})
}

func inspectCertificate(c *x509.Certificate) inspected {
	sum := sha256.Sum256(c.Raw)
	r := inspected{
		Kind: "leaf", Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: hex.EncodeToString(c.SerialNumber.Bytes()),
		Names: hostNames(c.DNSNames, c.IPAddresses), Key: keyName(c.PublicKey), Signature: c.SignatureAlgorithm.String(),
		Usages: usageNames(c), NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), Fingerprint: hex.EncodeToString(sum[:]),
	}
	if len(c.URIs) > 0 {
		r.Identity = c.URIs[0].String()
	}
	if c.IsCA {
		r.Kind, r.Identity = "intermediate", ""
		if bytes.Equal(c.RawSubject, c.RawIssuer) {
			r.Kind = "root"
		}
	}
	return r
}

func inspectCSR(c *x509.CertificateRequest) inspected {
	sum := sha256.Sum256(c.Raw)
	r := inspected{
		Kind: "csr", Subject: c.Subject.String(), Names: hostNames(c.DNSNames, c.IPAddresses),
		Key: keyName(c.PublicKey), Signature: c.SignatureAlgorithm.String(), Fingerprint: hex.EncodeToString(sum[:]),
	}
	if len(c.URIs) > 0 {
		r.Identity = c.URIs[0].String()
	}
	return r
}

func hostNames(dns []string, ips []net.IP) []string {
	names := append([]string(nil), dns...)
	for _, ip := range ips {
		names = append(names, ip.String())
	}
	return names
}

func keyName(pub any) string {
	kind, err := fips.KeyTypeOf(pub)
	if err != nil {
		return fmt.Sprintf("%T (not approved)", pub)
	}
	return string(kind)
}

func usageNames(c *x509.Certificate) []string {
	var names []string
	for _, u := range []struct {
		bit  x509.KeyUsage
		name string
	}{
		{x509.KeyUsageDigitalSignature, "digitalSignature"}, {x509.KeyUsageKeyEncipherment, "keyEncipherment"},
		{x509.KeyUsageKeyAgreement, "keyAgreement"}, {x509.KeyUsageCertSign, "keyCertSign"}, {x509.KeyUsageCRLSign, "cRLSign"},
	} {
		if c.KeyUsage&u.bit != 0 {
			names = append(names, u.name)
		}
	}
	for _, u := range c.ExtKeyUsage {
		switch u {
		case x509.ExtKeyUsageServerAuth:
			names = append(names, "serverAuth")
		case x509.ExtKeyUsageClientAuth:
			names = append(names, "clientAuth")
		default:
			names = append(names, fmt.Sprintf("extended %d", u))
		}
	}
	return names
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
