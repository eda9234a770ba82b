package primary

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
	"github.com/kedge-ca/kedge/rotation/journal"
)

const tokenPrefix = "kedge-zone-"

// DefaultTokenTTL is how long a join token may be used, unless the operator says
// otherwise.
const DefaultTokenTTL = time.Hour

// Token makes a join token for one replica of a zone, which it adds where there is no
// zone of the name. The token has a secret of 256 bits and the hash of the bundle in
// force, by which the zone knows its primary. ttl 0 is DefaultTokenTTL.
func (p *Primary) Token(ctx context.Context, zone rotation.Zone, ttl time.Duration, actor string) (string, error) {
	if err := journal.CheckName(string(zone)); err != nil {
		return "", err
	}
	if ttl == 0 {
		ttl = DefaultTokenTTL
	}
	head, err := p.refresh(ctx)
	if err != nil {
		return "", err
	}
	var b [32]byte
	if err := fips.Random(b[:]); err != nil {
		return "", err
	}
	secret, now := hex.EncodeToString(b[:]), p.c.Now()
	expires := now.Add(ttl).UTC()
	detail := map[string]string{"zone": string(zone), "expires": expires.Format(time.RFC3339)}
	if err := p.record(ctx, actor, "zone.token", detail); err != nil {
		return "", err
	}
	if err := p.registry.AddZone(ctx, zone, now); err != nil {
		return "", err
	}
	if err := p.tokens.Add(ctx, secretHash(secret), journal.Token{Zone: zone, Actor: actor, Expires: expires}); err != nil {
		return "", err
	}
	return tokenPrefix + secret + "." + head.Hash().String(), nil
}

func secretHash(secret string) string {
	hash := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(hash[:])
}

// SplitToken splits a join token into its secret and the hash of the bundle that was
// in force when it was made.
func SplitToken(token string) (string, bundle.Hash, error) {
	var hash bundle.Hash
	secret, pin, ok := strings.Cut(strings.TrimPrefix(token, tokenPrefix), ".")
	raw, err := hex.DecodeString(pin)
	if !ok || err != nil || len(raw) != len(hash) || secret == "" || !strings.HasPrefix(token, tokenPrefix) {
		return "", hash, ca.Refuse(ca.ReasonZoneToken, "that is no join token: %s, a secret, a dot and a hash", tokenPrefix)
	}
	copy(hash[:], raw)
	return secret, hash, nil
}

// JoinRequest is a replica that wants to take part.
type JoinRequest struct {
	Token   string
	Replica string   // its name, its own within the zone
	KeyHash [32]byte // SHA-256 of the key (SubjectPublicKeyInfo) that it has proved to have
	Version string
}

// JoinAnswer is what it has joined.
type JoinAnswer struct {
	Zone    rotation.Zone
	Bundles []bundle.Signed // from the one that the token names, or the oldest there is
}

// Join registers a replica by its token. The same request again is answered again. A
// rotation under way takes the zone in before the replica can get anything.
func (p *Primary) Join(ctx context.Context, r JoinRequest) (JoinAnswer, error) {
	secret, pinned, err := SplitToken(r.Token)
	if err != nil {
		return JoinAnswer{}, err
	}
	if err := journal.CheckName(r.Replica); err != nil {
		return JoinAnswer{}, err
	}
	key, now := hex.EncodeToString(r.KeyHash[:]), p.c.Now()
	token, err := p.tokens.Spend(ctx, secretHash(secret), key, now)
	if err != nil {
		return JoinAnswer{}, err
	}
	if err := p.zone(ctx, token.Zone); err != nil {
		return JoinAnswer{}, err
	}
	detail := map[string]string{"zone": string(token.Zone), "replica": r.Replica, "key": key, "token_of": token.Actor}
	if err := p.record(ctx, "zone:"+string(token.Zone), "zone.join", detail); err != nil {
		return JoinAnswer{}, err
	}
	replica := journal.Replica{Zone: token.Zone, Name: r.Replica, Key: key, Version: r.Version, JoinedAt: now.UTC()}
	if err := p.registry.AddReplica(ctx, replica); err != nil {
		return JoinAnswer{}, err
	}
	if err := p.admit(ctx, token.Zone); err != nil {
		return JoinAnswer{}, err
	}
	chain, err := p.chain.After(ctx, 0)
	if err != nil {
		return JoinAnswer{}, err
	}
	return JoinAnswer{Zone: token.Zone, Bundles: from(chain, pinned)}, nil
}

