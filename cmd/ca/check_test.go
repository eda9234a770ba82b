package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

const day = 24 * time.Hour

// healthy is a server at now that no check complains of, with a change.
func healthy(t *testing.T, now time.Time, change func(*kedgev1.StatusResponse)) *kedgev1.StatusResponse {
	t.Helper()
	s := &kedgev1.StatusResponse{
		Version: "1", TrustDomain: "example.org", Now: timestamppb.New(now), Ready: true,
		FipsVerdict: fips.VerdictApproved, FipsModule: "Module 1",
		Bundle: &kedgev1.Bundle{Anchors: []*kedgev1.Anchor{
			anchorUntil(t, now.Add(3650*day), kedgev1.Slot_SLOT_ACTIVE), anchorUntil(t, now.Add(3650*day), kedgev1.Slot_SLOT_STANDBY),
		}},
		Intermediate:              &kedgev1.Intermediate{NotAfter: timestamppb.New(now.Add(5 * day))},
		ServerCertificateNotAfter: timestamppb.New(now.Add(20 * time.Hour)),
		KeySources:                []*kedgev1.KeySource{{Name: "east", Keys: 2, LastSuccess: timestamppb.New(now.Add(-time.Minute))}},
	}
	if change != nil {
		change(s)
	}
	return s
}

func anchorUntil(t *testing.T, end time.Time, slot kedgev1.Slot) *kedgev1.Anchor {
	t.Helper()
	return &kedgev1.Anchor{Certificate: issued(t, end.Add(-3650*day), end).Chain[0].Raw, Slot: slot}
}

// notWell are the checks that are not OK, as "level id: detail".
func notWell(results []checkResult) []string {
	list := []string{}
	for _, r := range results {
		if r.Level != ca.LevelOK {
			list = append(list, string(r.Level)+" "+r.ID+": "+r.Detail)
		}
	}
	return list
}

// checked collects every id that a test has seen at work.
type checked map[string]bool

func (c checked) note(results []checkResult) {
	for _, r := range results {
		c[r.ID] = true
	}
}

// TestChecks has a row for each thing that a check complains of, and at its end
// holds docs/checks.md to the ids, both ways.
func TestChecks(t *testing.T) {
	seen := checked{}
	t.Run("server", func(t *testing.T) { testServerChecks(t, seen) })
	t.Run("module", func(t *testing.T) { testModuleChecks(t, seen) })
	t.Run("store", func(t *testing.T) { testStoreChecks(t, seen) })
	t.Run("head", func(t *testing.T) { testHeadChecks(t, seen) })
	t.Run("config", func(t *testing.T) { testConfigChecks(t, seen) })
	t.Run("zones", func(t *testing.T) { testZoneChecks(t, seen) })

	raw, err := os.ReadFile("../../docs/checks.md")
	require.NoError(t, err)
	section, _, ok := strings.Cut(string(raw), "\n# A chain: ca verify\n")
	require.True(t, ok)
	documented := checked{}
	for _, s := range strings.Split(section, "\n## ")[1:] {
		name, _, _ := strings.Cut(s, "\n")
		if name == "root-files" || !strings.HasPrefix(name, "root-") { // TestRootChecks has the others
			documented[name] = true
		}
	}
	require.Equal(t, documented, seen)
}

