package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

func newInspectCommand(a *app) *cobra.Command {
	var bundle string
	cmd := &cobra.Command{
		Use:   "inspect FILE|-|HOST:PORT",
		Short: "Show what certificates, bundles, CSRs or a TLS server hold",
		Long: `Shows every certificate or CSR of a PEM or DER file, of standard input, or the
chain that a TLS server presents. With --bundle the chain is verified as well and
its anchor shown; without, it is shown as it came. ca verify explains why a chain
fails.`,
		Example: `  ca inspect my-workload/tls.crt
  ca inspect my-workload/bundle.pem -o json
  ca inspect 127.0.0.1:8443 --bundle kedge-dev/bundle.pem`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var anchors []*x509.Certificate
			if bundle != "" {
				var err error
				if anchors, err = a.loadBundle(bundle); err != nil {
					return fmt.Errorf("--bundle: %w", err)
				}
			}
			m, err := a.load(cmd.Context(), args[0], anchors)
			if err != nil {
				return err
			}
			v := inspect(m, anchors, a.now())
			if err := a.printInspection(v); err != nil {
				return err
			}
			if v.Verified != nil && !*v.Verified {
				return &exitError{exitFail, fmt.Errorf("the chain does not verify; ca verify %s --bundle %s says why", args[0], bundle)}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&bundle, "bundle", "", "verify the chain against these trust anchors, PEM or DER")
	return cmd
}

// inspection is what ca inspect prints.
type inspection struct {
	Verified *bool       `json:"verified,omitempty"` // null: nobody asked
	Anchor   string      `json:"anchor,omitempty"`   // SHA-256 of the anchor that the chain leads to
	Items    []inspected `json:"items"`
}

// inspected is one certificate or CSR as it is printed.
type inspected struct {
	Kind           string    `json:"kind"` // leaf, intermediate, root or csr
	Identity       string    `json:"identity,omitempty"`
	Subject        string    `json:"subject,omitempty"`
	Issuer         string    `json:"issuer,omitempty"`
	Serial         string    `json:"serial,omitempty"`
	URIs           []string  `json:"uris,omitempty"`
	Hosts          []string  `json:"hosts,omitempty"`
	Key            string    `json:"key"`
	Signature      string    `json:"signature"`
	SignatureState string    `json:"signatureState,omitempty"` // of a CSR: good, bad, or why it was not checked
	Usages         []string  `json:"usages,omitempty"`
	MaxPathLength  *int      `json:"maxPathLength,omitempty"` // null: no limit, or no CA
	NotBefore      time.Time `json:"notBefore,omitzero"`
	NotAfter       time.Time `json:"notAfter,omitzero"`
	KeyID          string    `json:"subjectKeyId,omitempty"`
	IssuerKeyID    string    `json:"authorityKeyId,omitempty"`
	Fingerprint    string    `json:"sha256"`
}

// inspect describes m. With anchors it says whether the chain verifies.
func inspect(m material, anchors []*x509.Certificate, now time.Time) inspection {
	v := inspection{Items: []inspected{}}
	if len(anchors) > 0 && len(m.certs) > 0 {
		verified := m.refusal == nil
		for _, f := range ca.Diagnose(m.certs, anchors, ca.DiagnoseOptions{At: now}) {
			verified = verified && f.Level != ca.LevelFail
		}
		v.Verified = &verified
		if verified {
			v.Anchor = anchorOf(m.certs, anchors, now)
		}
	}
	for _, c := range m.certs {
		v.Items = append(v.Items, inspectCertificate(c))
	}
	for _, c := range m.csrs {
		v.Items = append(v.Items, inspectCSR(c))
	}
	return v
}

// anchorOf finds the anchor of a chain that verifies.
func anchorOf(chain, anchors []*x509.Certificate, now time.Time) string {
	for _, a := range anchors {
		verified := true
		for _, f := range ca.Diagnose(chain, []*x509.Certificate{a}, ca.DiagnoseOptions{At: now}) {
			verified = verified && f.Level != ca.LevelFail
		}
		if verified {
			return ca.AnchorIDOf(a).String()
		}
	}
	return ""
}

func (a *app) printInspection(v inspection) error {
	return a.print("Inspection", v, func(w *tabwriter.Writer) {
		for i, r := range v.Items {
			if i > 0 {
				fmt.Fprintln(w)
			}
			a.printInspected(w, r)
		}
		if v.Verified != nil && *v.Verified {
			fmt.Fprintf(w, "\nverifies\tunder anchor %.8s\n", v.Anchor)
		}
	})
}

func (a *app) printInspected(w *tabwriter.Writer, r inspected) {
	now := a.now()
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %s\t%s\n", name, printable(value))
		}
	}
	fmt.Fprintf(w, "%s\t%s\n", r.Kind, printable(firstOf(r.Identity, r.Subject, strings.Join(r.Hosts, ", "), "no name")))
	line("issuer", r.Issuer)
	line("serial", r.Serial)
	line("key", r.Key+", signed "+r.Signature)
	line("signature", r.SignatureState)
	if len(r.URIs) > 1 || r.Identity == "" {
		line("uris", strings.Join(r.URIs, ", "))
	}
	line("hosts", strings.Join(r.Hosts, ", "))
	line("usages", strings.Join(r.Usages, ", "))
	if r.MaxPathLength != nil {
		line("path length", fmt.Sprint(*r.MaxPathLength))
	}
	if !r.NotAfter.IsZero() {
		line("begins", relative(r.NotBefore, now))
		line("ends", relative(r.NotAfter, now))
	}
	line("sha256", r.Fingerprint[:8])
}

