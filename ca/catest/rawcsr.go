package catest

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"testing"

	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// RawCSR describes a PKCS#10 request byte by byte, for what no honest library
// would write. Zero fields give an honest request without names.
type RawCSR struct {
	Version     int64
	Subject     []byte   // DER Name; nil means empty
	SPKI        []byte   // DER; nil means the signing key's
	Attributes  [][]byte // DER attributes; nil means one extension request, if there are Extensions
	Extensions  [][]byte // DER extensions
	NoAttrs     bool     // leave out even the empty [0]
	Algorithm   []byte   // DER AlgorithmIdentifier; nil means the honest one
	BadSig      bool     // sign something else
	TrailInfo   []byte   // bytes after the attributes, inside the signed part
	AfterOuter  []byte   // bytes after the whole request
	ClaimLength int      // if set, the length that the outer header claims (long form)
}

// Encode signs the request with key and encodes it.
func (r RawCSR) Encode(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	info := r.info(t, key)
	scheme, err := fips.SchemeFor(key.Public())
	require.NoError(t, err)
	signed := info
	if r.BadSig {
		signed = append([]byte("other bytes"), info...)
	}
	signature, err := fips.Sign(key, scheme, signed)
	require.NoError(t, err)
	algorithm := scheme.AlgorithmIdentifier
	if r.Algorithm != nil {
		algorithm = r.Algorithm
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(info)
		b.AddBytes(algorithm)
		b.AddASN1BitString(signature)
	})
	der := append(b.BytesOrPanic(), r.AfterOuter...)
	if r.ClaimLength != 0 {
		der = append([]byte{0x30, 0x84, byte(r.ClaimLength >> 24), byte(r.ClaimLength >> 16), byte(r.ClaimLength >> 8), byte(r.ClaimLength)}, der[4:]...)
	}
	return der
}

func (r RawCSR) info(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	spki := r.SPKI
	if spki == nil {
		var err error
		spki, err = x509.MarshalPKIXPublicKey(key.Public())
		require.NoError(t, err)
	}
	attributes := r.Attributes
	if attributes == nil && r.Extensions != nil {
		attributes = [][]byte{ExtensionRequest(r.Extensions...)}
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(r.Version)
		if r.Subject == nil {
			b.AddASN1(cbasn1.SEQUENCE, func(*cryptobyte.Builder) {})
		}
		b.AddBytes(r.Subject)
		b.AddBytes(spki)
		if !r.NoAttrs {
			b.AddASN1(cbasn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
				for _, a := range attributes {
					b.AddBytes(a)
				}
			})
		}
		b.AddBytes(r.TrailInfo)
	})
	return b.BytesOrPanic()
}

// ExtensionRequest is the attribute of RFC 2985 §5.4.2 that holds extensions.
func ExtensionRequest(extensions ...[]byte) []byte {
	return Attribute(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}, Sequence(extensions...))
}

// Attribute is an attribute with one value.
func Attribute(oid asn1.ObjectIdentifier, value []byte) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(value) })
	})
	return b.BytesOrPanic()
}

// Extension is a DER extension.
func Extension(oid asn1.ObjectIdentifier, critical bool, value []byte) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		if critical {
			b.AddASN1Boolean(true)
		}
		b.AddASN1OctetString(value)
	})
	return b.BytesOrPanic()
}

// SAN is a subject alternative name extension of the given general names.
func SAN(names ...[]byte) []byte {
	return Extension(asn1.ObjectIdentifier{2, 5, 29, 17}, true, Sequence(names...))
}

// Name is a general name with the context tag of RFC 5280 §4.2.1.6: 1 e-mail,
// 2 DNS, 6 URI, 7 IP address.
func Name(tag uint8, value string) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cbasn1.Tag(tag).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(value)) })
	return b.BytesOrPanic()
}

// Sequence is a DER SEQUENCE of elements.
func Sequence(elements ...[]byte) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, e := range elements {
			b.AddBytes(e)
		}
	})
	return b.BytesOrPanic()
}

// Subject is a Name with one attribute of the given string tag: 12 UTF8String,
// 19 PrintableString, 20 T61String, 30 BMPString.
func Subject(oid asn1.ObjectIdentifier, tag uint8, value string) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oid)
				b.AddASN1(cbasn1.Tag(tag), func(b *cryptobyte.Builder) { b.AddBytes([]byte(value)) })
			})
		})
	})
	return b.BytesOrPanic()
}