func testServerChecks(t *testing.T, seen checked) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	type server = kedgev1.StatusResponse
	rows := []struct {
		name   string
		change func(*server)
		want   []string
	}{
		{"well", nil, nil},
		{"not ready", func(s *server) { s.Ready, s.NotReadyReason, s.NotReadyDetail = false, "not_ready", "expired" }, []string{"fail ready: not_ready: expired"}},
		{"clock ahead", func(s *server) { s.Now = timestamppb.New(now.Add(6 * time.Second)) }, []string{"fail clock-skew: the server's clock differs by 6s"}},
		{"clock behind", func(s *server) { s.Now = timestamppb.New(now.Add(-time.Hour)) }, []string{"fail clock-skew: the server's clock differs by 1h0m"}},
		{"clock off a little", func(s *server) { s.Now = timestamppb.New(now.Add(5 * time.Second)) }, nil},
		{"degraded", func(s *server) { s.FipsVerdict = fips.VerdictDegraded }, []string{"fail server-fips-mode: degraded, Module 1"}},
		{"error state", func(s *server) { s.FipsVerdict = fips.VerdictError }, []string{"fail server-fips-mode: error, Module 1"}},
		{"no standby", func(s *server) { s.Bundle.Anchors = s.Bundle.Anchors[:1] }, []string{"warn standby-present: no standby anchor is published"}},
		{"no bundle", func(s *server) { s.Bundle = nil }, []string{"fail anchor-life: there is no bundle", "warn standby-present: no standby anchor is published"}},
		{"no intermediate", func(s *server) { s.Intermediate = nil }, []string{"fail intermediate-life: there is no intermediate"}},
		{"intermediate ends soon", func(s *server) { s.Intermediate.NotAfter = timestamppb.New(now.Add(day)) }, []string{"warn intermediate-life: intermediate ends in 1d0h"}},
		{"intermediate ended", func(s *server) { s.Intermediate.NotAfter = timestamppb.New(now.Add(-day)) }, []string{"fail intermediate-life: intermediate ended 1d0h ago"}},
		{"renewals fail", func(s *server) { s.UpkeepError = "the root is away" }, []string{"warn intermediate-renewal: the last renewal failed: the root is away"}},
		{"no server certificate", func(s *server) { s.ServerCertificateNotAfter = nil }, []string{"fail server-certificate-life: the server has no certificate: no proxy can connect"}},
		{"server certificate ends soon", func(s *server) { s.ServerCertificateNotAfter = timestamppb.New(now.Add(time.Hour)) }, []string{"warn server-certificate-life: the server's certificate ends in 1h0m"}},
		{"no token keys", func(s *server) { s.KeySources[0].Keys, s.KeySources[0].LastError = 0, "404" },
			[]string{"fail token-keys: east: 0 keys, read 2026-11-24T11:59:00Z (1m0s ago); none of its tokens can be verified: 404"}},
		{"old token keys", func(s *server) { s.KeySources[0].LastError = "404" },
			[]string{"warn token-keys: east: 2 keys, read 2026-11-24T11:59:00Z (1m0s ago); the last reading failed: 404"}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			results := statusChecks(healthy(t, now, r.change), now, time.Hour)
			seen.note(results)
			require.ElementsMatch(t, r.want, notWell(results))
			for _, c := range results {
				require.Equal(t, c.Level == ca.LevelOK, c.Hint == "", "a hint belongs to what is not well: %v", c)
			}
		})
	}
}

func TestAnchorLifeIsWarnedOfInTime(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	rows := []struct {
		name string
		left time.Duration
		want ca.Level
	}{
		{"years", 3650 * day, ca.LevelOK},
		{"61 days", 61 * day, ca.LevelOK},
		{"59 days", 59 * day, ca.LevelWarn},
		{"over", -time.Second, ca.LevelFail},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			b := &kedgev1.Bundle{Anchors: []*kedgev1.Anchor{anchorUntil(t, now.Add(r.left), kedgev1.Slot_SLOT_STANDBY)}}
			results := anchorChecks(b, now)
			require.Equal(t, r.want, results[0].Level, results[0].Detail)
			require.Equal(t, ca.LevelOK, results[1].Level)
		})
	}
	broken := anchorChecks(&kedgev1.Bundle{Anchors: []*kedgev1.Anchor{{Certificate: []byte{1}}}}, now)
	require.Equal(t, ca.LevelFail, broken[0].Level)
}

