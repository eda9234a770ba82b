package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/store/postgres"
	"github.com/kedge-ca/kedge/ca/store/postgres/postgrestest"
)

// postgresSite is a site whose state is at url.
func postgresSite(t *testing.T, url string) site {
	t.Helper()
	return newSite(t, at(time.Now()), t.TempDir(), func(c *config) {
		c.Store = storeConfig{Type: storePostgres, URL: url, Replica: "a"}
	})
}

// replica is a further server of the site s: the same root and state, keys of its
// own.
func (s site) replica(t *testing.T, name string) site {
	t.Helper()
	other := s.copy(t, t.TempDir())
	other.edit(t, "replica: a", "replica: "+name)
	require.NoError(t, os.RemoveAll(filepath.Join(other.config.DataDir, "keys")))
	cfg, err := loadConfig(other.path)
	require.NoError(t, err)
	return site{config: cfg, path: other.path, dir: other.dir}
}

func TestReplicasOfAPrimaryShareRecordsAndTokensAndNoKey(t *testing.T) {
	ca, pg := filepath.Join(buildCA(t), "ca"), postgrestest.Start(t)
	a := postgresSite(t, pg.Database(t, "kedge"))
	b := a.replica(t, "b")
	serveSite(t, ca, a)
	serveSite(t, ca, b)
	a.issues(t, ca)
	b.issues(t, ca)

	token, code := a.command(t, ca, "token", "create", "--identity", "spiffe://example.org/vm/db-1", "-o", "json")
	require.Equal(t, exitOK, code, token)
	var made struct{ Token string }
	decode(t, token, &made)
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "join"), []byte(made.Token), 0o600))
	issue := func(s site) (string, int) {
		return s.command(t, ca, "issue", "--server", s.config.Listen, "--bundle", filepath.Join(b.dir, "bundle.pem"),
			"--token-file", filepath.Join(b.dir, "join"), "--out", t.TempDir())
	}
	out, code := issue(b)
	require.Equal(t, exitOK, code, "made at one replica, used at another: %s", out)
	out, code = issue(a)
	require.Equal(t, exitFail, code)
	require.Contains(t, out, "token_used")

	for _, s := range []site{a, b} {
		out, code = s.command(t, ca, "audit", "search", "--identity", "spiffe://example.org/vm/", "-o", "json")
		require.Equal(t, exitOK, code, out)
		require.Equal(t, 3, strings.Count(out, `"spiffe://example.org/vm/db-1"`), out)
		out, code = s.command(t, ca, "check", "--config", s.path)
		require.NotContains(t, out, "×")
		require.Equal(t, exitOK, code, out)
	}
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: a.config.Store.URL, Replica: "c", ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, pool.Close()) }()
	states, err := pool.States(t.Context())
	require.NoError(t, err)
	require.Len(t, states, 2)
	require.Equal(t, states["a"].Anchors, states["b"].Anchors)
	require.NotEqual(t, states["a"].Intermediates, states["b"].Intermediates)
	n, err := pool.Verify(t.Context())
	require.NoError(t, err)
	require.Greater(t, n, uint64(3))
}

func TestInitRefusesADatabaseThatIsInUse(t *testing.T) {
	pg := postgrestest.Start(t)
	s := postgresSite(t, pg.Database(t, "kedge"))
	o := &initOptions{config: s.config}
	o.config.DataDir = filepath.Join(t.TempDir(), "data")
	require.ErrorContains(t, o.config.Store.refuseInUse(t.Context()), "has an authority already")
	require.NoDirExists(t, o.config.DataDir)
}

func TestServeRefusesAnEmptyDatabase(t *testing.T) {
	pg := postgrestest.Start(t)
	s := postgresSite(t, pg.Database(t, "kedge"))
	s.edit(t, s.config.Store.URL, pg.Database(t, "empty"))
	out, code := s.command(t, filepath.Join(buildCA(t), "ca"), "serve", "--config", s.path)
	require.Equal(t, exitFail, code)
	require.Contains(t, out, "there is no authority in postgres://kedge@127.0.0.1")
}

