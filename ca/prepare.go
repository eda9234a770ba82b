package ca

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// prepared is a leaf that passed every check and waits for its signature. Only
// prepare makes one, and sign takes nothing else, so that nothing can be signed
// that was not checked.
type prepared struct {
	snapshot  *snapshot
	grant     Grant
	request   Request
	serial    []byte
	tbs       []byte // the exact bytes that were checked and will be signed
	now       time.Time
	notBefore time.Time
	notAfter  time.Time
}

// placeholderSignature stands where the signature will stand while the bytes are
// checked. It has the length of an ECDSA P-256 signature and no other meaning:
// checking costs no second signature.
var placeholderSignature [72]byte

// prepare builds the leaf for grant and checks it against the profile, reading
// back the bytes themselves rather than trusting the code that wrote them.
func prepare(s *snapshot, grant Grant, r Request, now time.Time) (*prepared, error) {
	if _, isCA := s.caKeys[r.keyHash]; isCA {
		return nil, Refuse(ReasonKeyOfCA, "key %x is a CA's", r.keyHash)
	}
	p := &prepared{snapshot: s, grant: grant, request: r, now: now}
	ttl, err := p.setValidity()
	if err != nil {
		return nil, err
	}
	if p.serial, err = fips.NewSerial(); err != nil {
		return nil, fmt.Errorf("making serial: %w", err)
	}
	keyID, err := fips.KeyIDFromSPKI(r.spki)
	if err != nil {
		return nil, fmt.Errorf("computing key id: %w", err)
	}
	issuer := s.intermediate
	t := tbsCertificate{
		serial: p.serial, algorithm: issuer.scheme.AlgorithmIdentifier,
		issuer: issuer.cert.RawSubject, notBefore: p.notBefore, notAfter: p.notAfter,
		subject: emptyName, spki: r.spki,
		extensions: grant.profile.extensions(r, grant, keyID, issuer.cert.SubjectKeyId),
	}
	if p.tbs, err = t.encode(); err != nil {
		return nil, err
	}
	draft, err := assemble(p.tbs, issuer.scheme.AlgorithmIdentifier, placeholderSignature[:])
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(draft)
	if err != nil {
		return nil, fmt.Errorf("reading back the leaf before signing: %w", err)
	}
	want := leafWant{
		profile: grant.profile, identity: grant.identity, hosts: grant.hosts, spki: r.spki, keyID: keyID,
		issuer: issuer, now: now, ttl: ttl,
	}
	if err := checkLeaf(parsed, want); err != nil {
		return nil, fmt.Errorf("leaf for %s: %w", grant.identity, err)
	}
	return p, nil
}

// setValidity decides the dates: what profile and policy give, clamped to the
// chain, backdated by at most a tenth. It returns the lifetime after now.
func (p *prepared) setValidity() (time.Duration, error) {
	ttl, err := p.grant.profile.lifetime(p.request.ttl, p.grant.maxTTL)
	if err != nil {
		return 0, err
	}
	// Certificates have whole seconds; rounding down keeps both ends in bounds.
	now := p.now.UTC().Truncate(time.Second)
	end := p.snapshot.intermediate.notAfter
	if now.Add(ttl).After(end) {
		ttl = end.Sub(now)
	}
	if ttl < p.grant.profile.minTTL {
		return 0, Refuse(ReasonAuthorityExpired, "the chain ends at %s, too soon for profile %s", end, p.grant.profile.name)
	}
	p.notAfter = now.Add(ttl)
	p.notBefore = now.Add(-p.grant.profile.backdateFor(ttl))
	return ttl, nil
}

// sign signs the checked bytes and proves afterwards that they are what the
// certificate holds.
func (p *prepared) sign() ([]byte, error) {
	issuer := p.snapshot.intermediate
	signature, err := fips.Sign(issuer.signer, issuer.scheme, p.tbs)
	if err != nil {
		return nil, fmt.Errorf("signing leaf: %w", err)
	}
	leaf, err := assemble(p.tbs, issuer.scheme.AlgorithmIdentifier, signature)
	if err != nil {
		return nil, err
	}
	if signed := tbsOf(leaf); !bytes.Equal(signed, p.tbs) {
		return nil, fmt.Errorf("the signed certificate does not hold the bytes that were checked")
	}
	return leaf, nil
}

// issued is what the caller gets for p.
func (p *prepared) issued(leaf []byte) Issued {
	issuer := p.snapshot.intermediate
	return Issued{
		Leaf: leaf, Chain: issuer.chainDER, Bundle: p.snapshot.bundle,
		Serial: p.serialHex(), Identity: p.grant.identity, Profile: p.grant.profile.name,
		NotBefore: p.notBefore, NotAfter: p.notAfter, RenewAt: p.renewAt(),
		Intermediate: issuer,
	}
}

// renewAt spreads renewals evenly over 40 % to 70 % of the lifetime, so that a
// fleet that started together does not come back together. The serial is the
// source of chance: it is random and already there.
func (p *prepared) renewAt() time.Time {
	const from, span = 40, 30
	life := p.notAfter.Sub(p.now)
	chance := time.Duration(binary.BigEndian.Uint16(p.serial[len(p.serial)-2:]))
	return p.now.Add(life*from/100 + life*span/100*chance/(1<<16)).UTC().Truncate(time.Second)
}