// TestFailWithinLooksAtWhatNobodyRenews: an intermediate lives for a week and would
// fail every pipeline.
func TestFailWithinLooksAtWhatNobodyRenews(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	until := func(left time.Duration) []byte {
		return anchorUntil(t, now.Add(left), kedgev1.Slot_SLOT_ACTIVE).GetCertificate()
	}
	rows := []struct {
		name   string
		anchor time.Duration
		chain  []time.Duration // the intermediate first
		want   ca.Level
		code   int
	}{
		{"all live", 31 * day, []time.Duration{7 * day, 31 * day}, ca.LevelOK, exitOK},
		{"an anchor", 29 * day, []time.Duration{7 * day}, ca.LevelFail, exitAttention},
		{"what is between", 31 * day, []time.Duration{7 * day, 29 * day}, ca.LevelFail, exitAttention},
		{"without an intermediate", 31 * day, nil, ca.LevelOK, exitOK},
		{"one that has ended", -day, nil, ca.LevelFail, exitAttention},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := &kedgev1.StatusResponse{Bundle: &kedgev1.Bundle{Anchors: []*kedgev1.Anchor{{Certificate: until(row.anchor)}}}, Intermediate: &kedgev1.Intermediate{}}
			for _, left := range row.chain {
				s.Intermediate.Chain = append(s.Intermediate.Chain, until(left))
			}
			r := endsWithin(s, now, 30*day)
			require.Equal(t, row.want, r.Level, r.Detail)
			require.Equal(t, row.want == ca.LevelOK, r.Hint == "")

			a, _, _ := testApp(now)
			err, code := a.printChecks([]checkResult{r}, false), exitOK
			var exit *exitError
			if errors.As(err, &exit) {
				code = exit.code
			}
			require.Equal(t, row.code, code)
			require.ErrorContains(t, a.printChecks([]checkResult{r, {"x", "ready", ca.LevelFail, "", "x"}}, false), "exit code 1", "a failure is graver")
		})
	}
}

func testModuleChecks(t *testing.T, seen checked) {
	well := moduleChecks(fips.BoringCrypto, nil)
	seen.note(well)
	require.Empty(t, notWell(well))
	require.Equal(t, []string{"warn fips-module-status: module_sunset_near: soon", "warn fips-module-status: status_stale: old"},
		notWell(moduleChecks(fips.Native, []fips.Warning{{Code: "module_sunset_near", Detail: "soon"}, {Code: "status_stale", Detail: "old"}})))
	// A test binary is no FIPS program: fips.Start refuses it.
	a, _, _ := testApp(time.Now())
	require.Contains(t, notWell(a.checkModule())[0], "fail fips-mode: ")
}

func testStoreChecks(t *testing.T, seen checked) {
	const ext4, much = 0xef53, 10 << 30
	rows := []struct {
		name       string
		kind, free uint64
		want       string
	}{
		{"a disk", ext4, much, ""},
		{"memory", 0x01021994, much, "fail store-durable: /d is on tmpfs"},
		{"NFS", 0x6969, much, "warn store-durable: /d is on NFS"},
		{"little space", ext4, 200 << 20, "warn store-durable: /d: 200 MiB are free"},
		{"no space", ext4, 1 << 20, "fail store-durable: /d: 1 MiB are free"},
		{"no space on NFS", 0x6969, 1 << 20, "fail store-durable: /d: 1 MiB are free"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			result := judgeStore("/d", r.kind, r.free)
			seen.note([]checkResult{result})
			if r.want == "" {
				require.Equal(t, ca.LevelOK, result.Level)
				return
			}
			require.Contains(t, notWell([]checkResult{result})[0], r.want)
			require.NotEmpty(t, result.Hint)
		})
	}
	// A data directory that is not there yet is judged by where it will be.
	missing := checkStore(t.Context(), config{DataDir: filepath.Join(t.TempDir(), "a", "b")})
	require.NotContains(t, missing.Detail, "no such file")
}

