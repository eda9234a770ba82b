package authn

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// latestDate is the last second that a certificate could name (RFC 5280
// §4.1.2.5.2), and the last that a token may.
const latestDate = 253402300799

// claims are the claims of a token that are the same for every issuer (RFC 7519
// §4.1), and those that bind a Kubernetes token to objects. A date that is not
// there is the zero time.
type claims struct {
	issuer    string
	subject   string
	audience  []string
	expires   time.Time
	notBefore time.Time
	issuedAt  time.Time
	bound     boundObjects
}

// boundObjects is the claim "kubernetes.io" (KEP-1205, KEP-4193).
type boundObjects struct {
	present        bool
	namespace      string
	serviceAccount objectRef
	pod            objectRef
	node           objectRef
}

// objectRef names one Kubernetes object; the uid tells it from a later object
// of the same name.
type objectRef struct{ name, uid string }

func (r objectRef) String() string {
	if r == (objectRef{}) {
		return ""
	}
	return r.name + "/" + r.uid
}

// parseClaims reads the payload of a token once. Claims that it does not know
// are held to the grammar and dropped.
func parseClaims(payload []byte) (claims, error) {
	var c claims
	s := scanner{data: payload}
	err := s.object(func(name []byte) error {
		var err error
		switch string(name) {
		case "iss":
			c.issuer, err = s.stringValue()
		case "sub":
			c.subject, err = s.stringValue()
		case "aud":
			c.audience, err = s.stringOrList()
		case "exp":
			c.expires, err = s.date()
		case "nbf":
			c.notBefore, err = s.date()
		case "iat":
			c.issuedAt, err = s.date()
		case "kubernetes.io":
			c.bound, err = s.boundObjects()
		default:
			return s.skip()
		}
		if err != nil {
			return fmt.Errorf("claim %q: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return claims{}, err
	}
	return c, s.end()
}

// stringClaims reads the top-level claims of wanted that are strings. The
// payload was parsed before; a claim of another type is not in the result.
func stringClaims(payload []byte, wanted func(name string) bool) (map[string]string, error) {
	found := make(map[string]string)
	s := scanner{data: payload}
	err := s.object(func(name []byte) error {
		if s.peek() != '"' || !wanted(string(name)) {
			return s.skip()
		}
		value, err := s.text()
		found[string(name)] = string(value)
		return err
	})
	return found, err
}

func (s *scanner) stringValue() (string, error) {
	b, err := s.text()
	return string(b), err
}

// stringOrList reads "aud", which is a string or a list of them (RFC 7519 §4.1.3).
func (s *scanner) stringOrList() ([]string, error) {
	if s.peek() == '"' {
		one, err := s.stringValue()
		return []string{one}, err
	}
	var all []string
	err := s.array(func() error {
		one, err := s.stringValue()
		all = append(all, one)
		return err
	})
	return all, err
}

func (s *scanner) boundObjects() (boundObjects, error) {
	b := boundObjects{present: true}
	err := s.object(func(name []byte) error {
		var err error
		switch string(name) {
		case "namespace":
			b.namespace, err = s.stringValue()
		case "serviceaccount":
			b.serviceAccount, err = s.objectRef()
		case "pod":
			b.pod, err = s.objectRef()
		case "node":
			b.node, err = s.objectRef()
		default:
			err = s.skip()
		}
		return err
	})
	return b, err
}

func (s *scanner) objectRef() (objectRef, error) {
	var r objectRef
	err := s.object(func(name []byte) error {
		var err error
		switch string(name) {
		case "name":
			r.name, err = s.stringValue()
		case "uid":
			r.uid, err = s.stringValue()
		default:
			err = s.skip()
		}
		return err
	})
	return r, err
}

// date reads a NumericDate: seconds since 1970, perhaps with a fraction
// (RFC 7519 §2). Nothing outside 1970…9999 is a date, so that no sum with a
// leeway can overflow.
func (s *scanner) date() (time.Time, error) {
	literal, err := s.number()
	if err != nil {
		return time.Time{}, err
	}
	// An out-of-range literal such as 1e400 is an error of ParseFloat.
	seconds, err := strconv.ParseFloat(string(literal), 64)
	if err != nil || !(seconds >= 0 && seconds <= latestDate) {
		return time.Time{}, errors.New("not a date between 1970 and 9999")
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*float64(time.Second))), nil
}
