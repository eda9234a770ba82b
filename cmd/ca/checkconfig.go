package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/fips"
)

// checkConfig looks at a configuration and the files that it names, opening what
// the server would open but the store, which may be in use.
func (a *app) checkConfig(ctx context.Context, path string) []checkResult {
	const category = "config"
	cfg, err := loadConfig(path)
	if err != nil {
		return []checkResult{{category, "config-valid", ca.LevelFail, err.Error(), "docs/configuration.md describes every key"}}
	}
	results := []checkResult{{category, "config-valid", ca.LevelOK, path, ""}}
	for _, p := range []struct {
		name   string
		source passphraseConfig
	}{{"root.passphrase", cfg.Root.Passphrase}, {"nextRoot.passphrase", cfg.NextRoot.Passphrase}, {"keys.passphrase", cfg.Keys.Passphrase}} {
		if p.source == (passphraseConfig{}) { // it is in Vault
			continue
		}
		r := checkResult{category, "passphrases-readable", ca.LevelOK, p.name, ""}
		if _, err := a.sealer(p.source); err != nil {
			r = checkResult{category, r.ID, ca.LevelFail, p.name + ": " + err.Error(), "check as the server's user: others may not read it"}
		}
		results = append(results, r)
	}
	results = append(results, checkKeyFiles(cfg), checkStore(ctx, cfg))
	if cfg.refuseMissingStore() == nil {
		results = append(results, checkHead(ctx, cfg))
	}
	return append(results, a.checkRoot(ctx, cfg)...)
}

// checkRoot looks at a root's files, or asks the server that has it.
func (a *app) checkRoot(ctx context.Context, cfg config) []checkResult {
	var results []checkResult
	for _, root := range []rootConfig{cfg.Root, cfg.NextRoot} {
		if root.Type != rootLocal {
			continue
		}
		policy, err := fips.PolicyByName(cfg.FIPS.Profile)
		if err == nil {
			_, err = a.openRoot(root, policy, nil)
		}
		files := checkResult{"root", "root-files", ca.LevelOK, root.Dir, ""}
		if err != nil {
			files.fault(ca.LevelFail, err.Error(), "run ca init, or restore the directory")
		}
		results = append(results, files)
	}
	if cfg.Root.Type == rootUpstream {
		results = append(results, a.checkUpstream(ctx, cfg))
	}
	if !cfg.usesVault() {
		return results
	}
	backends, err := a.openVaultBackends(cfg)
	if err != nil {
		return append(results, checkResult{"root", "root-reachable", ca.LevelFail, err.Error(), "docs/configuration.md describes the section vault"})
	}
	return append(results, rootResults(backends.preflight(ctx, a.now()))...)
}

// checkUpstream asks ca-upstream for its anchor.
func (a *app) checkUpstream(ctx context.Context, cfg config) checkResult {
	r := checkResult{"root", "root-reachable", ca.LevelOK, cfg.Upstream.Socket, ""}
	anchor, err := func() (*x509.Certificate, error) {
		policy, err := fips.PolicyByName(cfg.FIPS.Profile)
		if err != nil {
			return nil, err
		}
		o, err := a.connect(cfg, nil)
		if err != nil {
			return nil, err
		}
		defer o.close() //nolint:errcheck // nothing is in flight any more
		root, err := a.openRoot(cfg.Root, policy, o)
		if err != nil {
			return nil, err
		}
		return root.Anchor(ctx)
	}()
	if err != nil {
		r.fault(ca.LevelFail, err.Error(), "start ca-upstream, as the user that upstream.uid names")
		return r
	}
	r.Detail = fmt.Sprintf("%s: signs under anchor %.8s (%s), which ends in %s", cfg.Upstream.Socket, ca.AnchorIDOf(anchor), anchor.Subject.CommonName, short(anchor.NotAfter.Sub(a.now())))
	return r
}

