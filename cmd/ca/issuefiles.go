package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/kedge-ca/kedge/api/client"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
)

// The files of a workload's directory.
const (
	keyFile    = "tls.key"
	bundleFile = "bundle.pem"
	certFile   = "tls.crt"
)

// waiting is the name under which a new file waits to take its place.
func waiting(dir, name string) string { return filepath.Join(dir, "."+name+".new") }

// writeCertificate replaces the three files. All of them are first written and
// synced beside their places, so that a failure or a full disk changes nothing.
// Then they take their places, the key first and the certificate last.
//
// Two files cannot be renamed at once, and a link to a fresh directory would
// surprise what watches these files. So for some microseconds, or after a crash
// there, a new key stands beside the old certificate. That is not silent, because
// every TLS library refuses the pair, and it does not last: the new certificate
// still waits beside its place, and loadPair finishes the swap.
func writeCertificate(dir string, c *client.Certificate) error {
	key, err := c.KeyPEM()
	if err == nil {
		err = os.MkdirAll(dir, 0o755) //nolint:gosec // others may read the certificate and the anchors; the key is closed by its own mode
	}
	if err == nil {
		err = withLock(dir, func() error { return replacePair(dir, key, c) })
	}
	if err != nil {
		return fmt.Errorf("writing the certificate: %w", err)
	}
	return nil
}

func replacePair(dir string, key []byte, c *client.Certificate) error {
	for _, f := range []struct {
		name    string
		content []byte
		mode    fs.FileMode
	}{{keyFile, key, 0o600}, {bundleFile, c.BundlePEM(), 0o644}, {certFile, c.ChainPEM(), 0o644}} {
		if err := writeWaiting(waiting(dir, f.name), f.content, f.mode); err != nil {
			return err
		}
	}
	return takePlaces(dir, keyFile, bundleFile, certFile)
}

// writeBundle replaces the trust anchors alone.
func writeBundle(dir string, bundle []byte) error {
	err := withLock(dir, func() error {
		if err := writeWaiting(waiting(dir, bundleFile), bundle, 0o644); err != nil {
			return err
		}
		return takePlaces(dir, bundleFile)
	})
	if err != nil {
		return fmt.Errorf("writing the trust anchors: %w", err)
	}
	return nil
}

// writeWaiting makes a new file; one that an earlier crash left is removed, so that
// nobody who opened it sees the key.
func writeWaiting(path string, content []byte, mode fs.FileMode) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// takePlaces renames what waits, in this order, and makes that durable. A file
// that took its place before a crash waits no longer.
func takePlaces(dir string, names ...string) error {
	for _, name := range names {
		err := os.Rename(waiting(dir, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return secretfile.SyncDir(dir)
}

// withLock keeps two commands out of one directory; the lock goes with the process.
func withLock(dir string, do func() error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("locking %s: %w", dir, err)
	}
	return do()
}

// finishSwap ends what a crash interrupted: a certificate that waits and belongs
// to the key that is there takes its place.
func finishSwap(dir string) error {
	_, err := tls.LoadX509KeyPair(waiting(dir, certFile), filepath.Join(dir, keyFile))
	if err != nil {
		return nil //nolint:nilerr // nothing waits, or it belongs to a key that never took its place
	}
	return takePlaces(dir, bundleFile, certFile)
}

// loadPair reads the certificate in a directory that ca issue wrote.
func (a *app) loadPair(dir string) (tls.Certificate, error) {
	if err := withLock(dir, func() error { return finishSwap(dir) }); err != nil {
		return tls.Certificate{}, fmt.Errorf("reading the certificate in %s: %w", dir, err)
	}
	return a.readPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
}

// readPair reads a certificate that can prove who asks: it belongs to its key and
// has not ended.
func (a *app) readPair(cert, key string) (tls.Certificate, error) {
	const getOne = "get a certificate with ca issue and a token"
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err == nil && pair.Leaf == nil {
		pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	if err != nil {
		return tls.Certificate{}, &stepError{"certificate_unusable", getOne, fmt.Errorf("reading %s and %s: %w", cert, key, err)}
	}
	if a.now().After(pair.Leaf.NotAfter) {
		return tls.Certificate{}, &stepError{"certificate_expired", getOne, fmt.Errorf("%s ended %s", cert, relative(pair.Leaf.NotAfter, a.now()))}
	}
	return pair, nil
}
