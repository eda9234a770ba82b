package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store"
	"github.com/kedge-ca/kedge/ca/store/postgres"
	"github.com/kedge-ca/kedge/ca/store/sqlite"
)

// storePatience is how long a database server may take to answer when it is opened.
const storePatience = 20 * time.Second

// databaseDir is where the SQLite database is.
func (c config) databaseDir() string { return filepath.Join(c.DataDir, "db") }

// place names the store for messages, without a password.
func (c config) place() string {
	if c.Store.Type != storePostgres {
		return c.databaseDir()
	}
	pc, err := c.Store.postgres()
	if err != nil {
		return "the store of " + c.Store.URLFile
	}
	return postgres.Redact(pc.URL)
}

// refuseMissingStore refuses a data directory without a database.
func (c config) refuseMissingStore() error {
	if c.Store.Type == storePostgres {
		return nil
	}
	if _, err := os.Lstat(c.databaseDir()); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no authority in %s: make one with ca init, or restore %s from a backup", c.DataDir, c.databaseDir())
	}
	return nil
}

// makeStore opens the store and makes it, if there is none.
func (c config) makeStore(ctx context.Context) (store.Durable, error) {
	if c.Store.Type != storePostgres {
		return sqlite.Open(sqlite.Config{Dir: c.databaseDir()})
	}
	pc, err := c.Store.postgres()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	return postgres.Open(ctx, pc)
}

// readStore opens the store beside the server, to read.
func (c config) readStore(ctx context.Context) (store.Durable, error) {
	if c.Store.Type != storePostgres {
		return sqlite.Open(sqlite.Config{Dir: c.databaseDir(), ReadOnly: true})
	}
	pc, err := c.Store.postgres()
	if err != nil {
		return nil, err
	}
	pc.ReadOnly = true
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	return postgres.Open(ctx, pc)
}

// openStore opens the store of a server that starts. A replica that starts for the
// first time takes the trust domain and the anchors of the others.
func (c config) openStore(log *slog.Logger) (store.Durable, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storePatience)
	defer cancel()
	opened, err := c.makeStore(ctx)
	if err != nil {
		return nil, err
	}
	if c.Store.Type != storePostgres {
		return opened, nil
	}
	states, err := opened.States(ctx)
	if err == nil {
		err = c.joinReplicas(ctx, opened, states, log)
	}
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return opened, nil
}

// joinReplicas gives a replica without a state one. Its intermediate is its own; it
// gets one from the root as every replica does.
func (c config) joinReplicas(ctx context.Context, opened store.Durable, states map[string]ca.State, log *slog.Logger) error {
	if len(states) == 0 {
		return fmt.Errorf("there is no authority in %s: make one with ca init, or restore the database from a backup", c.place())
	}
	if _, version, err := opened.Load(ctx); err != nil || version != 0 {
		return err
	}
	var from string
	var newest ca.State
	for name, s := range states {
		if from == "" || s.BundleSeq > newest.BundleSeq {
			from, newest = name, s
		}
	}
	_, err := opened.Replace(ctx, 0, ca.State{TrustDomain: newest.TrustDomain, BundleSeq: newest.BundleSeq, Anchors: newest.Anchors})
	if err != nil {
		return fmt.Errorf("first start of this replica: %w", err)
	}
	log.Info("first start of this replica: it has the anchors of another", "from", from, "bundle", newest.BundleSeq)
	return nil
}

// refuseInUse refuses a database that has an authority already. SQLite's is found by
// its directory.
func (c storeConfig) refuseInUse(ctx context.Context) error {
	if c.Type != storePostgres {
		return nil
	}
	pc, err := c.postgres()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	opened, err := postgres.Open(ctx, pc)
	if err != nil {
		return err
	}
	states, err := opened.States(ctx)
	if err = errors.Join(err, opened.Close()); err == nil && len(states) > 0 {
		err = fmt.Errorf("%s has an authority already; ca init never overwrites: a further replica needs the configuration of the others, with a name and keys of its own, and ca serve", postgres.Redact(pc.URL))
	}
	return err
}
