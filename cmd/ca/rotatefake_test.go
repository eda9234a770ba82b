package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kedge-ca/kedge/api/admin"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

// rotationStart is the clock of the fake primary.
var rotationStart = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// Anchors of the fake primary.
var (
	fakeOld = strings.Repeat("3f2a9c11", 8)
	fakeNew = strings.Repeat("9b01cc42", 8)
)

// fakeRotation is a primary of which only the wire is real: it answers what it is
// asked by moving one status on, so that the commands can be tested as scripts.
type fakeRotation struct {
	kedgev1.UnimplementedRotationServer
	mu     sync.Mutex
	status *kedgev1.RotationStatus
}

// serveRotation is the script command `rotations SOCKET [PHASE]`: a fake primary that
// has a plan in that phase, or none.
func serveRotation(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: rotations SOCKET [PHASE]")
	}
	// The working directory of a script is too deep for a socket's address.
	dir, err := os.MkdirTemp("", "kedge")
	ts.Check(err)
	path := dir + "/s"
	listener, err := admin.Listen(path)
	ts.Check(err)
	ts.Check(os.Symlink(path, ts.MkAbs(args[0])))
	ts.Setenv("KEDGE_ADMIN_SOCKET", path)
	f := &fakeRotation{status: fakeStatus("")}
	if len(args) > 1 {
		f.status = fakeStatus(args[1])
	}
	server := grpc.NewServer(grpc.Creds(admin.Credentials()))
	kedgev1.RegisterRotationServer(server, f)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ts.Defer(func() {
		server.Stop()
		<-served
		_ = os.RemoveAll(dir)
	})
}

func after(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(rotationStart.Add(d)) }

// fakeStatus is a status in a phase, "" is one without a plan.
func fakeStatus(phase string) *kedgev1.RotationStatus {
	s := &kedgev1.RotationStatus{
		Now: after(0), TrustDomain: "example.org", Sequence: 42,
		Anchors: []*kedgev1.RotationAnchor{
			{Id: fakeOld, Slot: "active", Subject: "root 1", NotAfter: after(300 * day)},
			{Id: fakeNew, Slot: "standby", Subject: "root 2", NotAfter: after(3650 * day)},
		},
		Zones: []*kedgev1.RotationZone{
			{
				Name: "eu-1", Sequence: 42, Epoch: 7, Signer: fakeOld, Lease: after(5 * day), LastContact: after(-2 * time.Second),
				Coverage: []*kedgev1.RotationCoverage{{Class: "renewal", Sequence: 42, Live: 9880}},
				Leaves:   []*kedgev1.RotationLeaves{{Anchor: fakeOld, Live: 9880, HighWater: after(day)}},
				Replicas: []*kedgev1.RotationReplica{{Name: "a", Sequence: 42, Epoch: 7, Signer: fakeOld, Version: "1", LastContact: after(-2 * time.Second)}},
			},
			{
				Name: "eu-2", Sequence: 42, Epoch: 7, Signer: fakeOld, Lease: after(5 * day), LastContact: after(-3 * time.Second),
				Coverage: []*kedgev1.RotationCoverage{{Class: "renewal", Sequence: 41, Live: 9880, Behind: 1214, Oldest: after(3*time.Hour + 12*time.Minute)}},
				Leaves:   []*kedgev1.RotationLeaves{{Anchor: fakeOld, Live: 9880, HighWater: after(day)}},
				Replicas: []*kedgev1.RotationReplica{{Name: "b", Sequence: 42, Epoch: 7, Signer: fakeOld, Version: "1", LastContact: after(-3 * time.Second)}},
			},
		},
	}
	if phase != "" {
		s.Plan = fakePlan(phase)
		s.Steps = fakeSteps()
		s.Diff = fakeDiff()
		s.EarliestEnd = after(52 * time.Hour)
		s.NextStep = "distributing ends when zone eu-2 has the bundle, and an operator advances it"
		s.Blockers = fakeBlockers(phase)
	}
	return s
}

