package authn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// AuthenticateCertificate finds the caller by its client certificate alone, for
// renewal; a token is not looked at. The handshake verified the signatures.
// What can change while a connection lives is checked again for each request:
// the validity of every certificate of the chain, and that the bundle still has
// its anchor. Errors are *ca.Error.
func (a *Authenticator) AuthenticateCertificate(_ context.Context, c Credentials, bundle *ca.Bundle) (ca.Caller, error) {
	leaf, err := presented(c.TLS)
	if err != nil {
		return ca.Caller{}, err
	}
	if leaf == nil {
		return ca.Caller{}, ca.Refuse(ca.ReasonNoCredentials, "neither a token nor a client certificate")
	}
	identity, err := a.certificateIdentity(leaf)
	if err != nil {
		return ca.Caller{}, err
	}
	if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return ca.Caller{}, ca.Refuse(ca.ReasonCertificateInvalid, "certificate is not for client authentication")
	}
	anchor, err := trustedAnchor(c.TLS.VerifiedChains, bundle, a.now())
	if err != nil {
		return ca.Caller{}, err
	}
	caller, err := ca.NewCaller(identity, ca.Evidence{
		Method: ca.MethodCertificate, Issuer: anchor.String(),
		Subject: hex.EncodeToString(leaf.SerialNumber.Bytes()), Peer: c.Peer,
	})
	if err != nil {
		return ca.Caller{}, ca.Refuse(ca.ReasonInternal, "making caller: %w", err)
	}
	return caller, nil
}

// identityBeside is the identity of the certificate on a connection over which a
// token came, zero without one. It does not matter whether it could stand alone.
func (a *Authenticator) identityBeside(state *tls.ConnectionState) (ca.Identity, error) {
	leaf, err := presented(state)
	if err != nil || leaf == nil {
		return ca.Identity{}, err
	}
	return a.certificateIdentity(leaf)
}

// presented is the client's certificate, nil if it sent none. One that the
// handshake did not verify means that the listener is set up wrongly.
func presented(state *tls.ConnectionState) (*x509.Certificate, error) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return nil, nil
	}
	if len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return nil, ca.Refuse(ca.ReasonCertificateInvalid, "the handshake did not verify the client certificate")
	}
	return state.VerifiedChains[0][0], nil
}

// certificateIdentity is the one SPIFFE ID of a leaf (X509-SVID §2, §5.2). DNS
// names beside it are a profile's grant and no identity.
func (a *Authenticator) certificateIdentity(leaf *x509.Certificate) (ca.Identity, error) {
	if leaf.IsCA {
		return ca.Identity{}, ca.Refuse(ca.ReasonCertificateInvalid, "client certificate is a CA's")
	}
	uris, err := uriNames(leaf)
	if err != nil {
		return ca.Identity{}, err
	}
	if len(uris) != 1 {
		return ca.Identity{}, ca.Refuse(ca.ReasonCertificateNames, "client certificate has %d URI names", len(uris))
	}
	identity, err := ca.ParseIdentity(uris[0])
	if err != nil {
		return ca.Identity{}, ca.Refuse(ca.ReasonCertificateNames, "client certificate: %w", err)
	}
	if !identity.MemberOf(a.domain) {
		return ca.Identity{}, ca.Refuse(ca.ReasonCertificateNames, "client certificate is of %s", identity)
	}
	return identity, nil
}

// uriNames reads the URI names from the bytes of the certificate. What net/url
// made of them is not what was signed: it lowers the case of a scheme.
func uriNames(leaf *x509.Certificate) ([]string, error) {
	var found []string
	for i := range leaf.Extensions {
		e := &leaf.Extensions[i]
		if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) { // subjectAltName, RFC 5280 §4.2.1.6
			continue
		}
		der, names := cryptobyte.String(e.Value), cryptobyte.String(nil)
		if !der.ReadASN1(&names, cbasn1.SEQUENCE) || !der.Empty() {
			return nil, ca.Refuse(ca.ReasonCertificateNames, "client certificate has unreadable names")
		}
		for !names.Empty() {
			var value cryptobyte.String
			var tag cbasn1.Tag
			if !names.ReadAnyASN1(&value, &tag) {
				return nil, ca.Refuse(ca.ReasonCertificateNames, "client certificate has unreadable names")
			}
			if tag == cbasn1.Tag(6).ContextSpecific() { // uniformResourceIdentifier
				found = append(found, string(value))
			}
		}
	}
	return found, nil
}

// trustedAnchor is the anchor of a chain that is still good. During a rotation
// the handshake may find several chains; one good one is enough.
func trustedAnchor(chains [][]*x509.Certificate, bundle *ca.Bundle, now time.Time) (ca.AnchorID, error) {
	if bundle == nil {
		return ca.AnchorID{}, ca.Refuse(ca.ReasonNotReady, "no bundle yet")
	}
	expired := false
	for _, chain := range chains {
		if len(chain) < 2 {
			continue
		}
		id := ca.AnchorIDOf(chain[len(chain)-1])
		if !bundle.Contains(id) {
			continue
		}
		current, over := true, false
		for _, c := range chain {
			current = current && !now.Before(c.NotBefore)
			over = over || now.After(c.NotAfter)
		}
		if current && !over {
			return id, nil
		}
		expired = expired || over
	}
	if expired {
		return ca.AnchorID{}, ca.Refuse(ca.ReasonCertificateExpired, "client certificate, or one above it, has expired")
	}
	return ca.AnchorID{}, ca.Refuse(ca.ReasonCertificateInvalid, "no chain of the client certificate ends in the bundle")
}