func inspectCertificate(c *x509.Certificate) inspected {
	r := inspected{
		Kind: "leaf", Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: hex.EncodeToString(c.SerialNumber.Bytes()),
		URIs: uriNames(c.URIs), Hosts: hostNames(c.DNSNames, c.IPAddresses), Key: keyName(c.PublicKey), Signature: c.SignatureAlgorithm.String(),
		Usages: usageNames(c), NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
		KeyID: hex.EncodeToString(c.SubjectKeyId), IssuerKeyID: hex.EncodeToString(c.AuthorityKeyId), Fingerprint: fingerprint(c.Raw),
	}
	if !c.IsCA {
		r.Identity = onlyIdentity(c.URIs)
		return r
	}
	r.Kind = "intermediate"
	if bytes.Equal(c.RawSubject, c.RawIssuer) {
		r.Kind = "root"
	}
	if c.MaxPathLen > 0 || c.MaxPathLenZero {
		limit := c.MaxPathLen
		r.MaxPathLength = &limit
	}
	return r
}

func inspectCSR(c *x509.CertificateRequest) inspected {
	return inspected{
		Kind: "csr", Identity: onlyIdentity(c.URIs), Subject: c.Subject.String(), URIs: uriNames(c.URIs), Hosts: hostNames(c.DNSNames, c.IPAddresses),
		Key: keyName(c.PublicKey), Signature: c.SignatureAlgorithm.String(), SignatureState: csrSignature(c), Fingerprint: fingerprint(c.Raw),
	}
}

// csrSignature checks possession of the key; an algorithm that no policy allows
// is not computed (the native module can be made to panic on SHA-1).
func csrSignature(c *x509.CertificateRequest) string {
	policy, err := fips.PolicyByName("fips")
	if err != nil {
		return err.Error()
	}
	if d := policy.CheckSignatureAlgorithm(c.SignatureAlgorithm); !d.Allow {
		return "not checked: " + d.Code
	}
	if err := c.CheckSignature(); err != nil {
		return "bad: " + err.Error()
	}
	return "good"
}

// onlyIdentity is the SPIFFE ID of who has exactly one URI (X509-SVID §2).
func onlyIdentity(uris []*url.URL) string {
	if len(uris) != 1 {
		return ""
	}
	id, err := ca.ParseIdentity(uris[0].String())
	if err != nil {
		return ""
	}
	return id.String()
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func uriNames(uris []*url.URL) []string {
	var names []string
	for _, u := range uris {
		names = append(names, u.String())
	}
	return names
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
	if err == nil {
		return string(kind)
	}
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return "ecdsa-" + k.Params().Name + " (not approved)"
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-%d (not approved)", k.N.BitLen())
	case nil:
		return "unknown (not approved)"
	}
	return fmt.Sprintf("%T (not approved)", pub)
}

func usageNames(c *x509.Certificate) []string {
	var names []string
	for bit := x509.KeyUsageDigitalSignature; bit <= x509.KeyUsageDecipherOnly; bit <<= 1 {
		if c.KeyUsage&bit != 0 {
			names = append(names, bit.String())
		}
	}
	for _, u := range c.ExtKeyUsage {
		names = append(names, u.String())
	}
	for _, u := range c.UnknownExtKeyUsage {
		names = append(names, u.String())
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
