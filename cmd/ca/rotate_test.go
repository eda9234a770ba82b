package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/rotation"
)

// TestVerdictIsTheGravestThatHolds: the exit code of ca rotate status, one row for
// each thing that it judges.
func TestVerdictIsTheGravestThatHolds(t *testing.T) {
	rows := []struct {
		name    string
		phase   string
		within  time.Duration
		change  func(s *kedgev1.RotationStatus)
		code    int
		because string
	}{
		{"no rotation", "", 0, nil, exitOK, ""},
		{"a blocker that passes by itself", "distributing", 0, nil, exitOK, ""},
		{"a blocker that does not", "activating", 0, nil, exitBlocked, "zone eu-2: replica b: it has not reported for 4m"},
		{"leaves that die", "draining", 0, func(s *kedgev1.RotationStatus) {
			s.Blockers = []*kedgev1.RotationBlocker{{Code: "live_leaves", Why: "9 live leaves"}, {Code: "draining", Why: "they live"}}
		}, exitOK, ""},
		{"a zone that was just told", "activating", 0, func(s *kedgev1.RotationStatus) {
			s.Plan.Since, s.Blockers = after(-59*time.Second), []*kedgev1.RotationBlocker{{Zone: "eu-1", Code: "epoch", Why: "it answers command 0"}}
		}, exitOK, ""},
		{"a zone that was told a minute ago", "activating", 0, func(s *kedgev1.RotationStatus) {
			s.Plan.Since, s.Blockers = after(-time.Minute), []*kedgev1.RotationBlocker{{Zone: "eu-1", Code: "epoch", Why: "it answers command 0"}}
		}, exitBlocked, "zone eu-1: it answers command 0"},
		{"a blocker of a rotation that is over", "done", 0, func(s *kedgev1.RotationStatus) { s.Blockers = nil }, exitOK, ""},
		{"an anchor that ends soon", "", 400 * day, nil, exitAttention, "anchor 3f2a9c11 (active) ends in 300d0h"},
		{"a rotation that should be started", "", 0, func(s *kedgev1.RotationStatus) { s.Proposal = "half of the anchor's life is over" }, exitAttention, "half of the anchor's life is over"},
		{"a halt", "", 0, func(s *kedgev1.RotationStatus) { s.Halted = "stolen" }, exitAttention, "issuance is halted: stolen"},
		{"an automatic plan in trouble", "draining", 0, func(s *kedgev1.RotationStatus) { s.Plan.Trouble = "the root failed" }, exitAttention, "the plan was automatic and waits for an operator since: the root failed"},
		{"trouble and a blocker", "activating", 0, func(s *kedgev1.RotationStatus) { s.Plan.Trouble = "x" }, exitAttention, ""},
		{"an active anchor that has expired", "", 0, func(s *kedgev1.RotationStatus) { s.Anchors[0].NotAfter = after(-time.Second) }, exitUnsafe, "the active anchor 3f2a9c11 has expired"},
		{"a history that is not the zones'", "", 0, func(s *kedgev1.RotationStatus) {
			s.Blockers = []*kedgev1.RotationBlocker{{Code: "forked", Why: "zones hold bundle 44", Until: after(time.Hour)}}
		}, exitUnsafe, "zones hold bundle 44"},
		{"leaves that outlive their anchor", "draining", 0, func(s *kedgev1.RotationStatus) {
			s.Plan.OldNotAfter, s.Plan.HighWater, s.Blockers = after(time.Hour), after(2*time.Hour), nil
		}, exitUnsafe, "leaves under anchor 3f2a9c11 outlive it"},
		{"leaves whose anchor has gone", "retiring", 0, func(s *kedgev1.RotationStatus) { s.Anchors, s.Zones = s.Anchors[1:], s.Zones[:1] }, exitUnsafe, "zone eu-1: 9 880 live leaves under anchor 3f2a9c11, which has left the bundle"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := fakeStatus(row.phase)
			if row.change != nil {
				row.change(s)
			}
			v := judge(s, row.within)
			require.Equal(t, row.code, v.code, "%v", v.because)
			if row.because != "" {
				require.Contains(t, v.because, row.because)
			}
		})
	}
}

// TestLiveViewIsDrawnOverItself: each view is one write that clears what was there.
func TestLiveViewIsDrawnOverItself(t *testing.T) {
	var out bytes.Buffer
	w := &watch{app: &app{stdout: &out, output: "table", terminal: true}}
	require.NoError(t, w.show(fakeStatus("activating")))
	first := out.String()
	require.True(t, strings.HasPrefix(first, "\x1b[2J\x1b[H"))
	require.True(t, strings.HasSuffix(first, "\x1b[J"))
	require.NotContains(t, strings.ReplaceAll(first, "\x1b[K\n", ""), "\n", "every line clears what was behind it")
	require.Contains(t, first, "→ activating")
	require.Contains(t, first, "░░░░░░░░░░░░░░░░░░░░   0%  renewal ≥ 41")
	require.Contains(t, first, "blocked; time to go: 2d4h")
	out.Reset()
	require.NoError(t, w.show(fakeStatus("draining")))
	require.True(t, strings.HasPrefix(out.String(), "\x1b[Hrotation"), "the screen is cleared once")
}

