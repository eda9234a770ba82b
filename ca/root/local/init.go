package local

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/file"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/fips"
)

// The files of a root.
const (
	keyFile  = "root.key"
	certFile = "root.pem"
	keyName  = "root" // what a sealer knows the key by
)

// InitConfig is what a new root is made of; every field is needed.
type InitConfig struct {
	Dir           string      // of the active root; must not exist
	StandbyDir    string      // of the standby; must not exist, and not be Dir
	Sealer        file.Sealer // of the active key
	StandbySealer file.Sealer // of the standby's key, best with a secret of its own
	TrustDomain   ca.TrustDomain
	KeyType       fips.KeyType
	Policy        fips.Policy
	Now           time.Time
}

// Init makes an active root and a standby of ten years and returns their anchors.
// It refuses, and changes nothing, where one of the directories exists.
func Init(ctx context.Context, c InitConfig) ([]ca.Anchor, error) {
	if c.Dir == "" || c.StandbyDir == "" || filepath.Clean(c.Dir) == filepath.Clean(c.StandbyDir) {
		return nil, fmt.Errorf("root and standby need directories of their own")
	}
	if c.Sealer == nil || c.StandbySealer == nil {
		return nil, fmt.Errorf("root and standby need a sealer each")
	}
	for _, dir := range []string{c.Dir, c.StandbyDir} {
		if _, err := os.Lstat(dir); err == nil {
			return nil, fmt.Errorf("%s is there already; a root is never overwritten", dir)
		}
	}
	active, err := c.make(ctx, c.Dir, c.Sealer)
	if err != nil {
		return nil, fmt.Errorf("active root: %w", err)
	}
	standby, err := c.make(ctx, c.StandbyDir, c.StandbySealer)
	if err != nil {
		return nil, fmt.Errorf("standby root: %w", err)
	}
	return []ca.Anchor{{Certificate: active, Slot: ca.SlotActive}, {Certificate: standby, Slot: ca.SlotStandby}}, nil
}

// InitStandby makes a standby alone, for an active root that is elsewhere. It
// reads StandbyDir and StandbySealer, not Dir and Sealer.
func InitStandby(ctx context.Context, c InitConfig) (ca.Anchor, error) {
	if c.StandbyDir == "" || c.StandbySealer == nil {
		return ca.Anchor{}, fmt.Errorf("standby root needs a directory and a sealer")
	}
	if _, err := os.Lstat(c.StandbyDir); err == nil {
		return ca.Anchor{}, fmt.Errorf("%s is there already; a root is never overwritten", c.StandbyDir)
	}
	cert, err := c.make(ctx, c.StandbyDir, c.StandbySealer)
	if err != nil {
		return ca.Anchor{}, fmt.Errorf("standby root: %w", err)
	}
	return ca.Anchor{Certificate: cert, Slot: ca.SlotStandby}, nil
}

// KeepCertificate stores the certificate of a root whose key is elsewhere in a new
// directory, where ReadCertificate finds it.
func KeepCertificate(dir string, cert *x509.Certificate) error {
	if err := secretfile.MakeDir(dir); err != nil {
		return err
	}
	return secretfile.CreatePublic(filepath.Join(dir, certFile), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
}

// make makes one root in a directory of its own.
func (c InitConfig) make(ctx context.Context, dir string, sealer file.Sealer) (*x509.Certificate, error) {
	if err := secretfile.MakeDir(dir); err != nil {
		return nil, err
	}
	return c.write(ctx, file.KeyFile{Path: filepath.Join(dir, keyFile), Name: keyName, Sealer: sealer}, filepath.Join(dir, certFile))
}

// write makes a key and its certificate: the key first, so that a certificate
// always has its key.
func (c InitConfig) write(ctx context.Context, key file.KeyFile, certPath string) (*x509.Certificate, error) {
	signer, err := fips.GenerateKey(c.KeyType)
	if err != nil {
		return nil, fmt.Errorf("making key: %w", err)
	}
	cert, err := ca.NewRootCertificate(ca.RootRequest{
		TrustDomain: c.TrustDomain, NotBefore: c.Now.Add(-ca.CABackdate), NotAfter: c.Now.Add(ca.RootLifetime),
		Signer: signer, Policy: c.Policy,
	})
	if err != nil {
		return nil, err
	}
	if err := file.WriteKey(ctx, key, signer); err != nil {
		return nil, err
	}
	encoded := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	if err := secretfile.CreatePublic(certPath, encoded); err != nil {
		return nil, err
	}
	return cert, nil
}
