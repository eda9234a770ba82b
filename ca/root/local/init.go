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

// make makes one root: the key first, so that a certificate always has its key.
func (c InitConfig) make(ctx context.Context, dir string, sealer file.Sealer) (*x509.Certificate, error) {
	if err := secretfile.MakeDir(dir); err != nil {
		return nil, err
	}
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
	if err := file.WriteKey(ctx, file.KeyFile{Path: filepath.Join(dir, keyFile), Name: keyName, Sealer: sealer}, signer); err != nil {
		return nil, err
	}
	encoded := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	if err := secretfile.CreatePublic(filepath.Join(dir, certFile), encoded); err != nil {
		return nil, err
	}
	return cert, nil
}

// Renew makes a new root in c.Dir in the place of one that has expired, which it
// keeps beside it under a dated name, and returns the new anchor. It is the
// repair of last resort: only a rotation replaces a root that lives.
func Renew(ctx context.Context, c InitConfig) (*x509.Certificate, error) {
	old, err := readCertificate(filepath.Join(c.Dir, certFile))
	if err != nil {
		return nil, fmt.Errorf("renewing root: %w", err)
	}
	if c.Now.Before(old.NotAfter) {
		return nil, fmt.Errorf("renewing root: the root lives until %s; use a rotation to replace it", old.NotAfter.UTC().Format(time.RFC3339))
	}
	kept := c.Dir + "-expired-" + c.Now.UTC().Format("20060102T150405Z")
	if err := os.Rename(c.Dir, kept); err != nil {
		return nil, fmt.Errorf("renewing root: keeping the old one: %w", err)
	}
	cert, err := c.make(ctx, c.Dir, c.Sealer)
	if err != nil {
		return nil, fmt.Errorf("renewing root (the old one is in %s): %w", kept, err)
	}
	return cert, nil
}