func TestStoreConfigurationIsRefused(t *testing.T) {
	const rest = "trustDomain: example.org\nroot: {passphrase: {env: P}}\nkeys: {passphrase: {env: P}}\n"
	for name, row := range map[string]struct{ yaml, want string }{
		"an unknown type":           {"store: {type: etcd}", `:4:15: store.type: "etcd" is neither sqlite nor postgres`},
		"a URL without its type":    {"store: {url: postgres://u@localhost/db}", "store.url: "},
		"no URL":                    {"store: {type: postgres}", "store: name exactly one of url and urlFile"},
		"two URLs":                  {"store: {type: postgres, url: postgres://u@localhost/db, urlFile: /f}", "store: name exactly one"},
		"a relative file":           {"store: {type: postgres, urlFile: f}", `store.urlFile: "f" is not an absolute path`},
		"a password in the open":    {"store: {type: postgres, url: postgres://u:secret@localhost/db}", "store.url: it has a password"},
		"an unverified connection":  {"store: {type: postgres, url: postgres://u@db.example/db}", "store.url: host db.example is not this machine"},
		"a replica of a store here": {"store: {type: sqlite, replica: a}", "store.replica: "},
	} {
		_, err := parseConfig("ca.yaml", []byte(rest+row.yaml+"\n"))
		require.ErrorContains(t, err, row.want, name)
		require.NotContains(t, err.Error(), "secret", name)
	}
	cfg, err := parseConfig("ca.yaml", []byte(rest))
	require.NoError(t, err)
	require.Equal(t, storeConfig{Type: storeSQLite}, cfg.Store)
}

func TestURLIsReadFromAFileThatIsClosedToOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "url")
	require.NoError(t, os.WriteFile(path, []byte("postgres://u:secret@localhost/db\n"), 0o600))
	c := storeConfig{Type: storePostgres, URLFile: path}
	pc, err := c.postgres()
	require.NoError(t, err)
	require.Equal(t, "postgres://u:secret@localhost/db", pc.URL)
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, host, pc.Replica)
	require.NotContains(t, config{Store: c}.place(), "secret")
	require.NoError(t, os.Chmod(path, 0o644))
	_, err = c.postgres()
	require.ErrorContains(t, err, "store.urlFile: ")
}

// TestServerGoesOnFromABackup copies the database beside the running server, puts
// the copy back later, and looks at what is said and what is not lost.
func TestServerGoesOnFromABackup(t *testing.T) {
	ca, s := filepath.Join(buildCA(t), "ca"), makeSite(t, at(time.Now()))
	server := serveSite(t, ca, s)
	s.issues(t, ca)
	copied := filepath.Join(t.TempDir(), "copy.db")
	out, code := s.command(t, ca, "store", "backup", copied, "--config", s.path)
	require.Equal(t, exitOK, code, out)
	require.Contains(t, out, "every hash is right")
	info, err := os.Stat(copied)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode())
	out, code = s.command(t, ca, "store", "backup", copied, "--config", s.path)
	require.Equal(t, exitFail, code, "it overwrites nothing: %s", out)
	atBackup := s.serials(t, ca)
	s.issues(t, ca)
	before := s.serials(t, ca)
	require.Greater(t, len(before), len(atBackup))
	stop := func(p process) {
		require.NoError(t, p.Process.Signal(os.Interrupt))
		<-p.ended
	}
	stop(server)

	raw, err := os.ReadFile(copied)
	require.NoError(t, err)
	db := filepath.Join(s.config.databaseDir(), "kedge.db")
	require.NoError(t, os.WriteFile(db, raw, 0o600))
	server = serveSite(t, ca, s)
	s.issues(t, ca)
	out, code = s.command(t, ca, "audit", "verify")
	require.Equal(t, exitOK, code, out)
	check := func() string {
		out, _ := s.command(t, ca, "check", "--config", s.path)
		return out
	}
	require.Contains(t, check(), "× store-current")
	after := s.serials(t, ca)
	for serial := range after {
		require.False(t, before[serial] && !atBackup[serial], "serial %s was given out again", serial)
	}
	require.Greater(t, len(after), len(atBackup), "it has gone on")

	out, code = s.command(t, ca, "store", "accept", "--config", s.path)
	require.Equal(t, exitOK, code, out)
	require.Contains(t, check(), "√ store-current")
	stop(server)
	serveSite(t, ca, s)
	require.Contains(t, check(), "√ store-current")
}

// serials are those of all records of the server.
func (s site) serials(t *testing.T, ca string) map[string]bool {
	t.Helper()
	out, code := s.command(t, ca, "audit", "search", "-o", "json")
	require.Equal(t, exitOK, code, out)
	all := make(map[string]bool)
	for _, m := range regexp.MustCompile(`"serial": ?"([0-9a-f]+)"`).FindAllStringSubmatch(out, -1) {
		all[m[1]] = true
	}
	require.NotEmpty(t, all, out)
	return all
}
