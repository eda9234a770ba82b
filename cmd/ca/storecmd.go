package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/ca/store/postgres"
	"github.com/kedge-ca/kedge/ca/store/sqlite"
	"github.com/kedge-ca/kedge/ca/store/transfer"
)

func newStoreCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "store", Short: "Back up, move, or accept the store of records and state", Args: cobra.NoArgs}
	cmd.AddCommand(newStoreBackupCommand(a), newStoreMigrateCommand(a), newStoreAcceptCommand(a))
	return cmd
}

func newStoreBackupCommand(a *app) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy the database beside the running server, and verify the copy",
		Long: `Copies the SQLite database to a new file of mode 0600. The server goes on. The
hash chains of the copy are verified before the command ends. PostgreSQL is backed
up with its own tools: docs/operations.md has the commands.`,
		Example: "  ca store backup /backup/kedge-$(date +%F).db",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			return a.backupStore(cmd.Context(), cfg, args[0])
		},
	}
	cmd.Flags().StringVar(&path, "config", defaultConfigPath, "configuration of the server")
	return cmd
}

func (a *app) backupStore(ctx context.Context, cfg config, file string) error {
	if cfg.Store.Type == storePostgres {
		return fmt.Errorf("the store is %s: back it up with pg_dump, as docs/operations.md says", cfg.place())
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	if err := sqlite.Backup(ctx, cfg.databaseDir(), file); err != nil {
		return err
	}
	records, err := sqlite.VerifyFile(ctx, file)
	if err != nil {
		return fmt.Errorf("the copy %s is not sound: %w", file, err)
	}
	return a.print("Backup", struct {
		File    string `json:"file"`
		Records uint64 `json:"records"`
	}{file, records}, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "%s: %d records, every hash is right\n", file, records)
	})
}

func newStoreMigrateCommand(a *app) *cobra.Command {
	var from, to, replica string
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Move everything from one store to another",
		Long: `Moves records, events, states, documents and join tokens with their hashes and
versions, verifies the copy, and marks the source so that no server writes to it any
more. All or nothing: one that was cut off is done again. Stop all servers first. The
target must be empty.

A store is sqlite:DIRECTORY, postgres://user@host/database, or @FILE with a URL that
has a password. The configuration's section store has to be changed by hand.`,
		Example: "  ca store migrate --from sqlite:/var/lib/kedge/db --to @/etc/kedge/secrets/store-url --replica primary-1",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.migrateStore(cmd.Context(), storeMove{from: from, to: to, replica: replica})
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "store to move from (required)")
	cmd.Flags().StringVar(&to, "to", "", "store to move to (required)")
	cmd.Flags().StringVar(&replica, "replica", "", "name of this server among the replicas in PostgreSQL (default the host's name)")
	return cmd
}

// storeMove are the flags of ca store migrate.
type storeMove struct{ from, to, replica string }

func (m storeMove) open(ctx context.Context, name string, mayMake bool) (*transfer.End, error) {
	if dir, ok := strings.CutPrefix(name, "sqlite:"); ok {
		return sqlite.OpenEnd(dir, mayMake)
	}
	c := storeConfig{Type: storePostgres, URL: name, Replica: m.replica}
	if file, ok := strings.CutPrefix(name, "@"); ok {
		c.URL, c.URLFile = "", file
	}
	pc, err := c.postgres()
	if err != nil {
		return nil, err
	}
	if c.URLFile == "" && postgres.HasPassword(name) {
		return nil, errors.New("a password on the command line is seen by others: put the URL in a file of mode 0600, and write @FILE")
	}
	return postgres.OpenEnd(ctx, pc)
}

func (a *app) migrateStore(ctx context.Context, m storeMove) (err error) {
	if m.from == "" || m.to == "" {
		return errors.New("both --from and --to are needed")
	}
	from, err := m.open(ctx, m.from, false)
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := m.open(ctx, m.to, true)
	if err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	records, err := transfer.Move(ctx, from, to, a.moveProgress())
	if err != nil {
		return err
	}
	return a.print("Migration", struct {
		From    string `json:"from"`
		To      string `json:"to"`
		Records uint64 `json:"records"`
	}{from.Place, to.Place, records}, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "%s: %d records, every hash is right\n", to.Place, records)
		fmt.Fprintf(w, "Nobody writes to %s any more. Next: change the section store of the configuration.\n", from.Place)
	})
}

// progressStep is how many rows lie between two lines of progress.
const progressStep = 100_000

// moveProgress prints a line to standard error for each large step.
func (a *app) moveProgress() transfer.Progress {
	next := uint64(progressStep)
	last := ""
	return func(table string, done, of uint64) {
		if table != last {
			last, next = table, progressStep
		}
		if done >= next {
			fmt.Fprintf(a.stderr, "%s: %d of %d\n", table, done, of)
			next = done + progressStep
		}
	}
}

func newStoreAcceptCommand(a *app) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "accept",
		Short: "Accept a store that was put back from a backup",
		Long: `Ends the alarm store-current of ca check: what this server noted of its store is
replaced by what the store has now. Certificates that were issued since the backup
stay valid and are in no record.`,
		Example: "  ca store accept --config /etc/kedge/ca.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			return a.acceptStore(cmd.Context(), cfg)
		},
	}
	cmd.Flags().StringVar(&path, "config", defaultConfigPath, "configuration of the server")
	return cmd
}

func (a *app) acceptStore(ctx context.Context, cfg config) error {
	if err := secretfile.CheckDir(cfg.DataDir); err != nil {
		return err
	}
	s, err := cfg.readStore(ctx)
	if err != nil {
		return err
	}
	mark, err := s.Mark(ctx)
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	if err := writeHead(cfg.DataDir, mark); err != nil {
		return err
	}
	return a.print("StoreAccepted", mark, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "%s is accepted with %d records and %d events\n", cfg.place(), mark.Records.Seq, mark.Events.Seq)
	})
}
