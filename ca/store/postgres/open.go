package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/kedge-ca/kedge/ca/store"
	"github.com/kedge-ca/kedge/ca/store/ledger"
	"github.com/kedge-ca/kedge/ca/store/schema"
)

// Store is an open database. It implements store.Durable.
type Store struct {
	*ledger.Reader

	db       *sql.DB
	replica  string
	writes   *writer // nil when opened read-only
	segments *summariser

	closeOnce sync.Once
	closeErr  error
}

var _ store.Durable = (*Store)(nil)

// Open connects and, unless read-only, brings the schema up to date; ctx bounds no
// more than that. The caller closes the store.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Queue == 0 {
		c.Queue = 4096
	}
	if c.Queue < 0 {
		return nil, errors.New("opening store: the queue is negative")
	}
	cc, err := c.connConfig()
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	s := &Store{replica: c.Replica}
	if err := s.open(ctx, c, cc); err != nil {
		return nil, errors.Join(fmt.Errorf("opening store %s: %w", Redact(c.URL), err), s.Close())
	}
	return s, nil
}

// connections is how many there are besides the writer's: enough for searches and
// changes of documents beside each other.
const connections = 8

// pingAfter is shorter than any restart of a server.
const pingAfter = 50 * time.Millisecond

func (s *Store) open(ctx context.Context, c Config, cc *pgx.ConnConfig) error {
	// A connection that the server has closed since its last use is found before it is
	// used, not by a write whose outcome is then unknown.
	s.db = stdlib.OpenDB(*cc, stdlib.OptionShouldPing(func(_ context.Context, p stdlib.ShouldPingParams) bool {
		return p.IdleDuration > pingAfter
	}))
	s.db.SetMaxOpenConns(connections)
	s.db.SetMaxIdleConns(2)
	s.Reader = ledger.NewReader(s.db, schema.PostgreSQL(), c.Replica)
	if c.ReadOnly {
		return checkCurrent(ctx, s.db)
	}
	if err := migrate(ctx, s.db); err != nil {
		return err
	}
	s.segments = startSummariser(s.db)
	s.writes = startWriter(c.Queue, &log{
		connect: func(ctx context.Context) (*pgx.Conn, error) { return pgx.ConnectConfig(ctx, cc) },
		exists:  s.SerialExists, wrote: s.segments.wrote, suspect: suspectFirst,
	})
	return nil
}

// checkSession refuses a server that would lose what it said it has committed.
func checkSession(ctx context.Context, c *pgconn.PgConn) error {
	result := c.ExecParams(ctx, "SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('server_version_num')::int >= 130000",
		nil, nil, nil, nil).Read()
	if result.Err != nil {
		return fmt.Errorf("asking for the server's settings: %w", result.Err)
	}
	if len(result.Rows) != 1 || len(result.Rows[0]) != 3 {
		return errors.New("the server did not answer what its settings are")
	}
	fsync, synchronous, isKnown := string(result.Rows[0][0]), string(result.Rows[0][1]), string(result.Rows[0][2])
	switch {
	case isKnown != "t":
		return errors.New("the server is older than PostgreSQL 13")
	case fsync != "on":
		return fmt.Errorf("the server's fsync is %s: a crash loses what it has committed; set it to on", fsync)
	case synchronous == "off":
		return errors.New("the server's synchronous_commit is off: a crash loses what it has committed; set it to on for this user")
	}
	return nil
}

// Close writes what was accepted and refuses everything else. It may be called more
// than once.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		var errs []error
		if s.writes != nil {
			errs = append(errs, s.writes.close())
		}
		if s.segments != nil {
			s.segments.close()
		}
		if s.db != nil {
			errs = append(errs, s.db.Close())
		}
		s.closeErr = errors.Join(errs...)
	})
	return s.closeErr
}
