package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/kedge-ca/kedge/fips"
)

// devMarker is in DIR while ca dev sets it up. What an earlier try left half made
// is removed when it is there, and only then: it is written when nothing else was.
const devMarker = ".setting-up"

// makeDev makes roots, database and passphrases under dir if they are not there.
func (a *app) makeDev(ctx context.Context, dir, listen string) error {
	o := &initOptions{config: defaultConfigOfDev(dir, listen), secretsDir: filepath.Join(dir, "secrets")}
	o.config.Authn.Kubernetes = nil // its keys exist only while a server runs
	o.config.Root.Passphrase, o.config.Keys.Passphrase = passphraseConfig{}, passphraseConfig{}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	marker := filepath.Join(dir, devMarker)
	if isThere(o.config.DataDir) && !isThere(marker) {
		return nil
	}
	release, err := lockDev(marker)
	if err != nil {
		return err
	}
	defer release()
	for _, half := range []string{o.config.DataDir, o.secretsDir} {
		if err := os.RemoveAll(half); err != nil {
			return fmt.Errorf("removing half of an earlier try: %w", err)
		}
	}
	if err := a.makeDevAuthority(ctx, o); err != nil {
		return err
	}
	return os.Remove(marker) // last: without it everything is there
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// lockDev makes the marker, or takes the one that a crash left, and holds it
// against another ca dev in the same directory.
func lockDev(marker string) (release func(), err error) {
	if !isThere(marker) && isThere(filepath.Join(filepath.Dir(marker), "secrets")) {
		return nil, fmt.Errorf("%s has secrets but no data: choose another --dir, or remove it if it is of no use", filepath.Dir(marker))
	}
	f, err := os.OpenFile(marker, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another ca dev is setting %s up", filepath.Dir(marker)), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func (a *app) makeDevAuthority(ctx context.Context, o *initOptions) error {
	if err := o.complete(); err != nil {
		return err
	}
	policy, err := fips.PolicyByName(o.config.FIPS.Profile)
	if err != nil {
		return err
	}
	if _, err := a.makeAuthority(ctx, o, policy); err != nil {
		return err
	}
	return o.writeConfig()
}
