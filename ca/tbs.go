package ca

import (
	"encoding/asn1"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// tbsCertificate is the only place in Kedge where a certificate's content is
// put together: leaf, intermediate and root alike (RFC 5280 §4.1).
type tbsCertificate struct {
	serial     []byte // content octets of a positive INTEGER
	algorithm  []byte // DER AlgorithmIdentifier
	issuer     []byte // DER Name
	notBefore  time.Time
	notAfter   time.Time
	subject    []byte // DER Name
	spki       []byte // DER SubjectPublicKeyInfo
	extensions []extension
}

type extension struct {
	oid      asn1.ObjectIdentifier
	critical bool
	value    []byte // DER, without the OCTET STRING around it
}

// emptyName is the empty RDNSequence, the subject of every leaf (X509-SVID §2
// leaves the identity to the URI SAN, which is critical for that reason).
var emptyName = []byte{0x30, 0x00}

// encode gives the DER of the TBSCertificate: the exact bytes that are checked
// and then signed.
func (t *tbsCertificate) encode() ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 640))
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
			b.AddASN1Int64(2) // v3
		})
		b.AddASN1(cbasn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(t.serial) })
		b.AddBytes(t.algorithm)
		b.AddBytes(t.issuer)
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addTime(b, t.notBefore)
			addTime(b, t.notAfter)
		})
		b.AddBytes(t.subject)
		b.AddBytes(t.spki)
		b.AddASN1(cbasn1.Tag(3).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for i := range t.extensions {
					t.extensions[i].add(b)
				}
			})
		})
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding certificate: %w", err)
	}
	return der, nil
}

func (e *extension) add(b *cryptobyte.Builder) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(e.oid)
		if e.critical {
			b.AddASN1Boolean(true) // DER leaves out the default, false
		}
		b.AddASN1OctetString(e.value)
	})
}

// addTime follows RFC 5280 §4.1.2.5: UTCTime through 2049, GeneralizedTime from
// 2050 on.
func addTime(b *cryptobyte.Builder, t time.Time) {
	t = t.UTC()
	if t.Year() >= 2050 {
		b.AddASN1GeneralizedTime(t)
		return
	}
	b.AddASN1UTCTime(t)
}

// assemble puts a signature under a TBSCertificate.
func assemble(tbs, algorithm, signature []byte) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+len(algorithm)+len(signature)+16))
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(algorithm)
		b.AddASN1BitString(signature)
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("assembling certificate: %w", err)
	}
	return der, nil
}

func subjectKeyID(id []byte) extension {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(id)+2))
	b.AddASN1OctetString(id)
	return extension{oid: oidSubjectKeyID, value: b.BytesOrPanic()}
}

func authorityKeyID(id []byte) extension {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(id)+4))
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(id) })
	})
	return extension{oid: oidAuthorityKeyID, value: b.BytesOrPanic()}
}

// hosts are the network names beside the identity: those of a server, or the one
// DNS name of a service account; most workloads have none.
type hosts struct {
	dnsNames []string
	addrs    []netip.Addr
}

// text is every name as text, as a record keeps it.
func (h hosts) text() []string {
	if len(h.addrs) == 0 {
		return h.dnsNames
	}
	names := slices.Clone(h.dnsNames)
	for _, addr := range h.addrs {
		names = append(names, addr.String())
	}
	return names
}

// altNames holds DNS names and addresses first and one URI last: Linkerd's proxy
// takes the first name that it can read for the identity of its peer. It is critical
// exactly where the subject is empty (RFC 5280 §4.2.1.6).
func altNames(h hosts, uri string, critical bool) extension {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(uri)+8))
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, name := range h.dnsNames {
			b.AddASN1(tagDNS, func(b *cryptobyte.Builder) { b.AddBytes([]byte(name)) })
		}
		for _, addr := range h.addrs {
			b.AddASN1(tagIP, func(b *cryptobyte.Builder) { b.AddBytes(addr.AsSlice()) })
		}
		b.AddASN1(tagURI, func(b *cryptobyte.Builder) { b.AddBytes([]byte(uri)) })
	})
	return extension{oid: oidSubjectAltName, critical: critical, value: b.BytesOrPanic()}
}

// keyUsage takes the bits of RFC 5280 §4.2.1.3 by number and encodes them as DER
// wants a named bit list: without trailing zero bits (X.690 §11.2.2).
func keyUsage(bits ...int) extension {
	var octet byte
	last := 0
	for _, bit := range bits {
		octet |= 0x80 >> bit
		last = max(last, bit)
	}
	return extension{oid: oidKeyUsage, critical: true, value: []byte{0x03, 0x02, byte(7 - last), octet}}
}

func extKeyUsage(usages ...asn1.ObjectIdentifier) extension {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, usage := range usages {
			b.AddASN1ObjectIdentifier(usage)
		}
	})
	return extension{oid: oidExtKeyUsage, value: b.BytesOrPanic()}
}

// notCA is basicConstraints of a leaf: present, critical and empty.
func notCA() extension {
	return extension{oid: oidBasicConstraints, critical: true, value: emptyName}
}

// isCA is basicConstraints of a CA; pathLength < 0 sets no limit.
func isCA(pathLength int) extension {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Boolean(true)
		if pathLength >= 0 {
			b.AddASN1Int64(int64(pathLength))
		}
	})
	return extension{oid: oidBasicConstraints, critical: true, value: b.BytesOrPanic()}
}

// tbsOf reads the TBSCertificate out of a DER certificate, header included, nil
// if there is none.
func tbsOf(der []byte) []byte {
	input := cryptobyte.String(der)
	var certificate, tbs cryptobyte.String
	if !input.ReadASN1(&certificate, cbasn1.SEQUENCE) || !input.Empty() ||
		!certificate.ReadASN1Element(&tbs, cbasn1.SEQUENCE) {
		return nil
	}
	return tbs
}