// TestProgressOfAZone is what the bars show.
func TestProgressOfAZone(t *testing.T) {
	zone := &kedgev1.RotationZone{
		Coverage: []*kedgev1.RotationCoverage{{Live: 300, Behind: 75}, {Live: 100, Behind: 25}},
		Leaves:   []*kedgev1.RotationLeaves{{Anchor: fakeOld, Live: 100}, {Anchor: fakeNew, Live: 300}},
	}
	for phase, want := range map[string]float64{"distributing": 0.75, "draining": 0.75, "aborting": 0.25} {
		require.InDelta(t, want, progressOf(zone, fakePlan(phase)), 1e-9, phase)
	}
	require.InDelta(t, 1, progressOf(&kedgev1.RotationZone{}, fakePlan("draining")), 0, "nothing to wait for is done")
	require.Equal(t, "███████░░░  75%  ", bar(0.75, 10))
	require.Equal(t, "1 234 567", thousands(1234567))
	require.Equal(t, "567", thousands(567))
}

// TestScheduledRotationWaitsUnlessItIsAutomatic: nobody has started it, so that nobody's
// consent comes with it.
func TestScheduledRotationWaitsUnlessItIsAutomatic(t *testing.T) {
	rows := map[string]struct {
		section   string
		approvals int
		mode      rotation.Mode
	}{
		"by default":             {"", 1, rotation.ModeManual},
		"automatic":              {"rotation: {mode: auto, window: \"Mon 08:00-16:00\"}\n", 0, rotation.ModeAuto},
		"automatic by consent":   {"rotation: {mode: auto, approvals: 2, operators: [\"uid:0\", \"uid:1\"]}\n", 2, rotation.ModeAuto},
		"manual by more consent": {"rotation: {approvals: 2, operators: [\"uid:0\", \"uid:1\"]}\n", 2, rotation.ModeManual},
	}
	for name, row := range rows {
		cfg, err := parseConfig("ca.yaml", []byte(minimalConfig+row.section))
		require.NoError(t, err, name)
		s, err := cfg.rotationSettings()
		require.NoError(t, err, name)
		require.Equal(t, row.approvals, s.Approvals, name)
		require.Equal(t, row.mode, s.Mode, name)
		require.Equal(t, cfg.Rotation.Window, s.Window.String(), name)
		require.True(t, s.Schedule, name)
		require.Equal(t, 5*time.Minute, s.Skew, name)
	}
}

// TestRateIsMeasuredOnlyWhereItLoadsNobody: keys on another server are not used for it.
func TestRateIsMeasuredOnlyWhereItLoadsNobody(t *testing.T) {
	cfg, err := parseConfig("ca.yaml", []byte(minimalConfig))
	require.NoError(t, err)
	s := &server{instance: &instance{config: cfg}}
	rate := s.issueRate(t.Context())
	require.Greater(t, rate.PerSecond, 1.0)
	require.Contains(t, rate.Source, "ecdsa-p256")
	s.config.Keys.Store = keysVaultTransit
	require.Zero(t, s.issueRate(t.Context()))
}

// TestEveryBlockerIsExplained holds docs/rotation.md to the codes, both ways, and to
// the phases.
func TestEveryBlockerIsExplained(t *testing.T) {
	raw, err := os.ReadFile("../../docs/rotation.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(raw), "| code | means | do |\n| --- | --- | --- |\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n\n")
	var documented []rotation.Code
	for _, line := range strings.Split(section, "\n") {
		cell := strings.Split(line, "|")[1]
		for _, code := range strings.Split(cell, ",") {
			documented = append(documented, rotation.Code(strings.Trim(code, " `")))
		}
	}
	require.ElementsMatch(t, []rotation.Code{
		rotation.CodeSilent, rotation.CodeBundleBehind, rotation.CodeCoverage, rotation.CodeSigner, rotation.CodeEpoch, rotation.CodeDraining,
		rotation.CodeLiveLeaves, rotation.CodeCanary, rotation.CodeClock, rotation.CodeForked, rotation.CodeApproval, rotation.CodeAdvance,
		rotation.CodePaused, rotation.CodeWindow, rotation.CodeDwell,
	}, documented)
	for _, phase := range []rotation.Phase{rotation.Staged, rotation.Distributing, rotation.Activating, rotation.Draining, rotation.Retiring, rotation.Aborting} {
		require.Contains(t, string(raw), "| `"+string(phase)+"` |")
	}
}

// TestNamesFromZonesCannotObeyATerminal: a zone's name comes over the network.
func TestNamesFromZonesCannotObeyATerminal(t *testing.T) {
	s := fakeStatus("activating")
	s.Zones[0].Name, s.Blockers[1].Why, s.Plan.Reason = "\x1b[2Jevil", "\x1b[31mred", "\x07"
	var out bytes.Buffer
	a := &app{stdout: &out, output: "table"}
	v := judge(s, 0)
	_ = a.printStatus(s, v)
	w := &watch{app: a}
	require.NoError(t, w.show(s))
	require.NotContains(t, out.String(), "\x1b")
	require.NotContains(t, out.String(), "\x07")
}