// testHeadChecks puts a database back from a backup.
func testHeadChecks(t *testing.T, seen checked) {
	cfg := makeSite(t, at(time.Now())).config
	check := func() string {
		results := []checkResult{checkHead(t.Context(), cfg)}
		seen.note(results)
		return strings.Join(notWell(results), "")
	}
	require.Empty(t, check(), "nothing was noted yet")
	note := func(write bool) {
		s, err := cfg.makeStore(t.Context())
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		if write {
			require.NoError(t, s.Append(t.Context(), ca.Event{At: time.Now(), Actor: "uid:0", Action: "test"}))
		}
		(&headKeeper{dataDir: cfg.DataDir, store: s, log: slog.New(slog.DiscardHandler)}).note(t.Context())
	}
	note(true)
	require.Empty(t, check())
	backup, err := os.ReadFile(filepath.Join(cfg.databaseDir(), "kedge.db"))
	require.NoError(t, err)
	note(true)
	require.Empty(t, check())
	require.NoError(t, os.WriteFile(filepath.Join(cfg.databaseDir(), "kedge.db"), backup, 0o600))
	require.Contains(t, check(), "fail store-current: the store is older than what this server has written: its log of events ends at ")
	note(true)
	note(true)
	require.Contains(t, check(), "two servers have gone on from one copy", "and it does not go away by writing more")
	require.NoError(t, os.WriteFile(headPath(cfg.DataDir), []byte("{"), 0o600))
	require.Contains(t, check(), "fail store-current: "+headPath(cfg.DataDir)+" is damaged")
	require.NoError(t, os.Remove(filepath.Join(cfg.databaseDir(), "kedge.db")))
	require.Contains(t, check(), "no such file")
}

func testConfigChecks(t *testing.T, seen checked) {
	a, _, _ := testApp(time.Now())
	// Nothing of what this names is there.
	path := filepath.Join(t.TempDir(), "ca.yaml")
	require.NoError(t, os.WriteFile(path, []byte(minimalConfig), 0o644))
	results := a.checkConfig(t.Context(), path)
	seen.note(results)
	var ids []string
	for _, r := range results {
		ids = append(ids, string(r.Level)+" "+r.ID)
	}
	// store-durable is what this machine is.
	require.Equal(t, []string{"ok config-valid", "fail passphrases-readable", "fail passphrases-readable", "fail key-files-mode"}, ids[:4])
	require.Equal(t, "fail root-files", ids[len(ids)-1])

	require.NoError(t, os.WriteFile(path, []byte("colour: red\n"), 0o644))
	require.Contains(t, notWell(a.checkConfig(t.Context(), path))[0], "fail config-valid: "+path+":1:1")

	seen.note(a.checkServer(t.Context(), checkOptions{socket: filepath.Join(t.TempDir(), "none.sock")}))
}

func TestKeyFilesThatOthersCanReadAreNamed(t *testing.T) {
	dir := t.TempDir()
	cfg := config{DataDir: filepath.Join(dir, "d"), Root: rootConfig{Dir: filepath.Join(dir, "d", "root")}}
	for _, sub := range []string{"", "db", "keys", "root"} {
		require.NoError(t, os.Mkdir(filepath.Join(cfg.DataDir, sub), 0o700))
	}
	key := filepath.Join(cfg.DataDir, "keys", "k.key")
	require.NoError(t, os.WriteFile(key, nil, 0o600))
	require.Equal(t, checkResult{"config", "key-files-mode", ca.LevelOK, "1 key, and their directories, are closed to others", ""}, checkKeyFiles(cfg))
	require.NoError(t, os.Chmod(key, 0o640))
	require.NoError(t, os.Chmod(cfg.Root.Dir, 0o755))
	r := checkKeyFiles(cfg)
	require.Equal(t, ca.LevelFail, r.Level)
	require.Contains(t, r.Detail, key)
	require.Contains(t, r.Detail, cfg.Root.Dir)
}

