package authn

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/kedge-ca/kedge/ca"
)

const (
	// maxTokenSize bounds all work that an unauthenticated caller can ask for. A
	// projected token is 1 to 2 KiB.
	maxTokenSize = 16 << 10
	// maxKeyIDSize bounds what is looked up in the map of keys.
	maxKeyIDSize = 256
)

// token is a JWS in compact form (RFC 7515 §7.1) that was taken apart and not
// yet believed.
type token struct {
	algorithm algorithm
	keyID     string
	signed    []byte // header and payload as the signature covers them
	signature []byte
	payload   []byte
	claims    claims
}

// parseToken takes raw apart. Whatever it returns is bounded in size, has an
// allowed algorithm and a header in which nothing points anywhere.
func parseToken(raw []byte) (token, error) {
	if len(raw) > maxTokenSize {
		return token{}, ca.Refuse(ca.ReasonTokenTooLarge, "token has %d bytes", len(raw))
	}
	// Counted before anything is cut: a token of nothing but dots would otherwise
	// cost a slice for each of them.
	if n := bytes.Count(raw, []byte{'.'}); n != 2 {
		return token{}, ca.Refuse(ca.ReasonTokenMalformed, "token has %d segments", n+1)
	}
	header, rest, _ := bytes.Cut(raw, []byte{'.'})
	payload, signature, _ := bytes.Cut(rest, []byte{'.'})

	t := token{signed: raw[:len(header)+1+len(payload)]}
	if err := t.readHeader(header); err != nil {
		return token{}, err
	}
	var err error
	if t.payload, err = decodeSegment(payload); err != nil {
		return token{}, ca.Refuse(ca.ReasonTokenMalformed, "payload: %w", err)
	}
	if t.claims, err = parseClaims(t.payload); err != nil {
		return token{}, ca.Refuse(ca.ReasonTokenMalformed, "payload: %w", err)
	}
	if t.signature, err = decodeSegment(signature); err != nil {
		return token{}, ca.Refuse(ca.ReasonTokenMalformed, "signature: %w", err)
	}
	return t, nil
}

// readHeader accepts the members alg, kid, typ, and the thumbprints that some
// providers add and nobody needs. All others are refused, crit, jku, jwk, x5u,
// x5c and b64 among them: they would change how the token is read or let it
// bring its own key (RFC 8725 §3.10).
func (t *token) readHeader(segment []byte) error {
	header, err := decodeSegment(segment)
	if err != nil {
		return ca.Refuse(ca.ReasonTokenMalformed, "header: %w", err)
	}
	var name, kind string
	s := scanner{data: header}
	err = s.object(func(member []byte) error {
		var err error
		switch string(member) {
		case "alg":
			name, err = s.stringValue()
		case "kid":
			t.keyID, err = s.stringValue()
		case "typ":
			kind, err = s.stringValue()
		case "x5t", "x5t#S256":
			_, err = s.text()
		default:
			return ca.Refuse(ca.ReasonTokenHeader, "header has %q", clip(member))
		}
		return err
	})
	if err == nil {
		err = s.end()
	}
	if ca.ReasonOf(err) == ca.ReasonTokenHeader {
		return err
	}
	if err != nil {
		return ca.Refuse(ca.ReasonTokenMalformed, "header: %w", err)
	}
	return t.checkHeader(name, kind)
}

func (t *token) checkHeader(name, kind string) error {
	var ok bool
	if t.algorithm, ok = algorithmNamed(name); !ok {
		return ca.Refuse(ca.ReasonTokenAlgorithm, "algorithm %q", clip([]byte(name)))
	}
	// A media type is compared without regard to case (RFC 7515 §4.1.9).
	if kind != "" && !strings.EqualFold(kind, "JWT") && !strings.EqualFold(kind, "at+jwt") {
		return ca.Refuse(ca.ReasonTokenHeader, "type %q", clip([]byte(kind)))
	}
	if t.keyID == "" || len(t.keyID) > maxKeyIDSize {
		return ca.Refuse(ca.ReasonTokenHeader, "key id of %d bytes", len(t.keyID))
	}
	return nil
}

// decodeSegment decodes base64url without padding (RFC 7515 §2). A strict
// decoding is the only one, so that a token has one spelling and one hash;
// package base64 would skip line ends.
func decodeSegment(segment []byte) ([]byte, error) {
	if bytes.ContainsAny(segment, "\r\n") {
		return nil, fmt.Errorf("line end in base64url")
	}
	encoding := base64.RawURLEncoding.Strict()
	out := make([]byte, encoding.DecodedLen(len(segment)))
	n, err := encoding.Decode(out, segment)
	if err != nil {
		return nil, fmt.Errorf("not base64url: %w", err)
	}
	return out[:n], nil
}

// clip keeps what a stranger wrote short in the operator's log.
func clip(b []byte) string {
	const limit = 32
	if len(b) > limit {
		return string(b[:limit]) + "…"
	}
	return string(b)
}
