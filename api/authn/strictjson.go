package authn

import (
	"bytes"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of one JSON text. A token is bounded by its bytes as well; these bound
// the work for each byte.
const (
	maxJSONDepth   = 16
	maxJSONMembers = 128
)

var (
	errJSONSyntax    = errors.New("not valid JSON")
	errJSONDuplicate = errors.New("a member name comes twice")
	errJSONLimit     = errors.New("nested too deeply or too many members")
)

// scanner reads one JSON text by the letter of RFC 8259. encoding/json takes the
// last of two equal names, matches names without regard to case and repairs bad
// UTF-8: each of these lets two readers of one token see different claims
// (RFC 8725 §2.4), so all are errors here.
type scanner struct {
	data  []byte
	pos   int
	depth int
}

// object reads an object and calls member for each name, which must read
// exactly one value.
func (s *scanner) object(member func(name []byte) error) error {
	if err := s.open('{'); err != nil {
		return err
	}
	if s.shut('}') {
		return nil
	}
	var room [16][]byte
	names := room[:0]
	for {
		name, err := s.text()
		if err != nil {
			return err
		}
		for _, n := range names {
			if bytes.Equal(n, name) {
				return errJSONDuplicate
			}
		}
		if len(names) == maxJSONMembers {
			return errJSONLimit
		}
		names = append(names, name)
		if !s.take(':') {
			return errJSONSyntax
		}
		if err := member(name); err != nil {
			return err
		}
		if s.shut('}') {
			return nil
		}
		if !s.take(',') {
			return errJSONSyntax
		}
	}
}

// array reads an array and calls element for each of its values, which must
// read exactly one value.
func (s *scanner) array(element func() error) error {
	if err := s.open('['); err != nil {
		return err
	}
	if s.shut(']') {
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if s.shut(']') {
			return nil
		}
		if !s.take(',') {
			return errJSONSyntax
		}
	}
}

// text reads a string. The result may alias the input.
func (s *scanner) text() ([]byte, error) {
	if !s.take('"') {
		return nil, errJSONSyntax
	}
	start, plain := s.pos, true
	for ; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; {
		case c == '"':
			raw := s.data[start:s.pos]
			s.pos++
			if plain {
				return raw, nil
			}
			return unescape(raw)
		case c < ' ':
			return nil, errJSONSyntax
		case c == '\\':
			plain = false
			s.pos++
		case c >= utf8.RuneSelf:
			plain = false
		}
	}
	return nil, errJSONSyntax
}

// number reads a number and returns its literal.
func (s *scanner) number() ([]byte, error) {
	s.space()
	start := s.pos
	s.accept('-')
	if !s.accept('0') && s.digits() == 0 {
		return nil, errJSONSyntax
	}
	if s.accept('.') && s.digits() == 0 {
		return nil, errJSONSyntax
	}
	if s.accept('e') || s.accept('E') {
		if !s.accept('+') {
			s.accept('-')
		}
		if s.digits() == 0 {
			return nil, errJSONSyntax
		}
	}
	return s.data[start:s.pos], nil
}

// skip reads any value as strictly as all others and drops it.
func (s *scanner) skip() error {
	switch s.peek() {
	case '{':
		return s.object(func([]byte) error { return s.skip() })
	case '[':
		return s.array(s.skip)
	case '"':
		_, err := s.text()
		return err
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	_, err := s.number()
	return err
}

// end makes sure that nothing follows.
func (s *scanner) end() error {
	s.space()
	if s.pos != len(s.data) {
		return errJSONSyntax
	}
	return nil
}

// peek is the first byte of the next value, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.pos == len(s.data) {
		return 0
	}
	return s.data[s.pos]
}

func (s *scanner) open(c byte) error {
	if !s.take(c) {
		return errJSONSyntax
	}
	if s.depth == maxJSONDepth {
		return errJSONLimit
	}
	s.depth++
	return nil
}

func (s *scanner) shut(c byte) bool {
	if !s.take(c) {
		return false
	}
	s.depth--
	return true
}

// take reads c after white space.
func (s *scanner) take(c byte) bool {
	s.space()
	return s.accept(c)
}

func (s *scanner) accept(c byte) bool {
	if s.pos == len(s.data) || s.data[s.pos] != c {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) digits() int {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos - start
}

func (s *scanner) literal(word string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
		return errJSONSyntax
	}
	s.pos += len(word)
	return nil
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// unescape resolves the escapes of a string whose closing quote was found.
func unescape(raw []byte) ([]byte, error) {
	if !utf8.Valid(raw) {
		return nil, errJSONSyntax
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++ // text made sure that a byte follows
		switch c := raw[i]; c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, n := unescapeRune(raw[i+1:])
			if n == 0 {
				return nil, errJSONSyntax
			}
			out = utf8.AppendRune(out, r)
			i += n
		default:
			return nil, errJSONSyntax
		}
	}
	return out, nil
}

// unescapeRune reads XXXX or, for what lies outside the basic plane,
// XXXX\uXXXX. It returns how many bytes it read, 0 for what is no character.
func unescapeRune(b []byte) (rune, int) {
	r, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 4
	}
	if len(b) < 10 || b[4] != '\\' || b[5] != 'u' {
		return 0, 0
	}
	low, ok := hex4(b[6:])
	if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
		return 0, 0
	}
	return r, 10
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(string(b[:4]), 16, 16)
	return rune(n), err == nil
}