// from is the chain from the bundle of a hash on; all of it where there is none.
func from(chain []bundle.Signed, pinned bundle.Hash) []bundle.Signed {
	for i, s := range chain {
		if bundle.Hash(sha256.Sum256(s.Payload)) == pinned {
			return chain[i:]
		}
	}
	return chain
}

// zone refuses a zone that there is not, or that was removed.
func (p *Primary) zone(ctx context.Context, name rotation.Zone) error {
	zone, err := p.registry.Zone(ctx, name)
	if err == nil && !zone.Removed.IsZero() {
		err = ca.Refuse(ca.ReasonZoneRemoved, "zone %s was removed at %s by %s: %s", name, zone.Removed.At.UTC().Format(time.RFC3339), zone.Removed.Actor, zone.Removed.Reason)
	}
	return err
}

// member is a replica that takes part.
func (p *Primary) member(ctx context.Context, zone rotation.Zone, name string) (journal.Replica, error) {
	if err := p.zone(ctx, zone); err != nil {
		return journal.Replica{}, err
	}
	return p.registry.Member(ctx, zone, name)
}

// Replica is who the key with this hash is: ReasonZoneUnknown refuses a key that
// nobody has registered, ReasonZoneRemoved one that takes part no more.
func (p *Primary) Replica(ctx context.Context, keyHash [32]byte) (rotation.Zone, string, error) {
	replica, err := p.registry.Admitted(ctx, hex.EncodeToString(keyHash[:]))
	if err != nil {
		return "", "", err
	}
	return replica.Zone, replica.Name, p.zone(ctx, replica.Zone)
}

// SignIntermediate has the root of an anchor sign a replica's intermediate, from its
// PKCS#10 request (DER), for at most the time that it wants. The anchor has to be the
// one that the zone was commanded to sign under, or the active one where it has no
// command: ReasonZoneAnchor refuses any other, and every zone that is excluded from
// the rotation under way. Until when the replica may sign is stored before the root
// is asked.
func (p *Primary) SignIntermediate(ctx context.Context, zone rotation.Zone, replica string, csr []byte, anchor ca.AnchorID, want time.Duration) ([]*x509.Certificate, error) {
	if _, err := p.member(ctx, zone, replica); err != nil {
		return nil, err
	}
	if err := p.mayIssueUnder(ctx, zone, anchor); err != nil {
		return nil, err
	}
	root, err := p.c.Roots(ctx, anchor)
	if err != nil {
		return nil, fmt.Errorf("finding the root of anchor %s: %w", anchor, err)
	}
	if want <= 0 || want > p.c.Rotation.Lifetime {
		want = p.c.Rotation.Lifetime
	}
	now := p.c.Now()
	end := now.Add(want)
	if err := p.registry.ExtendLease(ctx, zone, replica, journal.Lease{Anchor: anchor, End: end}); err != nil {
		return nil, err
	}
	detail := map[string]string{
		"zone": string(zone), "replica": replica, "anchor": anchor.String(), "not_after": end.UTC().Format(time.RFC3339),
	}
	if err := p.record(ctx, "zone:"+string(zone), "zone.intermediate", detail); err != nil {
		return nil, err
	}
	// Told otherwise, or removed, while the lease was stored: what was stored bounds
	// one that is not given.
	if err := p.mayIssueUnder(ctx, zone, anchor); err != nil {
		return nil, err
	}
	return root.SignIntermediate(ctx, csr, ca.IntermediateRequest{
		TrustDomain: p.c.TrustDomain, NotBefore: now.Add(-ca.CABackdate), NotAfter: end,
	})
}

