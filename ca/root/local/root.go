package local

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/file"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/fips"
)

// Config is what a Root works with; every field is needed.
type Config struct {
	Dir    string
	Sealer file.Sealer
	Policy fips.Policy
}

// Root signs intermediates with a key in a sealed file. It implements ca.Root and
// is safe for concurrent use. Files are read at each call, so that a root that
// was repaired is seen at once.
type Root struct{ c Config }

var _ ca.Root = (*Root)(nil)

// maxCertificate is far above what a root certificate has.
const maxCertificate = 64 << 10

// Open checks directory and certificate. It does not touch the key.
func Open(c Config) (*Root, error) {
	if c.Dir == "" || c.Sealer == nil {
		return nil, fmt.Errorf("local root needs a directory and a sealer")
	}
	if err := secretfile.CheckDir(c.Dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no root in %s; make one with ca init: %w", c.Dir, err)
		}
		return nil, err
	}
	r := &Root{c: c}
	_, err := r.certificate()
	return r, err
}

// Anchor implements ca.Root.
func (r *Root) Anchor(context.Context) (*x509.Certificate, error) { return r.certificate() }

// SignIntermediate implements ca.Root. The key is opened for this call alone.
func (r *Root) SignIntermediate(ctx context.Context, csr []byte, p ca.IntermediateRequest) ([]*x509.Certificate, error) {
	anchor, err := r.certificate()
	if err != nil {
		return nil, err
	}
	if !p.NotBefore.Before(anchor.NotAfter) {
		return nil, fmt.Errorf("root %s expired at %s; see ca repair", r.c.Dir, anchor.NotAfter)
	}
	signer, err := openKey(ctx, r.c.Dir, r.c.Sealer, anchor)
	if err != nil {
		return nil, err
	}
	cert, err := ca.SignIntermediate(ca.IntermediateSigning{
		Anchor: anchor, AnchorSigner: signer, CSR: csr, Policy: r.c.Policy, Request: p,
	})
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{cert}, nil
}

func (r *Root) certificate() (*x509.Certificate, error) {
	return ReadCertificate(r.c.Dir)
}

// ReadCertificate reads the certificate of the root in dir, whose key may be
// elsewhere.
func ReadCertificate(dir string) (*x509.Certificate, error) {
	return readCertificate(filepath.Join(dir, certFile))
}

// readCertificate reads a file of exactly one CA certificate.
func readCertificate(path string) (*x509.Certificate, error) {
	raw, err := secretfile.ReadPublic(path, maxCertificate)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" || len(rest) != 0 {
		return nil, fmt.Errorf("%s does not hold exactly one PEM certificate; restore it from a backup", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; restore it from a backup", path, err)
	}
	if !cert.BasicConstraintsValid || !cert.IsCA {
		return nil, fmt.Errorf("%s is not a CA certificate; restore the root's own from a backup", path)
	}
	return cert, nil
}
