package admin

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kedge-ca/kedge/api/authn"
	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// Records are the issuance records and events; every store.Store has them.
type Records interface {
	Records(ctx context.Context, q ca.Query) ([]ca.Record, error)
	Events(ctx context.Context, afterSeq uint64, newest bool, limit int) ([]ca.Event, error)
	Verify(ctx context.Context) (uint64, error)
}

// Tokens keeps new join tokens; every store.Store does.
type Tokens interface {
	CreateJoinToken(ctx context.Context, t ca.JoinToken) error
}

// Operations are what the running server can do for an operator. Each is safe for
// concurrent use and records what it changed.
type Operations interface {
	Status(ctx context.Context) (*kedgev1.StatusResponse, error)
	FIPSReport(ctx context.Context, sign bool) ([]byte, error)
	SelfTest(ctx context.Context) []fips.TestResult
	RenewIntermediate(ctx context.Context) (*ca.Intermediate, error)
	Repair(ctx context.Context, dryRun bool) (*kedgev1.RepairResponse, error)
	Reload(ctx context.Context) error
}

// Config is what the service is made of; all fields are needed.
type Config struct {
	Records    Records
	Tokens     Tokens
	Events     ca.EventLog
	Operations Operations
	Domain     ca.TrustDomain
	Now        func() time.Time
	Poll       time.Duration // how often a tail looks for new records
}

// Register serves kedge.v1.Admin on r, which must be a server with Credentials.
func Register(r grpc.ServiceRegistrar, c Config) error {
	if c.Records == nil || c.Tokens == nil || c.Events == nil || c.Operations == nil || c.Domain.IsZero() || c.Now == nil || c.Poll <= 0 {
		return fmt.Errorf("admin service is incomplete")
	}
	kedgev1.RegisterAdminServer(r, &service{c: c})
	return nil
}

type service struct {
	kedgev1.UnimplementedAdminServer
	c Config
}

// Bounds of join tokens.
const (
	defaultJoinTTL = time.Hour
	maxJoinTTL     = 24 * time.Hour
)

func (s *service) Status(ctx context.Context, _ *kedgev1.StatusRequest) (*kedgev1.StatusResponse, error) {
	return s.c.Operations.Status(ctx)
}

func (s *service) VerifyRecords(ctx context.Context, _ *kedgev1.VerifyRecordsRequest) (*kedgev1.VerifyRecordsResponse, error) {
	n, err := s.c.Records.Verify(ctx)
	if err != nil {
		return nil, fmt.Errorf("verifying the records: %w", err)
	}
	return &kedgev1.VerifyRecordsResponse{Records: n}, nil
}

func (s *service) CreateJoinToken(ctx context.Context, r *kedgev1.CreateJoinTokenRequest) (*kedgev1.CreateJoinTokenResponse, error) {
	who, err := actor(ctx)
	if err != nil {
		return nil, err
	}
	identity, err := ca.ParseIdentity(r.GetIdentity())
	if err != nil {
		return nil, &ca.Error{Reason: ca.ReasonRequest, Err: err}
	}
	if !identity.MemberOf(s.c.Domain) {
		return nil, ca.Refuse(ca.ReasonRequest, "%s is not of trust domain %s", identity, s.c.Domain)
	}
	ttl, err := joinTTL(r.GetTtl())
	if err != nil {
		return nil, err
	}
	token, hash, err := authn.NewJoinToken()
	if err != nil {
		return nil, err
	}
	expires := s.c.Now().Add(ttl).UTC()
	if err := s.c.Tokens.CreateJoinToken(ctx, ca.JoinToken{Hash: hash, Identity: identity, ExpiresAt: expires, CreatedBy: who}); err != nil {
		return nil, fmt.Errorf("storing the join token: %w", err)
	}
	err = s.record(ctx, "join_token.create", map[string]string{"identity": identity.String(), "expires_at": expires.Format(time.RFC3339)})
	if err != nil {
		return nil, err
	}
	return &kedgev1.CreateJoinTokenResponse{Token: token, ExpiresAt: timestamppb.New(expires)}, nil
}

// joinTTL is the lifetime of a join token.
func joinTTL(d *durationpb.Duration) (time.Duration, error) {
	ttl := d.AsDuration()
	switch {
	case d == nil || ttl == 0 && d.IsValid():
		return defaultJoinTTL, nil
	case !d.IsValid() || ttl < time.Second || ttl > maxJoinTTL:
		return 0, ca.Refuse(ca.ReasonRequest, "a join token lives 1 s to %s, not %s", maxJoinTTL, ttl)
	}
	return ttl, nil
}

func (s *service) FIPSReport(ctx context.Context, r *kedgev1.FIPSReportRequest) (*kedgev1.FIPSReportResponse, error) {
	report, err := s.c.Operations.FIPSReport(ctx, r.GetSign())
	if err != nil {
		return nil, err
	}
	return &kedgev1.FIPSReportResponse{Report: report}, nil
}

func (s *service) SelfTest(ctx context.Context, _ *kedgev1.SelfTestRequest) (*kedgev1.SelfTestResponse, error) {
	if err := s.record(ctx, "fips.selftest", nil); err != nil {
		return nil, err
	}
	out := &kedgev1.SelfTestResponse{}
	for _, r := range s.c.Operations.SelfTest(ctx) {
		out.Results = append(out.Results, &kedgev1.SelfTestResult{Name: r.Name, Ok: r.OK, Detail: r.Detail})
	}
	return out, nil
}

func (s *service) RenewIntermediate(ctx context.Context, _ *kedgev1.RenewIntermediateRequest) (*kedgev1.RenewIntermediateResponse, error) {
	if err := s.record(ctx, "intermediate.renew_request", nil); err != nil {
		return nil, err
	}
	i, err := s.c.Operations.RenewIntermediate(ctx)
	if err != nil {
		return nil, err
	}
	return &kedgev1.RenewIntermediateResponse{Intermediate: EncodeIntermediate(i)}, nil
}

func (s *service) Repair(ctx context.Context, r *kedgev1.RepairRequest) (*kedgev1.RepairResponse, error) {
	if !r.GetDryRun() {
		if err := s.record(ctx, "repair.request", nil); err != nil {
			return nil, err
		}
	}
	return s.c.Operations.Repair(ctx, r.GetDryRun())
}

func (s *service) Reload(ctx context.Context, _ *kedgev1.ReloadRequest) (*kedgev1.ReloadResponse, error) {
	if err := s.record(ctx, "config.reload_request", nil); err != nil {
		return nil, err
	}
	return &kedgev1.ReloadResponse{}, s.c.Operations.Reload(ctx)
}

// record notes an operator's act before it is done.
func (s *service) record(ctx context.Context, action string, detail map[string]string) error {
	who, err := actor(ctx)
	if err != nil {
		return err
	}
	if err := s.c.Events.Append(ctx, ca.Event{At: s.c.Now().UTC(), Actor: who, Action: action, Detail: detail}); err != nil {
		return &ca.Error{Reason: ca.ReasonRecordFailed, Err: err}
	}
	return nil
}