func (p *Primary) mayIssueUnder(ctx context.Context, zone rotation.Zone, anchor ca.AnchorID) error {
	head, err := p.refresh(ctx)
	if err != nil {
		return err
	}
	command, plan, err := p.commandFor(ctx, zone)
	if err != nil {
		return err
	}
	allowed := ca.AnchorIDOf(head.Bundle().Active())
	if command.Epoch > 0 && head.Bundle().Contains(command.Signer) {
		allowed = command.Signer
	}
	if anchor != allowed {
		return ca.Refuse(ca.ReasonZoneAnchor, "zone %s signs under anchor %s by command %d, not under %s", zone, allowed, command.Epoch, anchor)
	}
	for _, z := range plan.Zones {
		if z.Name == zone && z.Excluded != "" && !z.Returning && !plan.IsOver() {
			return ca.Refuse(ca.ReasonZoneAnchor, "zone %s is excluded from rotation %s: %s; it gets an intermediate when it is included again", zone, plan.ID, z.Excluded)
		}
	}
	return nil
}

// RemoveZone removes a zone with its replicas. What they have may sign until its end,
// and a rotation waits for that.
func (p *Primary) RemoveZone(ctx context.Context, zone rotation.Zone, actor, reason string) error {
	if zone == p.c.Zone {
		return ca.Refuse(ca.ReasonZoneName, "zone %s is the primary's own", zone)
	}
	if err := p.zone(ctx, zone); err != nil {
		return err
	}
	if err := p.record(ctx, actor, "zone.remove", map[string]string{"zone": string(zone), "because": reason}); err != nil {
		return err
	}
	if err := p.registry.RemoveZone(ctx, zone, journal.Removal{At: p.c.Now().UTC(), Actor: actor, Reason: reason}); err != nil {
		return err
	}
	return p.leave(ctx, zone)
}

// RemoveReplica removes one replica of a zone.
func (p *Primary) RemoveReplica(ctx context.Context, zone rotation.Zone, replica string, why journal.Removal) error {
	why.At = p.c.Now().UTC()
	if _, err := p.member(ctx, zone, replica); err != nil {
		return err
	}
	detail := map[string]string{"zone": string(zone), "replica": replica, "because": why.Reason}
	if err := p.record(ctx, why.Actor, "zone.remove-replica", detail); err != nil {
		return err
	}
	if zone == p.c.Zone {
		if err := p.keys.Remove(ctx, string(zone)+"/"+replica); err != nil {
			return err
		}
	}
	return p.registry.RemoveReplica(ctx, zone, replica, why)
}

// rootOf asks the primary in the place of a root, for a replica of this process or of
// a test.
type rootOf struct {
	p       *Primary
	zone    rotation.Zone
	replica string
	anchor  ca.AnchorID
}

// RootFor is how a replica in this process gets its intermediates.
func (p *Primary) RootFor(zone rotation.Zone, replica string) ca.RootFor {
	return func(_ context.Context, anchor ca.AnchorID) (ca.Root, error) {
		return rootOf{p, zone, replica, anchor}, nil
	}
}

// Anchor implements ca.Root.
func (r rootOf) Anchor(ctx context.Context) (*x509.Certificate, error) {
	head, err := r.p.refresh(ctx)
	if err != nil {
		return nil, err
	}
	if cert := head.Bundle().Anchor(r.anchor); cert != nil {
		return cert, nil
	}
	return r.p.anchor(ctx, r.anchor)
}

// SignIntermediate implements ca.Root.
func (r rootOf) SignIntermediate(ctx context.Context, csr []byte, q ca.IntermediateRequest) ([]*x509.Certificate, error) {
	return r.p.SignIntermediate(ctx, r.zone, r.replica, csr, r.anchor, q.NotAfter.Sub(r.p.c.Now()))
}
