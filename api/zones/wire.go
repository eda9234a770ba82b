package zones

import (
	"encoding/json"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/primary"
)

// bundlesToWire is bundles as they travel.
func bundlesToWire(all []bundle.Signed) []*kedgev1.SignedBundle {
	wire := make([]*kedgev1.SignedBundle, 0, len(all))
	for _, s := range all {
		w := &kedgev1.SignedBundle{Payload: s.Payload}
		for _, signature := range s.Signatures {
			w.Signatures = append(w.Signatures, &kedgev1.BundleSignature{Key: signature.Key, Value: signature.Value})
		}
		wire = append(wire, w)
	}
	return wire
}

func bundlesFromWire(wire []*kedgev1.SignedBundle) []bundle.Signed {
	all := make([]bundle.Signed, 0, len(wire))
	for _, w := range wire {
		s := bundle.Signed{Payload: w.GetPayload()}
		for _, signature := range w.GetSignatures() {
			s.Signatures = append(s.Signatures, bundle.Signature{Key: signature.GetKey(), Value: signature.GetValue()})
		}
		all = append(all, s)
	}
	return all
}

// sequenceOf is the sequence that s says it has, 0 if it says none. Nothing is proved
// by it: it tells what to ask for next.
func sequenceOf(s bundle.Signed) uint64 {
	var said struct {
		Sequence uint64 `json:"sequence"`
	}
	if json.Unmarshal(s.Payload, &said) != nil {
		return 0
	}
	return said.Sequence
}

// last is the sequence of the last of all, was if there is none.
func last(all []bundle.Signed, was uint64) uint64 {
	if len(all) == 0 {
		return was
	}
	return max(was, sequenceOf(all[len(all)-1]))
}

func anchorToWire(id ca.AnchorID) []byte {
	if id.IsZero() {
		return nil
	}
	return id[:]
}

// anchorFromWire reads an id; none is the zero one.
func anchorFromWire(raw []byte) (ca.AnchorID, error) {
	var id ca.AnchorID
	if len(raw) != 0 && copy(id[:], raw) != len(raw) || len(raw) != 0 && len(raw) != len(id) {
		return id, ca.Refuse(ca.ReasonRequest, "an anchor's id has %d bytes, not %d", len(raw), len(id))
	}
	return id, nil
}

func directiveToWire(d primary.Directive) *kedgev1.Directive {
	wire := &kedgev1.Directive{Bundles: bundlesToWire(d.Bundles), Halted: d.Halted, Plan: d.Plan}
	if !d.Command.Signer.IsZero() {
		wire.Command = &kedgev1.Command{Signer: anchorToWire(d.Command.Signer), Epoch: d.Command.Epoch}
	}
	return wire
}

func directiveFromWire(wire *kedgev1.Directive) (primary.Directive, error) {
	signer, err := anchorFromWire(wire.GetCommand().GetSigner())
	if err != nil {
		return primary.Directive{}, err
	}
	return primary.Directive{
		Bundles: bundlesFromWire(wire.GetBundles()), Halted: wire.GetHalted(), Plan: wire.GetPlan(),
		Command: ca.Command{Signer: signer, Epoch: wire.GetCommand().GetEpoch()},
	}, nil
}

// ReportToWire is a report as it travels; admin lists have it as well.
func ReportToWire(r rotation.Report) *kedgev1.ReplicaReport {
	wire := &kedgev1.ReplicaReport{
		Plan: r.Plan, Epoch: r.Epoch, Signer: anchorToWire(r.Signer), Sequence: r.Sequence, BundleHash: r.BundleHash,
		Lease: timeToWire(r.Lease), Clock: timeToWire(r.Clock), Version: r.Version, Halted: r.Halted,
	}
	for class, c := range r.Coverage {
		wire.Coverage = append(wire.Coverage, &kedgev1.Coverage{
			Class: string(class), Sequence: c.Sequence, Live: uint64(max(c.Live, 0)), Behind: uint64(max(c.Behind, 0)), Oldest: timeToWire(c.Oldest),
		})
	}
	anchors := make(map[ca.AnchorID]bool)
	for id := range r.Live {
		anchors[id] = true
	}
	for id := range r.HighWater {
		anchors[id] = true
	}
	for id := range anchors {
		wire.Leaves = append(wire.Leaves, &kedgev1.AnchorLeaves{
			Anchor: anchorToWire(id), Live: uint64(max(r.Live[id], 0)), HighWater: timeToWire(r.HighWater[id]),
		})
	}
	for id, failure := range r.Canary {
		wire.Canaries = append(wire.Canaries, &kedgev1.Canary{Anchor: anchorToWire(id), Failure: failure})
	}
	return wire
}

// maxRows bounds the lists of a report: a bundle has at most 16 anchors, and there
// are six classes.
const maxRows = 64

// ReportFromWire reads a report. Whose it is and when it came, the caller knows.
func ReportFromWire(wire *kedgev1.ReplicaReport) (rotation.Report, error) {
	if n := max(len(wire.GetCoverage()), len(wire.GetLeaves()), len(wire.GetCanaries())); n > maxRows {
		return rotation.Report{}, ca.Refuse(ca.ReasonRequest, "a report with a list of %d, at most %d are read", n, maxRows)
	}
	signer, err := anchorFromWire(wire.GetSigner())
	if err != nil {
		return rotation.Report{}, err
	}
	r := rotation.Report{
		Plan: wire.GetPlan(), Epoch: wire.GetEpoch(), Signer: signer, Sequence: wire.GetSequence(), BundleHash: wire.GetBundleHash(),
		Lease: timeFromWire(wire.GetLease()), Clock: timeFromWire(wire.GetClock()), Version: wire.GetVersion(), Halted: wire.GetHalted(),
		Coverage: make(map[ca.VerifierClass]ca.Coverage), Live: make(map[ca.AnchorID]int),
		HighWater: make(map[ca.AnchorID]time.Time), Canary: make(map[ca.AnchorID]string),
	}
	for _, c := range wire.GetCoverage() {
		r.Coverage[ca.VerifierClass(c.GetClass())] = ca.Coverage{
			Sequence: c.GetSequence(), Live: count(c.GetLive()), Behind: count(c.GetBehind()), Oldest: timeFromWire(c.GetOldest()),
		}
	}
	for _, l := range wire.GetLeaves() {
		id, err := anchorFromWire(l.GetAnchor())
		if err != nil {
			return rotation.Report{}, err
		}
		r.Live[id] = count(l.GetLive())
		if end := timeFromWire(l.GetHighWater()); !end.IsZero() {
			r.HighWater[id] = end
		}
	}
	for _, c := range wire.GetCanaries() {
		id, err := anchorFromWire(c.GetAnchor())
		if err != nil {
			return rotation.Report{}, err
		}
		r.Canary[id] = c.GetFailure()
	}
	return r, nil
}

// count is a number of leaves; nobody has as many as do not fit.
func count(n uint64) int { return int(min(n, 1<<40)) }

func timeToWire(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func timeFromWire(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