func fakePlan(phase string) *kedgev1.RotationPlan {
	return &kedgev1.RotationPlan{
		Id: "20261124-1", Phase: phase, Since: after(-time.Hour), Mode: "manual", OldAnchor: fakeOld, OldNotAfter: after(300 * day), NewAnchor: fakeNew,
		Epoch: 7, Sequence: 42, Needed: 42, Standby: true, Skew: durationpb.New(time.Minute), ApprovalsNeeded: 1,
		Approvals: []*kedgev1.RotationApproval{{Actor: "uid:0", At: after(-time.Hour)}}, Actor: "uid:0", Reason: "yearly", StartedAt: after(-time.Hour),
	}
}

func fakeSteps() []*kedgev1.RotationStep {
	return []*kedgev1.RotationStep{
		{Phase: "distributing", Does: "the bundle has both anchors", EndsWhen: "every verifier has it", EarliestEnd: after(3*time.Hour + 12*time.Minute)},
		{Phase: "activating", Does: "zone by zone, signing moves", EndsWhen: "every zone signs under the new", EarliestEnd: after(4 * time.Hour)},
		{Phase: "draining", Does: "leaves under the old die", EndsWhen: "none is left", EarliestEnd: after(28 * time.Hour)},
		{Phase: "retiring", Does: "the bundle loses the old", EndsWhen: "every zone holds it", EarliestEnd: after(52 * time.Hour)},
	}
}

func fakeDiff() []*kedgev1.AnchorChange {
	return []*kedgev1.AnchorChange{
		{Id: fakeNew, Subject: "root 2", NotAfter: after(3650 * day), Before: "standby", After: "active"},
		{Id: fakeOld, Subject: "root 1", NotAfter: after(300 * day), Before: "active"},
	}
}

// fakeBlockers has one that passes by itself and, in the phase activating, one that
// does not.
func fakeBlockers(phase string) []*kedgev1.RotationBlocker {
	blockers := []*kedgev1.RotationBlocker{{Zone: "eu-2", Code: "coverage", Why: "1 214 of 9 880 live leaves last saw bundle 41", Until: after(3*time.Hour + 12*time.Minute)}}
	if phase == "activating" {
		blockers = append(blockers, &kedgev1.RotationBlocker{Zone: "eu-2", Replica: "b", Code: "silent", Why: "it has not reported for 4m"})
	}
	return blockers
}

func (f *fakeRotation) Status(context.Context, *kedgev1.RotationStatusRequest) (*kedgev1.RotationStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return proto.CloneOf(f.status), nil
}

// moved makes a change when the request names the plan under way.
func (f *fakeRotation) moved(plan string, change func(s *kedgev1.RotationStatus)) (*kedgev1.RotationStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if plan != f.status.GetPlan().GetId() {
		return nil, status.Errorf(codes.Aborted, "stale: %s is under way", f.status.GetPlan().GetId())
	}
	change(f.status)
	return proto.CloneOf(f.status), nil
}

func (f *fakeRotation) Plan(_ context.Context, r *kedgev1.StartRotationRequest) (*kedgev1.RotationPreview, error) {
	if to := r.GetNewAnchor(); !strings.HasPrefix(fakeNew, to) {
		return nil, status.Errorf(codes.InvalidArgument, "no anchor begins with %s", to)
	}
	plan := fakePlan("staged")
	plan.Mode = firstOf(r.GetMode(), "manual")
	p := &kedgev1.RotationPreview{
		TrustDomain: "example.org", Plan: plan, Steps: fakeSteps(), Diff: fakeDiff(), Zones: fakeStatus("").GetZones(),
		EarliestEnd: after(52 * time.Hour), Now: after(0), LatestStart: after(298 * day),
	}
	if r.GetFirstZone() == "us-1" {
		p.Blockers = []*kedgev1.RotationBlocker{{Zone: "us-1", Code: "silent", Why: "it has not reported"}}
	}
	return p, nil
}

