package admin

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/api/rotationapi"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// watchEvery is how often Watch sends the status although nothing has changed.
const watchEvery = 10 * time.Second

func (s *rotations) Watch(_ *kedgev1.RotationStatusRequest, stream grpc.ServerStreamingServer[kedgev1.RotationStatus]) error {
	ticker := time.NewTicker(s.c.Poll)
	defer ticker.Stop()
	var last *kedgev1.RotationStatus
	for {
		v, err := s.c.Rotations.View(stream.Context())
		if err != nil {
			return err
		}
		now := s.c.Now()
		next := rotationapi.Status(v, now)
		if last == nil || now.Sub(last.GetNow().AsTime()) >= watchEvery || isOther(last, next) {
			if err := stream.Send(next); err != nil {
				return err
			}
			last = next
		}
		if !v.IsUnderWay() {
			return nil
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-ticker.C:
		}
	}
}

// isOther tells whether two statuses differ in more than the time at which they were
// made.
func isOther(a, b *kedgev1.RotationStatus) bool {
	c := proto.CloneOf(b)
	c.Now, c.EarliestEnd = a.GetNow(), a.GetEarliestEnd()
	for i, step := range c.GetSteps() {
		if i < len(a.GetSteps()) {
			step.EarliestEnd = a.GetSteps()[i].GetEarliestEnd()
		}
	}
	return !proto.Equal(a, c)
}

// await looks again and again until what is wanted has come, or patience has ended; it
// returns the last look.
func (s *rotations) await(ctx context.Context, has func(rotationapi.View) bool) (rotationapi.View, error) {
	patience := time.NewTimer(s.c.Patience)
	defer patience.Stop()
	ticker := time.NewTicker(s.c.Poll)
	defer ticker.Stop()
	for {
		v, err := s.c.Rotations.View(ctx)
		if err != nil || has(v) {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, ctx.Err()
		case <-patience.C:
			return v, nil
		case <-ticker.C:
		}
	}
}

// replicas are the reports of those that were not removed, by zone and name.
func replicas(v rotationapi.View) []rotation.Report {
	all := slices.DeleteFunc(slices.Clone(v.Reports), func(r rotation.Report) bool { return r.Removed })
	slices.SortFunc(all, func(a, b rotation.Report) int {
		return bytes.Compare([]byte(string(a.Zone)+"\x00"+a.Replica), []byte(string(b.Zone)+"\x00"+b.Replica))
	})
	return all
}

// Verify waits until every replica has reported after the call, because each report
// has canaries of its own, and returns what they say.
func (s *rotations) Verify(ctx context.Context, _ *kedgev1.VerifyRotationRequest) (*kedgev1.VerifyRotationResponse, error) {
	called := s.c.Now()
	v, err := s.await(ctx, func(v rotationapi.View) bool {
		return !slices.ContainsFunc(replicas(v), func(r rotation.Report) bool { return !r.Received.After(called) })
	})
	if err != nil {
		return nil, err
	}
	answer := &kedgev1.VerifyRotationResponse{}
	for _, r := range replicas(v) {
		if !r.Received.After(called) {
			answer.Results = append(answer.Results, &kedgev1.CanaryResult{
				Zone: string(r.Zone), Replica: r.Replica, Detail: "it has not reported since the call", At: timestamp(r.Received),
			})
			continue
		}
		if len(r.Canary) == 0 {
			answer.Results = append(answer.Results, &kedgev1.CanaryResult{
				Zone: string(r.Zone), Replica: r.Replica, Detail: "it has made no handshake", At: timestamp(r.Received),
			})
		}
		for _, id := range slices.SortedFunc(maps.Keys(r.Canary), func(a, b ca.AnchorID) int { return bytes.Compare(a[:], b[:]) }) {
			answer.Results = append(answer.Results, &kedgev1.CanaryResult{
				Zone: string(r.Zone), Replica: r.Replica, Anchor: id.String(), Ok: r.Canary[id] == "", Detail: r.Canary[id], At: timestamp(r.Received),
			})
		}
	}
	return answer, nil
}

func (s *rotations) Halt(ctx context.Context, r *kedgev1.HaltRequest) (*kedgev1.HaltResponse, error) {
	a, err := act(ctx, "halt", r.GetReason(), true)
	if err != nil {
		return nil, err
	}
	return s.halt(ctx, r.GetReason(), a)
}

func (s *rotations) ResumeIssuance(ctx context.Context, r *kedgev1.ResumeIssuanceRequest) (*kedgev1.HaltResponse, error) {
	a, err := act(ctx, "resume", r.GetReason(), false)
	if err != nil {
		return nil, err
	}
	return s.halt(ctx, "", a)
}

// halt orders it, waits for the replicas and says who has obeyed.
func (s *rotations) halt(ctx context.Context, why string, a rotationapi.Act) (*kedgev1.HaltResponse, error) {
	if err := s.c.Rotations.Halt(ctx, why, a); err != nil {
		return nil, err
	}
	called := s.c.Now()
	obeys := func(r rotation.Report) bool { return r.Halted == why && !r.Received.Before(called) }
	v, err := s.await(ctx, func(v rotationapi.View) bool {
		return !slices.ContainsFunc(replicas(v), func(r rotation.Report) bool { return !obeys(r) })
	})
	if err != nil {
		return nil, err
	}
	answer := &kedgev1.HaltResponse{Halted: v.Halted}
	for _, r := range replicas(v) {
		answer.Replicas = append(answer.Replicas, &kedgev1.HaltedReplica{
			Zone: string(r.Zone), Replica: r.Replica, Acknowledged: obeys(r), LastContact: timestamp(r.Received),
		})
	}
	return answer, nil
}

// timestamp is a time on the wire; the zero time is absent.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
