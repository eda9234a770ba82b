package admin

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
)

// page is how many records are read from the store at once.
const page = 500

// Bounds of a search. Newest first, a store gives so many at once and cannot go
// on; forward, go on with after_seq.
const (
	maxSearch = 100_000
	maxNewest = 10_000
)

func (s *service) SearchRecords(r *kedgev1.SearchRecordsRequest, stream grpc.ServerStreamingServer[kedgev1.Record]) error {
	q := ca.Query{
		Serial: r.GetSerial(), Identity: r.GetIdentity(), Method: ca.Method(r.GetMethod()), Cluster: r.GetCluster(),
		Since: timeOf(r.GetSince()), Until: timeOf(r.GetUntil()), AfterSeq: r.GetAfterSeq(), Newest: r.GetNewestFirst(),
	}
	left := int(r.GetLimit())
	if left == 0 {
		left = 100
	}
	if q.Newest {
		q.Limit = min(left, maxNewest)
		_, err := s.send(&q, stream)
		return err
	}
	for left = min(left, maxSearch); left > 0; left -= page {
		q.Limit = min(left, page)
		if n, err := s.send(&q, stream); err != nil || n < q.Limit {
			return err
		}
	}
	return nil
}

// send sends what q selects, moves q behind it and tells how much it was.
func (s *service) send(q *ca.Query, stream grpc.ServerStreamingServer[kedgev1.Record]) (int, error) {
	records, err := s.c.Records.Records(stream.Context(), *q)
	if err != nil {
		return 0, err
	}
	for _, r := range records {
		if err := stream.Send(encodeRecord(r)); err != nil {
			return 0, err
		}
		q.AfterSeq = r.Seq
	}
	return len(records), nil
}

func (s *service) TailRecords(r *kedgev1.TailRecordsRequest, stream grpc.ServerStreamingServer[kedgev1.Record]) error {
	last := max(int(r.GetLast()), 1) // at least one, to know where the log ends
	newest, err := s.c.Records.Records(stream.Context(), ca.Query{Newest: true, Limit: min(last, maxNewest)})
	if err != nil {
		return err
	}
	follow := ca.Query{Limit: page}
	for i := len(newest) - 1; i >= 0; i-- {
		follow.AfterSeq = newest[i].Seq
		if r.GetLast() == 0 {
			continue
		}
		if err := stream.Send(encodeRecord(newest[i])); err != nil {
			return err
		}
	}
	if !r.GetFollow() {
		return nil
	}
	return s.follow(&follow, stream)
}

// follow sends what is new until the operator goes.
func (s *service) follow(q *ca.Query, stream grpc.ServerStreamingServer[kedgev1.Record]) error {
	ticker := time.NewTicker(s.c.Poll)
	defer ticker.Stop()
	for {
		n, err := s.send(q, stream)
		if err != nil {
			return err
		}
		if n == page { // there is more already
			continue
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-ticker.C:
		}
	}
}

func (s *service) ListEvents(r *kedgev1.ListEventsRequest, stream grpc.ServerStreamingServer[kedgev1.Event]) error {
	events, err := s.c.Records.Events(stream.Context(), r.GetAfterSeq(), r.GetNewestFirst(), min(int(r.GetLimit()), maxSearch))
	if err != nil {
		return err
	}
	for _, e := range events {
		err := stream.Send(&kedgev1.Event{Seq: e.Seq, At: timestamppb.New(e.At), Actor: e.Actor, Action: e.Action, Detail: e.Detail})
		if err != nil {
			return err
		}
	}
	return nil
}

func encodeRecord(r ca.Record) *kedgev1.Record {
	e := r.Evidence
	return &kedgev1.Record{
		Seq: r.Seq, Serial: r.Serial, Identity: r.Identity, HostNames: r.DNSNames, Profile: r.Profile,
		Evidence: &kedgev1.Evidence{
			Method: string(e.Method), Issuer: e.Issuer, Subject: e.Subject, Cluster: e.Cluster,
			Pod: e.Pod, Node: e.Node, TokenHash: e.TokenHash, Peer: e.Peer,
		},
		KeyHash: r.KeyHash[:], TbsHash: r.TBSHash[:], Issuer: r.Issuer, Anchor: r.Anchor[:], BundleSequence: r.BundleSeq,
		IssuedAt: timestamppb.New(r.IssuedAt), NotBefore: timestamppb.New(r.NotBefore), NotAfter: timestamppb.New(r.NotAfter),
		RequestId: r.RequestID, VoidedReason: r.VoidedReason,
	}
}

// EncodeIntermediate is the wire form of an intermediate.
func EncodeIntermediate(i *ca.Intermediate) *kedgev1.Intermediate {
	wire := &kedgev1.Intermediate{KeyId: i.KeyID(), NotAfter: timestamppb.New(i.NotAfter())}
	for _, c := range i.Chain() {
		wire.Chain = append(wire.Chain, c.Raw)
	}
	return wire
}

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
