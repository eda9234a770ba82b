package main

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/rotation/replica"
)

// encodeMembership is who this process is and how it hears of the primary; nil before
// it has joined.
func (s *server) encodeMembership(ctx context.Context) *kedgev1.Membership {
	who, isKept, err := readMembership(s.config)
	if err != nil || !isKept {
		return nil
	}
	out := &kedgev1.Membership{Zone: string(who.Zone), Replica: who.Replica, Primary: s.config.Primary.Address}
	last, failed := s.following.contact.state()
	if !last.IsZero() {
		out.LastContact = timestamppb.New(last)
	}
	if failed != nil {
		out.ContactError = failed.Error()
	}
	held, err := s.custodian.Held(ctx)
	if err != nil {
		return out
	}
	out.Epoch = held.Command.Epoch
	if len(held.Signed) > 0 {
		if at, err := replica.Accepted(held.Signed); err == nil {
			out.BundleIssuedAt = timestamppb.New(at.IssuedAt())
		}
	}
	return out
}
