package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/admin"
	"github.com/kedge-ca/kedge/api/rotationapi"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/primary"
)

const (
	// watchPoll is how often ca rotate watch looks.
	watchPoll = 500 * time.Millisecond
	// haltPatience is how long ca halt and ca rotate verify wait for the replicas, which
	// report every 5 s.
	haltPatience = 10 * time.Second
)

// rotationSettings are those of the configuration for the primary.
func (c *config) rotationSettings() (primary.Settings, error) {
	window, err := rotation.ParseWindow(c.Rotation.Window)
	s := primary.Settings{
		Lifetime: time.Duration(c.Intermediate.Lifetime), LeafTTL: c.longestLeaf(), Skew: time.Duration(c.Rotation.Skew),
		Mode: rotation.Mode(c.Rotation.Mode), Dwell: time.Duration(c.Rotation.Dwell), Window: window,
		Approvals: c.Rotation.Approvals, Schedule: c.Rotation.Schedule,
	}
	// Whoever starts a rotation agrees to it. One that the schedule starts has nobody, and
	// waits for an operator, unless it was made automatic.
	if s.Mode == rotation.ModeAuto && s.Approvals == 1 {
		s.Approvals = 0
	}
	return s, err
}

// rotations are those of the primary; in a zone there are none, and who asks is told.
func (s *server) rotations() (*rotationapi.Primary, error) {
	get := func() (*primary.Primary, error) {
		return nil, ca.Refuse(ca.ReasonNoPrimary, "this server is a replica of a zone; ask its primary")
	}
	roots := ca.OneOf()
	if leading := s.following.leading; leading != nil {
		get, roots = leading.get, leading.roots
	}
	return rotationapi.NewPrimary(get, roots)
}

// registerRotations serves rotations on the local socket.
func (s *server) registerRotations(r grpc.ServiceRegistrar) error {
	all, err := s.rotations()
	if err != nil {
		return err
	}
	return admin.RegisterRotation(r, admin.RotationConfig{
		Rotations: all, Rate: s.issueRate, MayOperate: s.config.Rotation.isOperator, Now: s.app.now, Poll: watchPoll, Patience: haltPatience,
	})
}

// registerApprovals lets operators at other machines agree to rotations.
func (s *server) registerApprovals(r grpc.ServiceRegistrar, front *api.Front) error {
	all, err := s.rotations()
	if err != nil {
		return err
	}
	return rotationapi.RegisterApprovals(r, rotationapi.ApprovalsConfig{Plans: all, Caller: front.Caller, IsOperator: s.config.Rotation.isRemoteOperator})
}

// Bounds of the measurement of the rate.
const (
	rateSamples = 200
	rateTime    = 200 * time.Millisecond
)

// issueRate measures how many signatures a second one core makes with a key of the type
// that signs. Where the keys are on another server there is no telling: a measurement
// would load what everybody waits for.
func (s *server) issueRate(ctx context.Context) rotationapi.Rate {
	if s.config.Keys.Store != keysFile {
		return rotationapi.Rate{}
	}
	key, err := fips.GenerateKey(fips.KeyType(s.config.Keys.Type))
	if err != nil {
		return rotationapi.Rate{}
	}
	scheme, err := fips.SchemeFor(key.Public())
	if err != nil {
		return rotationapi.Rate{}
	}
	begin, n := time.Now(), 0
	for n < rateSamples && time.Since(begin) < rateTime && ctx.Err() == nil {
		if _, err := fips.Sign(key, scheme, []byte("kedge rate 1\n")); err != nil {
			return rotationapi.Rate{}
		}
		n++
	}
	return rotationapi.Rate{
		PerSecond: float64(n) / time.Since(begin).Seconds(),
		Source:    fmt.Sprintf("signatures with %s on one core, measured now; records not counted", s.config.Keys.Type),
	}
}
