package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/kedge-ca/kedge/api/linkerd/proxy"
)

// certifyOnce asks as Linkerd's proxy does, by its rules, for --name. Key and CSR are
// in --dir, made at the first call and used again ever after, as those of a pod are;
// the answer goes there too. --kind is alpn or plaintext, or none of them.
func certifyOnce(ctx context.Context, o options) error {
	roots, err := o.roots()
	if err != nil {
		return err
	}
	token, err := os.ReadFile(o.tokenFile)
	if err != nil {
		return fmt.Errorf("reading the token: %w", err)
	}
	own, err := podIdentity(o.dir, o.name)
	if err != nil {
		return err
	}
	issuer := proxy.Issuer{Address: o.server, Name: o.issuer, Anchors: roots, Plaintext: o.kind == "plaintext"}
	if o.kind == "alpn" {
		issuer.Protocols = []string{"h2"}
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	got, err := issuer.Certify(ctx, own, token, time.Now())
	if s, ok := status.FromError(err); err != nil && ok {
		for _, detail := range s.Details() {
			if info, ok := detail.(*errdetails.ErrorInfo); ok {
				return fmt.Errorf("refused: %s %s", s.Code(), info.GetReason())
			}
		}
	}
	if err != nil {
		return err
	}
	fmt.Printf("certified %x, refresh in %s\n", got.Leaf.SerialNumber, got.RefreshIn.Round(time.Second))
	chain := []byte{}
	for _, c := range append([]*x509.Certificate{got.Leaf}, got.Chain...) {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return os.WriteFile(filepath.Join(o.dir, "tls.crt"), chain, 0o600)
}

// podIdentity reads key.p8 and csr.der from dir, or makes them, and the key for
// OpenSSL in PEM.
func podIdentity(dir, name string) (proxy.Identity, error) {
	keyFile, csrFile := filepath.Join(dir, "key.p8"), filepath.Join(dir, "csr.der")
	raw, err := os.ReadFile(keyFile)
	if err == nil {
		key, err := x509.ParsePKCS8PrivateKey(raw)
		if err != nil {
			return proxy.Identity{}, fmt.Errorf("reading %s: %w", keyFile, err)
		}
		csr, err := os.ReadFile(csrFile)
		return proxy.Identity{Name: name, Key: key.(crypto.Signer), CSR: csr}, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return proxy.Identity{}, err
	}
	own, err := proxy.NewIdentity(name)
	if err != nil {
		return proxy.Identity{}, err
	}
	raw, err = x509.MarshalPKCS8PrivateKey(own.Key)
	if err != nil {
		return proxy.Identity{}, err
	}
	return own, errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(keyFile, raw, 0o600), os.WriteFile(csrFile, own.CSR, 0o600),
		os.WriteFile(filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600))
}