// checkKeyFiles holds the directories of keys and records, and the keys in them,
// to owner and mode.
func checkKeyFiles(cfg config) checkResult {
	r := checkResult{"config", "key-files-mode", ca.LevelOK, "closed to others", ""}
	var errs []error
	keys := 0
	for _, dir := range []string{cfg.DataDir, filepath.Join(cfg.DataDir, "db"), filepath.Join(cfg.DataDir, "keys"), cfg.Root.Dir} {
		if dir == "" || dir == cfg.databaseDir() && cfg.Store.Type == storePostgres || filepath.Base(dir) == "keys" && (cfg.Keys.Store == keysVaultTransit || cfg.Keys.Store == keysUpstream) {
			continue
		}
		if err := secretfile.CheckDir(dir); err != nil {
			errs = append(errs, err)
			continue
		}
		// Glob fails for a malformed pattern only.
		found, err := filepath.Glob(filepath.Join(dir, "*.key"))
		errs = append(errs, err)
		for _, file := range found {
			keys++
			errs = append(errs, secretfile.Check(file))
		}
	}
	if err := errors.Join(errs...); err != nil {
		r.Level, r.Detail, r.Hint = ca.LevelFail, err.Error(), "check as the server's user; ca serve refuses to start like this"
		return r
	}
	r.Detail = count(keys, "key") + ", and their directories, are closed to others"
	return r
}

// The magic numbers of statfs(2) for file systems that forget, or whose promise
// to have stored something depends on another machine.
var (
	forgetful = map[uint64]string{0x01021994: "tmpfs", 0x858458f6: "ramfs"}
	remote    = map[uint64]string{0x6969: "NFS", 0x517b: "SMB", 0xff534d42: "CIFS", 0xfe534d42: "SMB", 0x01021997: "9p", 0x65735546: "FUSE", 0x794c7630: "overlay"}
)

// What must be free where the records are written.
const (
	leastSpace  = 16 << 20
	enoughSpace = 256 << 20
)

// checkStore looks at the file system that the records are on, or asks the database
// server how it keeps them.
func checkStore(ctx context.Context, cfg config) checkResult {
	if cfg.Store.Type == storePostgres {
		return checkDatabase(ctx, cfg)
	}
	dir := cfg.databaseDir()
	for {
		_, err := os.Stat(dir)
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return checkResult{"config", "store-durable", ca.LevelFail, fmt.Sprintf("%s: %v", dir, err), "make it readable to the server's user"}
	}
	return judgeStore(dir, uint64(s.Type), s.Bavail*uint64(s.Bsize))
}

// checkDatabase opens the database, which refuses a server that does not sync.
func checkDatabase(ctx context.Context, cfg config) checkResult {
	r := checkResult{"config", "store-durable", ca.LevelOK, cfg.place() + " answers, and syncs what it commits", ""}
	opened, err := cfg.readStore(ctx)
	if err == nil {
		err = opened.Close()
	}
	if err != nil {
		r.fault(ca.LevelFail, err.Error(), "without a durable record nothing is issued; docs/operations.md says what the database needs")
	}
	return r
}

// judgeStore is pure; free is in bytes.
func judgeStore(dir string, kind, free uint64) checkResult {
	r := checkResult{Category: "config", ID: "store-durable"}
	space := fmt.Sprintf("%d MiB are free", free>>20)
	switch {
	case forgetful[kind] != "":
		r.Level, r.Detail, r.Hint = ca.LevelFail, dir+" is on "+forgetful[kind]+": records and keys end with the machine", "put dataDir on a disk"
	case free < leastSpace:
		r.Level, r.Detail, r.Hint = ca.LevelFail, dir+": "+space, "free space: without a record nothing is issued"
	case remote[kind] != "":
		r.Level, r.Detail, r.Hint = ca.LevelWarn, dir+" is on "+remote[kind]+", which may lose what it said it stored, and locks badly", "put dataDir on a local disk"
	case free < enoughSpace:
		r.Level, r.Detail, r.Hint = ca.LevelWarn, dir+": "+space, "free space: without a record nothing is issued"
	default:
		r.Level, r.Detail = ca.LevelOK, dir+": a local file system, "+space
	}
	return r
}