func (f *fakeRotation) Start(_ context.Context, r *kedgev1.StartRotationRequest) (*kedgev1.RotationStatus, error) {
	if r.GetNewAnchor() != fakeNew {
		return nil, status.Error(codes.InvalidArgument, "not the anchor that was shown")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = fakeStatus("staged")
	f.status.Plan.Reason = r.GetReason()
	return proto.CloneOf(f.status), nil
}

// Watch sends the plan through what is left of it.
func (f *fakeRotation) Watch(_ *kedgev1.RotationStatusRequest, stream grpc.ServerStreamingServer[kedgev1.RotationStatus]) error {
	s, _ := f.Status(stream.Context(), nil)
	if s.GetPlan() == nil {
		return stream.Send(s)
	}
	phases := []string{s.GetPlan().GetPhase(), "draining", "retiring", "done"}
	if phases[0] == "aborting" {
		phases = []string{"aborting", "aborted"}
	}
	for i, phase := range phases {
		s.Plan.Phase, s.Now = phase, after(time.Duration(i)*time.Hour)
		if i > 0 {
			s.Blockers = nil
		}
		if err := stream.Send(s); err != nil {
			return err
		}
		s.Now = timestamppb.New(s.GetNow().AsTime().Add(time.Minute))
		if err := stream.Send(s); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeRotation) Advance(_ context.Context, r *kedgev1.AdvanceRotationRequest) (*kedgev1.RotationStatus, error) {
	return f.moved(r.GetPlan(), func(s *kedgev1.RotationStatus) { s.Plan.Advanced = r.GetPhase() })
}

func (f *fakeRotation) Pause(_ context.Context, r *kedgev1.ChangeRotationRequest) (*kedgev1.RotationStatus, error) {
	return f.moved(r.GetPlan(), func(s *kedgev1.RotationStatus) { s.Plan.Paused = true })
}

func (f *fakeRotation) Resume(_ context.Context, r *kedgev1.ChangeRotationRequest) (*kedgev1.RotationStatus, error) {
	return f.moved(r.GetPlan(), func(s *kedgev1.RotationStatus) { s.Plan.Paused = false })
}

func (f *fakeRotation) SetMode(_ context.Context, r *kedgev1.SetRotationModeRequest) (*kedgev1.RotationStatus, error) {
	return f.moved(r.GetPlan(), func(s *kedgev1.RotationStatus) { s.Plan.Mode = r.GetMode() })
}

func (f *fakeRotation) Abort(_ context.Context, r *kedgev1.ChangeRotationRequest) (*kedgev1.RotationStatus, error) {
	return f.moved(r.GetPlan(), func(s *kedgev1.RotationStatus) { s.Plan.Phase, s.Plan.Reason = "aborting", r.GetReason() })
}

func (f *fakeRotation) ExcludeZone(_ context.Context, r *kedgev1.RotationZoneRequest) (*kedgev1.RotationStatus, error) {
	return f.moved(r.GetPlan(), func(s *kedgev1.RotationStatus) { zoneOf(s, r.GetZone()).Excluded = r.GetReason() })
}

func (f *fakeRotation) IncludeZone(_ context.Context, r *kedgev1.RotationZoneRequest) (*kedgev1.RotationStatus, error) {
	return f.moved(r.GetPlan(), func(s *kedgev1.RotationStatus) { zoneOf(s, r.GetZone()).Excluded = "" })
}

func (f *fakeRotation) Confirm(_ context.Context, r *kedgev1.ConfirmRotationRequest) (*kedgev1.RotationStatus, error) {
	return f.moved(r.GetPlan(), func(s *kedgev1.RotationStatus) {
		s.Plan.Confirmations = append(s.Plan.Confirmations, &kedgev1.RotationConfirmation{Zone: r.GetZone(), Class: r.GetClass(), Actor: "uid:0", Reason: r.GetReason(), At: after(0)})
	})
}

func (f *fakeRotation) Approve(_ context.Context, r *kedgev1.ChangeRotationRequest) (*kedgev1.RotationStatus, error) {
	return f.moved(r.GetPlan(), func(s *kedgev1.RotationStatus) {
		s.Plan.ApprovalsNeeded, s.Plan.Approvals = 2, append(s.Plan.Approvals, &kedgev1.RotationApproval{Actor: "uid:1000", At: after(0)})
	})
}

func (f *fakeRotation) Emergency(_ context.Context, r *kedgev1.EmergencyRequest) (*kedgev1.EmergencyResponse, error) {
	answer := &kedgev1.EmergencyResponse{
		Cost: &kedgev1.EmergencyCost{
			Zones:   []*kedgev1.ZoneCost{{Zone: "eu-1", Failing: 9880, LastExpiry: after(day)}, {Zone: "eu-2", Failing: 9880, LastExpiry: after(day)}},
			Failing: 19760, IssueRate: 3200, IssueRateSource: "signatures of this process, measured now", Reissue: durationpb.New(6 * time.Second),
			Renewal: durationpb.New(12 * time.Hour), Unknown: []string{"us-1"},
		},
		Diff: fakeDiff(),
	}
	if r.GetDryRun() {
		return answer, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = fakeStatus("retiring")
	f.status.Anchors = f.status.Anchors[1:]
	f.status.Plan.Emergency = &kedgev1.RotationEmergency{DistrustNow: r.GetDistrustNow(), Deadline: r.GetDeadline(), Actor: "uid:0", Reason: r.GetReason(), At: after(0)}
	answer.Status = proto.CloneOf(f.status)
	return answer, nil
}

func (f *fakeRotation) Verify(context.Context, *kedgev1.VerifyRotationRequest) (*kedgev1.VerifyRotationResponse, error) {
	return &kedgev1.VerifyRotationResponse{Results: []*kedgev1.CanaryResult{
		{Zone: "eu-1", Replica: "a", Anchor: fakeNew, Ok: true, At: after(0)},
		{Zone: "eu-2", Replica: "b", Anchor: fakeNew, Detail: "unknown authority", At: after(0)},
		{Zone: "us-1", Replica: "c", Detail: "it has not reported since the call"},
	}}, nil
}

func (f *fakeRotation) History(context.Context, *kedgev1.RotationHistoryRequest) (*kedgev1.RotationHistoryResponse, error) {
	over := fakePlan("done")
	over.Id, over.EndedAt = "20251124-1", after(29*time.Hour)
	return &kedgev1.RotationHistoryResponse{Plans: []*kedgev1.RotationPlan{over}}, nil
}

func (f *fakeRotation) Reconstruct(_ context.Context, r *kedgev1.ReconstructRequest) (*kedgev1.ReconstructResponse, error) {
	return &kedgev1.ReconstructResponse{
		JournalPhase: "distributing", DerivedPhase: "draining", Findings: []string{"zone eu-1 holds bundle 43, the journal has 42"},
		Actions: []string{"take bundle 43 from zone eu-1"}, Applied: r.GetApply(),
	}, nil
}

func (f *fakeRotation) Halt(_ context.Context, r *kedgev1.HaltRequest) (*kedgev1.HaltResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Halted = r.GetReason()
	return &kedgev1.HaltResponse{Halted: r.GetReason(), Replicas: []*kedgev1.HaltedReplica{
		{Zone: "eu-1", Replica: "a", Acknowledged: true, LastContact: after(0)}, {Zone: "eu-2", Replica: "b", LastContact: after(-time.Hour)},
	}}, nil
}

func (f *fakeRotation) ResumeIssuance(context.Context, *kedgev1.ResumeIssuanceRequest) (*kedgev1.HaltResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Halted = ""
	return &kedgev1.HaltResponse{Replicas: []*kedgev1.HaltedReplica{{Zone: "eu-1", Replica: "a", Acknowledged: true, LastContact: after(0)}}}, nil
}

// exitCode is the script command `code N PROGRAM ARGS…`: the program ends with N.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM ARGS")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = strconv.Itoa(exit.ExitCode())
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != args[0] {
		ts.Fatalf("%s ended with %s, not %s", args[1], got, args[0])
	}
}
