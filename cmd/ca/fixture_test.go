package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// fixtures are what costs seconds to make and which no test changes: the program,
// and a site of each age. A test gets a copy of a site.
var fixtures fixtureSet

type fixtureSet struct {
	mu    sync.Mutex
	dir   string          // "" before there is one
	bin   string          // where the program is, "" before it is built
	sites map[string]site // by the day of their making
}

// place is a new directory for a fixture, which outlives its test.
func (f *fixtureSet) place(t *testing.T) string {
	t.Helper()
	if f.dir == "" {
		var err error
		f.dir, err = os.MkdirTemp("", "kedge-ca-test")
		require.NoError(t, err)
		f.sites = make(map[string]site)
	}
	place, err := os.MkdirTemp(f.dir, "")
	require.NoError(t, err)
	return place
}

// remove removes all fixtures and returns an exit code.
func (f *fixtureSet) remove(log io.Writer) int {
	if f.dir == "" {
		return 0
	}
	if err := os.RemoveAll(f.dir); err != nil {
		fmt.Fprintln(log, err)
		return 1
	}
	return 0
}

// buildCA builds the real program, a test binary cannot be in FIPS mode, and returns
// the directory of it. Without -trimpath the packages are those that go test has
// compiled already; with it, a cold cache cost the first test that needs the program
// a minute and a half.
func buildCA(t *testing.T) string {
	t.Helper()
	fixtures.mu.Lock()
	defer fixtures.mu.Unlock()
	if fixtures.bin == "" {
		bin := fixtures.place(t)
		out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, "ca"), ".").CombinedOutput()
		require.NoError(t, err, "%s", out)
		fixtures.bin = bin
	}
	return fixtures.bin
}

// makeSite does what ca init does, at the time of a, or copies what it did on that
// day. A key that is sealed costs 600 000 iterations, and a site has three.
func makeSite(t *testing.T, a *app) site {
	t.Helper()
	fixtures.mu.Lock()
	defer fixtures.mu.Unlock()
	day := a.now().Format("2006-01-02")
	made, ok := fixtures.sites[day]
	if !ok {
		made = newSite(t, a, fixtures.place(t), func(*config) {})
		fixtures.sites[day] = made
	}
	return made.copy(t, t.TempDir())
}

// copy is the site with everything in another directory, and an address of its own.
func (s site) copy(t *testing.T, dir string) site {
	t.Helper()
	require.NoError(t, filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || path == s.dir {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, s.dir))
		if d.IsDir() {
			return os.Mkdir(to, info.Mode().Perm())
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, content, info.Mode().Perm())
	}))
	listen, err := freeAddr()
	require.NoError(t, err)
	path := filepath.Join(dir, filepath.Base(s.path))
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(raw), s.config.Listen)
	own := strings.NewReplacer(s.dir, dir, s.config.Listen, listen).Replace(string(raw))
	require.NoError(t, os.WriteFile(path, []byte(own), 0o600))
	cfg, err := loadConfig(path)
	require.NoError(t, err)
	return site{config: cfg, path: path, dir: dir}
}
