package main

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
)

// A server that started in an outage of what seals its keys has nothing to issue
// with. It must not sleep for ten minutes after the outage is over.
func TestAServerWithoutAnIntermediateAsksOften(t *testing.T) {
	s := newServer(t, makeSite(t, at(time.Now())))
	now := s.app.now()
	bundle := s.authority.Bundle()
	for range 20 {
		s.upkeep.note(ca.Supply{Bundle: bundle}, errors.New("vault is sealed"), now)
		now = s.upkeep.retry.next
	}
	require.LessOrEqual(t, s.upkeep.retry.wait, unservedAtMost)
	for range 20 { // its intermediate lives: no hurry
		s.upkeep.note(ca.Supply{Bundle: bundle, Intermediate: s.authority.Intermediate()}, errors.New("vault is sealed"), s.app.now())
	}
	require.Equal(t, retryAtMost, s.upkeep.retry.wait)
}
