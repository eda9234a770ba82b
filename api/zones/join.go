package zones

import (
	"context"
	"crypto/sha256"
	"errors"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/primary"
)

// Joining is what a replica joins with.
type Joining struct {
	Token   string
	Replica string // its name in the zone
	Version string
}

// Membership is what a replica has joined.
type Membership struct {
	Zone rotation.Zone
	// Bundle is the one in force, with its signed form.
	Bundle *bundle.Accepted
	Signed bundle.Signed
}

// Join registers the replica's key. Where the answer was lost, the same key may join
// with the same token again. c needs no Held.
//
// The token pins a bundle: the chain is fetched from whoever answers, begun by the
// pinned hash and replayed, and only a primary that it verifies is shown the token.
func Join(ctx context.Context, c ClientConfig, j Joining) (m Membership, err error) {
	_, pinned, err := primary.SplitToken(j.Token)
	if err != nil {
		return Membership{}, err
	}
	c.Held = func(context.Context) (*ca.Bundle, error) {
		if m.Bundle == nil {
			return nil, errors.New("there is none before the chain was replayed")
		}
		return m.Bundle.Bundle(), nil
	}
	client, err := NewClient(c)
	if err != nil {
		return Membership{}, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	chain, err := client.unprovedBundles(ctx, 0)
	if err != nil {
		return Membership{}, err
	}
	if m.Bundle, m.Signed, err = begin(chain, pinned); err != nil {
		return Membership{}, err
	}
	if domain := m.Bundle.Bundle().TrustDomain(); domain != c.Primary.TrustDomain() {
		return Membership{}, ca.Refuse(ca.ReasonBundleForeign, "the primary is of trust domain %s, and %s is configured", domain, c.Primary.TrustDomain())
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := client.rpc.Join(call, &kedgev1.JoinRequest{Token: j.Token, Replica: j.Replica, Version: j.Version})
	if err != nil {
		return Membership{}, client.failure(ctx, "joining", err)
	}
	m.Zone = rotation.Zone(answer.GetZone())
	return m, nil
}

// begin finds the pinned bundle in a chain and replays what follows it.
func begin(chain []bundle.Signed, pinned bundle.Hash) (*bundle.Accepted, bundle.Signed, error) {
	for i, s := range chain {
		if bundle.Hash(sha256.Sum256(s.Payload)) != pinned {
			continue
		}
		first, err := bundle.Begin(s, pinned)
		if err != nil {
			return nil, bundle.Signed{}, err
		}
		newest, err := first.Replay(chain[i+1:])
		return newest, chain[len(chain)-1], err
	}
	return nil, bundle.Signed{}, ca.Refuse(ca.ReasonBundleForked, "none of the %d bundles of the primary is the one that the token pins: the token is of another primary, or of one that was restored from a backup", len(chain))
}
