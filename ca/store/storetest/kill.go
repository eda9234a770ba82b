package storetest

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store"
)

// kills is how often the victim is killed; each time it gets a little further or
// less far.
const kills = 8

// survivesKill kills a process that records as fast as it can, and checks what is
// there against what it had been told was durable.
func survivesKill(t *testing.T, b *bench) {
	parent, _, _ := strings.Cut(t.Name(), "/")
	acknowledged := make(map[string]bool)
	var version, document ca.Version
	for round := range kills {
		told := runVictim(t, b, victimRun{test: parent, lines: 40 + 97*round})
		for _, serial := range told.serials {
			require.False(t, acknowledged[serial], "serial %s was recorded twice", serial)
			acknowledged[serial] = true
		}
		version, document = max(version, told.version), max(document, told.document)

		s := b.store(t)
		found := all(t, s)
		for serial := range acknowledged {
			_, isThere := found[serial]
			require.True(t, isThere, "round %d lost an acknowledged record", round)
		}
		_, stored, err := s.Load(t.Context())
		require.NoError(t, err)
		require.GreaterOrEqual(t, stored, version, "round %d lost an acknowledged state", round)
		version = stored
		kept, err := s.Document(t.Context(), "plan", "one")
		require.NoError(t, err)
		require.GreaterOrEqual(t, kept.Version, document, "round %d lost an acknowledged document", round)
		document = kept.Version
		for _, used := range told.tokens {
			_, err := s.UseJoinToken(t.Context(), token(used).Hash, start)
			requireReason(t, ca.ReasonTokenUsed, err)
		}
		require.NoError(t, s.Close())
		b.opened = nil
	}
}

type victimRun struct {
	test  string // runs Run in the child
	lines int    // how many acknowledgements to wait for before the kill
}

// told is what the victim had been told was durable.
type told struct {
	serials  []string
	version  ca.Version // of the state
	document ca.Version
	tokens   []string
}

func runVictim(t *testing.T, b *bench, run victimRun) told {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+run.test+"$", "-test.v=false")
	cmd.Env = append(os.Environ(), childVar+"="+b.dir)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var told told
	lines := bufio.NewScanner(stdout)
	for n := 0; lines.Scan(); n++ { // reads on after the kill: what is in the pipe was acknowledged
		if n == run.lines {
			require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
		}
		kind, value, _ := strings.Cut(lines.Text(), " ")
		switch kind {
		case "record":
			told.serials = append(told.serials, value)
		case "token":
			told.tokens = append(told.tokens, value)
		case "state":
			version, err := strconv.ParseUint(value, 10, 64)
			require.NoError(t, err)
			told.version = ca.Version(version)
		case "document":
			version, err := strconv.ParseUint(value, 10, 64)
			require.NoError(t, err)
			told.document = ca.Version(version)
		default:
			require.Fail(t, "the victim says "+lines.Text())
		}
	}
	require.NoError(t, lines.Err())
	err = cmd.Wait()
	require.ErrorContains(t, err, "signal: killed", "the victim was to die by the kill")
	require.GreaterOrEqual(t, len(told.serials), run.lines/2)
	return told
}

// victim writes until it is killed, and prints what it was told is durable: each
// line goes out whole in one write.
func victim(t *testing.T, open Opener, dir string) {
	s := open(t, dir)
	failed := make(chan error)
	for range 16 {
		go func() { failed <- recordForEver(t, s) }()
	}
	go func() { failed <- replaceForEver(t, s) }()
	go func() { failed <- putForEver(t, s) }()
	go func() { failed <- spendForEver(t, s) }()
	require.NoError(t, <-failed)
}

func recordForEver(t *testing.T, s store.Store) error {
	for {
		serial := make([]byte, 16)
		if _, err := rand.Read(serial); err != nil {
			return err
		}
		serial[0] = serial[0]&0x7f | 0x40
		r := record(1)
		r.Serial = hex.EncodeToString(serial)
		if err := s.Intend(t.Context(), r); err != nil {
			return err
		}
		if err := say("record", r.Serial); err != nil {
			return err
		}
	}
}

func replaceForEver(t *testing.T, s store.Store) error {
	_, version, err := s.Load(t.Context())
	if err != nil {
		return err
	}
	for {
		if version, err = s.Replace(t.Context(), version, state(uint64(version))); err != nil {
			return err
		}
		if err := say("state", version); err != nil {
			return err
		}
	}
}

func putForEver(t *testing.T, s store.Store) error {
	kept, err := s.Document(t.Context(), "plan", "one")
	if err != nil {
		return err
	}
	for version := kept.Version; ; {
		if version, err = s.PutDocument(t.Context(), "plan", "one", version, fmt.Append(nil, version)); err != nil {
			return err
		}
		if err := say("document", version); err != nil {
			return err
		}
	}
}

func spendForEver(t *testing.T, s store.Store) error {
	for {
		secret := rand.Text()
		if err := s.CreateJoinToken(t.Context(), token(secret)); err != nil {
			return err
		}
		if _, err := s.UseJoinToken(t.Context(), token(secret).Hash, start); err != nil {
			return err
		}
		if err := say("token", secret); err != nil {
			return err
		}
	}
}

func say(kind string, value any) error {
	_, err := os.Stdout.WriteString(fmt.Sprintln(kind, value))
	return err
}
