package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// What a canary is.
const (
	CanaryTTL      = MinLeafTTL // of its leaf
	canaryLifetime = time.Hour  // of the intermediate above it
	canaryProfile  = "canary"
	canaryPath     = "/kedge/canary"
)

// CanaryName is the server name under which a listener presents the canary of an
// anchor. Nothing resolves it (RFC 6761 §6.4): it is sent in a handshake only.
func CanaryName(anchor AnchorID) string { return "canary." + anchor.String()[:16] + ".kedge.invalid" }

// CanaryIdentity is the identity that is reserved for canaries.
func (td TrustDomain) CanaryIdentity() (Identity, error) {
	return ParseIdentity(td.URI() + canaryPath)
}

// Canary keeps a leaf of five minutes under one anchor, so that a real handshake can
// prove that a verifier takes it before any workload's leaf is under it. Keys are in
// memory only; the intermediate lasts an hour and signs nothing else. The leaf is an
// issuance as every other: it has its record, a halt stops it, and it counts among
// the leaves under its anchor. It says nothing of a verifier.
type Canary struct {
	authority *Authority
	root      Root
	anchor    AnchorID
	policy    *Policy
	identity  Identity

	intermediate *Intermediate // of the one that calls Tick
	current      atomic.Pointer[CanaryLeaf]
}

// CanaryLeaf is a canary's certificate and key.
type CanaryLeaf struct {
	Chain    [][]byte // DER, the leaf first, without the anchor
	Signer   crypto.Signer
	NotAfter time.Time
}

// NewCanary makes a canary of the domain under the anchor of root. It has no leaf until Tick.
func NewCanary(ctx context.Context, a *Authority, root Root, domain TrustDomain) (*Canary, error) {
	anchor, err := root.Anchor(ctx)
	if err != nil {
		return nil, rootError(err)
	}
	identity, err := domain.CanaryIdentity()
	if err != nil {
		return nil, err
	}
	c := &Canary{authority: a, root: root, anchor: AnchorIDOf(anchor), identity: identity}
	profile, err := NewProfile(ProfileConfig{
		Name: canaryProfile, DefaultTTL: CanaryTTL, MaxTTL: CanaryTTL, ServerOnly: true, DNSNames: []string{CanaryName(c.anchor)},
	})
	if err != nil {
		return nil, err
	}
	c.policy, err = NewPolicy(PolicyConfig{
		TrustDomain: domain, Profiles: []*Profile{profile},
		Rules: []RuleConfig{{Name: canaryProfile, Methods: []Method{MethodLocal}, Identities: []string{identity.String()}, Profile: canaryProfile}},
	})
	return c, err
}

// Anchor is the anchor that the canary is under.
func (c *Canary) Anchor() AnchorID { return c.anchor }

// Leaf is the leaf in force; a refusal with ReasonNotReady when there is none that
// lives at now. It may be called while Tick works.
func (c *Canary) Leaf(now time.Time) (CanaryLeaf, error) {
	leaf := c.current.Load()
	if leaf == nil || !now.Before(leaf.NotAfter) {
		return CanaryLeaf{}, Refuse(ReasonNotReady, "there is no canary under anchor %s", c.anchor)
	}
	return *leaf, nil
}

// Tick makes a new leaf when half of the old one's life is over, and a new
// intermediate when the old one could not outlive two leaves more. It asks the root,
// so it may block on a network. One caller at a time.
func (c *Canary) Tick(ctx context.Context, now time.Time) error {
	if leaf := c.current.Load(); leaf != nil && now.Before(leaf.NotAfter.Add(-CanaryTTL/2)) {
		return nil
	}
	bundle := c.authority.Bundle()
	if bundle == nil || !bundle.Contains(c.anchor) {
		return Refuse(ReasonNotReady, "anchor %s is not in the bundle", c.anchor)
	}
	if c.intermediate == nil || c.intermediate.notAfter.Sub(now) < 2*CanaryTTL {
		fresh, err := c.obtain(ctx, bundle, now)
		if err != nil {
			return fmt.Errorf("obtaining the canary's intermediate: %w", err)
		}
		c.intermediate = fresh
	}
	leaf, err := c.issue(ctx, now)
	if err != nil {
		return fmt.Errorf("issuing the canary: %w", err)
	}
	c.current.Store(leaf)
	return nil
}

// obtain has the root sign an intermediate whose key is in memory.
func (c *Canary) obtain(ctx context.Context, bundle *Bundle, now time.Time) (*Intermediate, error) {
	policy := c.authority.fips
	key, csr, err := newKeyAndRequest(policy)
	if err != nil {
		return nil, err
	}
	chain, err := c.root.SignIntermediate(ctx, csr, IntermediateRequest{
		TrustDomain: bundle.domain, NotBefore: now.Add(-CABackdate), NotAfter: now.Add(canaryLifetime),
	})
	if err != nil {
		return nil, rootError(err)
	}
	next, err := NewIntermediate(IntermediateConfig{Chain: chain, Bundle: bundle, Signer: key, Policy: policy})
	if err == nil && next.anchorID != c.anchor {
		err = fmt.Errorf("the root has signed under anchor %s, not %s", next.anchorID, c.anchor)
	}
	if err == nil {
		err = checkFresh(next, now, canaryLifetime)
	}
	if err != nil {
		return nil, &Error{Reason: ReasonRootMismatch, Err: fmt.Errorf("checking the root's answer: %w", err)}
	}
	return next, nil
}

func (c *Canary) issue(ctx context.Context, now time.Time) (*CanaryLeaf, error) {
	key, csr, err := newKeyAndRequest(c.authority.fips)
	if err != nil {
		return nil, err
	}
	request, err := ParseRequest(csr, RequestOptions{Now: now}, c.authority.fips)
	if err != nil {
		return nil, err
	}
	caller, err := NewCaller(c.identity, Evidence{Method: MethodLocal, Subject: canaryProfile})
	if err != nil {
		return nil, err
	}
	issued, err := c.authority.issueUnder(ctx, c.intermediate, c.policy, issueRequest{caller, request})
	if err != nil {
		return nil, err
	}
	return &CanaryLeaf{Chain: append([][]byte{issued.Leaf}, issued.Chain...), Signer: key, NotAfter: issued.NotAfter}, nil
}

func newKeyAndRequest(policy fips.Policy) (crypto.Signer, []byte, error) {
	key, err := fips.GenerateKey(policy.DefaultKeyType())
	if err != nil {
		return nil, nil, fmt.Errorf("making the key: %w", err)
	}
	csr, err := fips.CreateRequest(&x509.CertificateRequest{}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("making the request: %w", err)
	}
	return key, csr, nil
}

// CheckCanary holds what a server has presented for CanaryName(anchor), the leaf
// first, to the bundle that is held: it has to be the canary, under that anchor and
// no other. An error says why it is not.
func CheckCanary(presented []*x509.Certificate, held *Bundle, anchor AnchorID, now time.Time) error {
	root := held.Anchor(anchor)
	switch {
	case root == nil:
		return fmt.Errorf("anchor %s is not in bundle %d, which is held", anchor, held.seq)
	case len(presented) == 0:
		return fmt.Errorf("the server presented no certificate")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	for _, c := range presented[1:] {
		between.AddCert(c)
	}
	leaf := presented[0]
	_, err := leaf.Verify(x509.VerifyOptions{
		DNSName: CanaryName(anchor), Roots: roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("the canary does not verify under anchor %s: %w", anchor, err)
	}
	want, err := held.domain.CanaryIdentity()
	if err != nil {
		return err
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != want.String() {
		return fmt.Errorf("the server presented another certificate than the canary's")
	}
	return nil
}
