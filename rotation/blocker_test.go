package rotation_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// TestEveryBlockerIsNamed has one row for each thing that can hold a plan up: all
// else says that it may go on.
func TestEveryBlockerIsNamed(t *testing.T) {
	eu2 := func(change func(*rotation.Report)) func([]rotation.Report) []rotation.Report {
		return func(all []rotation.Report) []rotation.Report {
			change(&all[2])
			return all
		}
	}
	covered := func(class ca.VerifierClass, c ca.Coverage) func([]rotation.Report) []rotation.Report {
		return eu2(func(r *rotation.Report) { r.Coverage = map[ca.VerifierClass]ca.Coverage{class: c} })
	}
	for name, row := range map[string]struct {
		phase   rotation.Phase
		start   func(*rotation.Start)
		plan    func(rotation.Plan) rotation.Plan
		reports func([]rotation.Report) []rotation.Report
		want    rotation.Blocker
	}{
		"a zone that has never reported": {
			phase:   rotation.Distributing,
			reports: func(all []rotation.Report) []rotation.Report { return all[:2] },
			want:    rotation.Blocker{Zone: "eu-2", Code: rotation.CodeSilent, Why: "it has not reported"},
		},
		"a replica that has never reported": {
			phase: rotation.Distributing,
			reports: func(all []rotation.Report) []rotation.Report {
				return append(all, rotation.Report{Zone: "eu-2", Replica: "1"})
			},
			want: rotation.Blocker{Zone: "eu-2", Replica: "1", Code: rotation.CodeSilent, Why: "it has not reported"},
		},
		"a zone that has fallen silent": {
			phase:   rotation.Draining,
			reports: eu2(func(r *rotation.Report) { r.Received = r.Received.Add(-3 * time.Minute) }),
			want:    rotation.Blocker{Zone: "eu-2", Replica: "0", Code: rotation.CodeSilent, Why: "it has not reported for 3m0s"},
		},
		"a replica with an earlier bundle": {
			phase:   rotation.Distributing,
			reports: eu2(func(r *rotation.Report) { r.Sequence = 41 }),
			want:    rotation.Blocker{Zone: "eu-2", Replica: "0", Code: rotation.CodeBundleBehind, Why: "it holds bundle 41, not 42"},
		},
		"verifiers that have not renewed": {
			phase:   rotation.Distributing,
			reports: covered(ca.ClassRenewal, ca.Coverage{Sequence: 41, Live: 9880, Behind: 1214, Oldest: soon.Add(3*time.Hour + 12*time.Minute)}),
			want: rotation.Blocker{
				Zone: "eu-2", Replica: "0", Code: rotation.CodeCoverage, Until: soon.Add(3*time.Hour + 12*time.Minute),
				Why: "1 214 of 9 880 live leaves last saw bundle 41, oldest expires in 3h12m",
			},
		},
		"verifiers that have not acknowledged": {
			phase:   rotation.Distributing,
			reports: covered(ca.ClassPush, ca.Coverage{Sequence: 40, Live: 12, Behind: 1, Oldest: soon.Add(time.Minute)}),
			want: rotation.Blocker{
				Zone: "eu-2", Replica: "0", Code: rotation.CodeCoverage, Until: soon.Add(time.Minute),
				Why: "push verifiers: 1 of 12 live leaves last saw bundle 40, oldest expires in 1m0s",
			},
		},
		"verifiers that nobody sees": {
			phase:   rotation.Distributing,
			reports: covered(ca.ClassRestart, ca.Coverage{Live: 300, Behind: 300}),
			want: rotation.Blocker{
				Zone: "eu-2", Replica: "0", Code: rotation.CodeCoverage,
				Why: "restart verifiers (300 of 300 live leaves last saw bundle 0) cannot be seen; see ca rotate confirm",
			},
		},
		"a canary that failed": {
			phase:   rotation.Distributing,
			reports: eu2(func(r *rotation.Report) { r.Canary = map[ca.AnchorID]string{newID: "unknown authority"} }),
			want:    rotation.Blocker{Zone: "eu-2", Replica: "0", Code: rotation.CodeCanary, Why: "a handshake with a canary under 02000000 failed: unknown authority"},
		},
		"a canary that was not tried": {
			phase: rotation.Distributing,
			start: func(s *rotation.Start) { s.Canary = true },
			reports: func(all []rotation.Report) []rotation.Report {
				all[0].Canary, all[1].Canary = map[ca.AnchorID]string{newID: ""}, map[ca.AnchorID]string{newID: ""}
				return all
			},
			want: rotation.Blocker{Zone: "eu-2", Replica: "0", Code: rotation.CodeCanary, Why: "it has made no handshake with a canary under 02000000 yet"},
		},
		"a bundle that nobody published": {
			phase:   rotation.Distributing,
			reports: eu2(func(r *rotation.Report) { r.Sequence = 50 }),
			want: rotation.Blocker{
				Zone: "eu-2", Replica: "0", Code: rotation.CodeForked,
				Why: "it holds bundle 50, and 42 is the last that the plan knows of; one of the two was restored from a backup",
			},
		},
		"a removed replica whose verifiers nobody counts": {
			phase: rotation.Distributing,
			reports: func(all []rotation.Report) []rotation.Report {
				gone := report("eu-2", 7, oldID, 41)
				gone.Replica, gone.Removed, gone.Lease = "1", true, soon.Add(time.Hour)
				return append(all, gone)
			},
			want: rotation.Blocker{
				Zone: "eu-2", Replica: "1", Code: rotation.CodeCoverage, Until: soon.Add(time.Hour + skew),
				Why: "it was removed, and verifiers that it served may not have bundle 42",
			},
		},
		"a report of an earlier command": {
			phase:   rotation.Draining,
			reports: eu2(func(r *rotation.Report) { r.Epoch = 7 }),
			want:    rotation.Blocker{Zone: "eu-2", Replica: "0", Code: rotation.CodeEpoch, Why: "its report answers command 7, not 8"},
		},
		"a replica that signs under the old anchor": {
			phase:   rotation.Draining,
			reports: eu2(func(r *rotation.Report) { r.Signer = oldID }),
			want:    rotation.Blocker{Zone: "eu-2", Replica: "0", Code: rotation.CodeSigner, Why: "it signs under 01000000, not 02000000"},
		},
		"leaves that may live": {
			phase:   rotation.Draining,
			reports: eu2(func(r *rotation.Report) { r.HighWater = map[ca.AnchorID]time.Time{oldID: soon.Add(90 * time.Minute)} }),
			want: rotation.Blocker{
				Code: rotation.CodeDraining, Until: soon.Add(95 * time.Minute),
				Why: "leaves under 01000000 live until 2026-11-24T13:45:00Z at the latest, in 1h35m",
			},
		},
		"leaves that are counted": {
			phase:   rotation.Draining,
			reports: eu2(func(r *rotation.Report) { r.Live = map[ca.AnchorID]int{oldID: 7, newID: 9} }),
			want:    rotation.Blocker{Zone: "eu-2", Code: rotation.CodeLiveLeaves, Why: "7 live leaves are under 01000000"},
		},
		"a clock that is off, in automatic mode": {
			phase:   rotation.Distributing,
			reports: eu2(func(r *rotation.Report) { r.Clock = r.Received.Add(-3 * time.Minute) }),
			want:    rotation.Blocker{Zone: "eu-2", Replica: "0", Code: rotation.CodeClock, Why: "its clock is 3m0s off, and 2m30s is the most"},
		},
		"a clock that is off by more than was promised": {
			phase:   rotation.Draining,
			plan:    func(p rotation.Plan) rotation.Plan { p, _ = p.SetMode(rotation.ModeManual); return p },
			reports: eu2(func(r *rotation.Report) { r.Clock = r.Received.Add(6 * time.Minute) }),
			want:    rotation.Blocker{Zone: "eu-2", Replica: "0", Code: rotation.CodeClock, Why: "its clock is 6m0s off, and 5m0s is the most"},
		},
		"an operator who has to agree": {
			phase: rotation.Staged,
			start: func(s *rotation.Start) { s.ApprovalsNeeded = 2 },
			want:  rotation.Blocker{Code: rotation.CodeApproval, Why: "the rotation has 1 of 2 approvals; see ca rotate approve"},
		},
		"the schedule's own proposal": {
			phase: rotation.Staged,
			start: func(s *rotation.Start) { s.ApprovalsNeeded, s.Proposed = 1, true },
			want:  rotation.Blocker{Code: rotation.CodeApproval, Why: "the rotation has 0 of 1 approvals; see ca rotate approve"},
		},
		"an operator who has to let go": {
			phase: rotation.Distributing,
			plan:  func(p rotation.Plan) rotation.Plan { p, _ = p.SetMode(rotation.ModeManual); return p },
			want:  rotation.Blocker{Code: rotation.CodeAdvance, Why: "the evidence of distributing is in, and an operator has to let it go on; see ca rotate advance"},
		},
		"a pause": {
			phase: rotation.Distributing,
			plan:  func(p rotation.Plan) rotation.Plan { p, _ = p.Pause("ada", start); return p },
			want:  rotation.Blocker{Code: rotation.CodePaused, Why: "it is paused; see ca rotate resume"},
		},
		"a dwell": {
			phase: rotation.Distributing,
			start: func(s *rotation.Start) { s.Dwell = time.Hour },
			want:  rotation.Blocker{Code: rotation.CodeDwell, Until: soon.Add(time.Hour), Why: "distributing lasts for 1h at least, 1h more"},
		},
		"a window": {
			phase: rotation.Distributing,
			plan: func(p rotation.Plan) rotation.Plan {
				p.Window, _ = rotation.ParseWindow("Wed 08:00-16:00")
				return p
			},
			want: rotation.Blocker{Code: rotation.CodeWindow, Until: start.Add(20 * time.Hour), Why: "it acts in the window Wed 08:00-16:00 UTC only, in 19h50m"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := in(t, row.phase, row.start)
			if row.plan != nil {
				p = row.plan(p)
			}
			if !p.Evident.IsZero() || row.phase == rotation.Distributing || row.phase == rotation.Draining {
				p.Evident = start
			}
			reports := everybody(7, oldID, 42)
			if row.phase == rotation.Draining {
				reports = everybody(8, newID, 42)
			}
			reports = at(soon, reports)
			if row.reports != nil {
				reports = row.reports(reports)
			}
			out := p.Next(soon, reports)
			require.Equal(t, row.phase, out.Plan.Phase)
			require.Contains(t, out.Blockers, row.want)
		})
	}
}

