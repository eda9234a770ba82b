package local

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

	"github.com/kedge-ca/kedge/ca/keystore/file"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/fips"
)

// nextSuffix marks the files of a root that is being made.
const nextSuffix = ".next"

// Renew puts a new root in c.Dir in the place of expired, the active anchor that
// has ended, and returns its certificate. The old files stay beside the new ones
// under dated names. It is the repair of last resort: only a rotation replaces a
// root that lives.
//
// A crash anywhere is resumed by the next call: a root that is not expired and
// lives is what an earlier call made before anybody was told of it, and is
// returned when its key opens and is its own. The directory itself stays: it may
// be a mount point, and a server without it would not start.
func Renew(ctx context.Context, c InitConfig, expired *x509.Certificate) (*x509.Certificate, error) {
	if c.Now.Before(expired.NotAfter) {
		return nil, fmt.Errorf("renewing root: the root lives until %s; use a rotation to replace it", expired.NotAfter.UTC().Format(time.RFC3339))
	}
	there, err := readCertificate(filepath.Join(c.Dir, certFile))
	if err != nil {
		return nil, fmt.Errorf("renewing root: %w", err)
	}
	if c.Now.Before(there.NotAfter) {
		if _, err := openKey(ctx, c.Dir, c.Sealer, there); err != nil {
			return nil, fmt.Errorf("renewing root: %w", err)
		}
		return there, nil
	}
	cert, err := c.replace(ctx, there)
	if err != nil {
		return nil, fmt.Errorf("renewing root: %w", err)
	}
	return cert, nil
}

// replace makes the new pair under other names, keeps the old one and renames.
// Until the certificate has its name, Renew sees the old one and begins again.
func (c InitConfig) replace(ctx context.Context, old *x509.Certificate) (*x509.Certificate, error) {
	key, cert := filepath.Join(c.Dir, keyFile), filepath.Join(c.Dir, certFile)
	for _, left := range []string{key + nextSuffix, cert + nextSuffix} {
		if err := secretfile.Remove(left); err != nil {
			return nil, err
		}
	}
	fresh, err := c.write(ctx, file.KeyFile{Path: key + nextSuffix, Name: keyName, Sealer: c.Sealer}, cert+nextSuffix)
	if err != nil {
		return nil, err
	}
	kept := filepath.Join(c.Dir, "expired-"+old.NotAfter.UTC().Format("20060102T150405Z")+"-")
	for _, name := range []string{keyFile, certFile} {
		// An earlier call that a crash ended has kept it already.
		if err := os.Link(filepath.Join(c.Dir, name), kept+name); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("keeping the old root: %w", err)
		}
	}
	if err := errors.Join(secretfile.SyncDir(c.Dir), os.Rename(key+nextSuffix, key)); err != nil {
		return nil, err
	}
	if err := os.Rename(cert+nextSuffix, cert); err != nil {
		return nil, err
	}
	return fresh, secretfile.SyncDir(c.Dir)
}

// ReplaceCertificate puts the certificate of a root whose key is elsewhere in the
// place of one that has expired, which stays beside it under a dated name. A crash
// leaves the one or the other.
func ReplaceCertificate(dir string, expired, fresh *x509.Certificate) error {
	path := filepath.Join(dir, certFile)
	if err := secretfile.Remove(path + nextSuffix); err != nil {
		return err
	}
	if err := secretfile.CreatePublic(path+nextSuffix, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: fresh.Raw})); err != nil {
		return err
	}
	kept := filepath.Join(dir, "expired-"+expired.NotAfter.UTC().Format("20060102T150405Z")+"-"+certFile)
	if err := os.Link(path, kept); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keeping the old certificate: %w", err)
	}
	if err := os.Rename(path+nextSuffix, path); err != nil {
		return err
	}
	return secretfile.SyncDir(dir)
}

// openKey opens the key of a root and holds it to the root's certificate.
func openKey(ctx context.Context, dir string, sealer file.Sealer, cert *x509.Certificate) (crypto.Signer, error) {
	path := filepath.Join(dir, keyFile)
	key, err := file.ReadKey(ctx, file.KeyFile{Path: path, Name: keyName, Sealer: sealer})
	if err != nil {
		return nil, fmt.Errorf("opening root key: %w", err)
	}
	if !fips.PublicKeyEqual(key.Public(), cert.PublicKey) {
		return nil, fmt.Errorf("%s is not the key of %s; put the pair back that belongs together", path, certFile)
	}
	return key, nil
}