func TestCheckEndsWithItsVerdict(t *testing.T) {
	well := checkResult{"server", "ready", ca.LevelOK, "fine", ""}
	warning := checkResult{"authority", "standby-present", ca.LevelWarn, "none", "make one"}
	failure := checkResult{"authority", "anchor-life", ca.LevelFail, "over\nand over", "ca repair"}
	rows := []struct {
		name    string
		results []checkResult
		strict  bool
		code    int
		last    string
	}{
		{"well", []checkResult{well}, true, exitOK, "Status check results are √\n"},
		{"warning", []checkResult{well, warning}, false, exitOK, "Status check results are ‼\n"},
		{"warning, strictly", []checkResult{well, warning}, true, exitWarn, "Status check results are ‼\n"},
		{"failure before a warning", []checkResult{failure, warning}, true, exitFail, "Status check results are ×\n"},
		{"failure", []checkResult{warning, failure}, false, exitFail, "Status check results are ×\n"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			a, stdout, _ := testApp(time.Now())
			err := a.printChecks(r.results, r.strict)
			code := exitOK
			if err != nil {
				var exit *exitError
				require.ErrorAs(t, err, &exit)
				code = exit.code
			}
			require.Equal(t, r.code, code)
			require.True(t, strings.HasSuffix(stdout.String(), r.last), stdout.String())
		})
	}
	a, stdout, _ := testApp(time.Now())
	require.Error(t, a.printChecks([]checkResult{failure}, false))
	require.Contains(t, stdout.String(), "× anchor-life  over; and over\n")
	require.Contains(t, stdout.String(), "→ ca repair\n")
	require.Contains(t, stdout.String(), "docs/checks.md#anchor-life\n")
}

func TestDurationsMayBeDays(t *testing.T) {
	for in, want := range map[string]time.Duration{"": 0, "30d": 30 * day, "0d": 0, "12h": 12 * time.Hour, "90m": 90 * time.Minute} {
		got, err := parseDays(in)
		require.NoError(t, err)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{"d", "-1d", "1.5d", "99999d", "1", "-1h", "30days", " 1d"} {
		_, err := parseDays(in)
		require.Error(t, err, in)
	}
}

func TestSerialsOfOtherToolsAreFound(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "0a1b": "0a1b", "A1B": "0a1b", "0A:1B": "0a1b", "00:ff": "ff", "000aff": "0aff", "aff": "0aff",
	} {
		require.Equal(t, want, normalSerial(in), in)
	}
}

func TestTimesOfASearch(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	a, _, _ := testApp(now)
	for in, want := range map[string]time.Time{"24h": now.Add(-day), "7d": now.Add(-7 * day), "2026-01-01T00:00:00+01:00": time.Date(2025, 12, 31, 23, 0, 0, 0, time.UTC)} {
		got, err := a.when(in)
		require.NoError(t, err)
		require.True(t, want.Equal(got.AsTime()), in)
	}
	got, err := a.when("")
	require.NoError(t, err)
	require.Nil(t, got)
	for _, in := range []string{"yesterday", "2026-01-01", "-24h"} {
		_, err := a.when(in)
		require.ErrorContains(t, err, "neither a time", in)
	}
}

func TestAdminSocketIsTheFirstThatIsNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	a, _, _ := testApp(time.Now())
	require.NoError(t, os.Mkdir("kedge-dev", 0o700))
	require.NoError(t, os.WriteFile("kedge-dev/admin.sock", nil, 0o600))
	got, err := a.adminSocket("")
	require.NoError(t, err)
	require.Equal(t, "./kedge-dev/admin.sock", got)
	a.getenv = func(name string) string { return map[string]string{adminEnv: "/env.sock"}[name] }
	got, err = a.adminSocket("")
	require.NoError(t, err)
	require.Equal(t, "/env.sock", got)
	got, err = a.adminSocket("/flag.sock")
	require.NoError(t, err)
	require.Equal(t, "/flag.sock", got)
}

// TestEveryCommandHasAnExample holds the help to what a newcomer needs.
func TestEveryCommandHasAnExample(t *testing.T) {
	a, _, _ := testApp(time.Now())
	commands := newRootCommand(a).Commands()
	require.NotEmpty(t, commands)
	for len(commands) > 0 {
		c := commands[0]
		commands = append(commands[1:], c.Commands()...)
		require.NotEmpty(t, c.Short, c.CommandPath())
		if c.Runnable() {
			require.True(t, c.Example != "" || c.Parent().Example != "", c.CommandPath())
		}
	}
}