func TestBlockerReadsAsASentence(t *testing.T) {
	for want, b := range map[string]rotation.Blocker{
		"it is paused":                              {Why: "it is paused"},
		"zone eu-2: 7 live leaves":                  {Zone: "eu-2", Why: "7 live leaves"},
		"zone eu-2, replica 1: it has not reported": {Zone: "eu-2", Replica: "1", Why: "it has not reported"},
	} {
		require.Equal(t, want, b.String())
	}
}

func TestWindowOpensWhenItSays(t *testing.T) {
	tuesday := start // at noon
	for text, want := range map[string]time.Time{
		"":                        tuesday,
		"08:00-16:00":             tuesday,
		"Tue 08:00-16:00":         tuesday,
		"12:00-13:00":             tuesday,
		"11:00-12:00":             tuesday.Add(23 * time.Hour),
		"13:30-14:00":             tuesday.Add(90 * time.Minute),
		"Mon 08:00-16:00":         tuesday.Add(6*24*time.Hour - 4*time.Hour),
		"Mon 20:00-14:00":         tuesday, // into Tuesday
		"Mon,Wed 22:00-04:00":     tuesday.Add(34 * time.Hour),
		"Tue,Thu,Sat 00:00-12:00": tuesday.Add(36 * time.Hour),
	} {
		w, err := rotation.ParseWindow(text)
		require.NoError(t, err)
		require.Equal(t, want, w.Opens(tuesday), text)
		require.Equal(t, text, w.String())
	}
	for text, want := range map[string]string{
		"mon-fri 09:00-16:00":     "Mon,Tue,Wed,Thu,Fri 09:00-16:00",
		"Sat-Mon,sun 09:00-16:00": "Sun,Mon,Sat 09:00-16:00",
	} {
		w, err := rotation.ParseWindow(text)
		require.NoError(t, err)
		require.Equal(t, want, w.String())
	}
	for _, text := range []string{"always", "08:00", "08:00-08:00", "Tues 08:00-09:00", "Mon-Nay 08:00-09:00", "08:00-25:00"} {
		_, err := rotation.ParseWindow(text)
		require.Error(t, err, text)
	}
}
