package authn

import (
	"errors"
	"fmt"
	"maps"
	"time"
)

var (
	errWaiting = errors.New("too many requests wait for the keys already")
	errClosed  = errors.New("the authenticator is closed")
)

// KeyStats is the state of the keys of one issuer, for metrics and for
// `ca check`.
type KeyStats struct {
	Name          string         // name of the cluster or provider
	Keys          int            // usable keys
	Ignored       map[string]int // keys of the set that are not used, by reason
	Loads         uint64         // attempts to load the set
	Failures      uint64         // failed attempts since the last success
	UnknownKeyIDs uint64         // tokens whose key id was not in the set
	LastAttempt   time.Time      // zero: never
	LastSuccess   time.Time      // when the keys were last seen at their source; zero: never
	LastError     string         // of the last attempt, "" after a success
}

// KeyStats reports on every issuer, clusters first, in the order of the
// configuration.
func (a *Authenticator) KeyStats() []KeyStats {
	all := make([]KeyStats, 0, len(a.sources))
	for _, s := range a.sources {
		all = append(all, s.snapshotStats())
	}
	return all
}

func (s *keySource) snapshotStats() KeyStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Name = s.name
	if loaded := s.current.Load(); loaded != nil {
		stats.Keys, stats.Ignored = loaded.set.size, maps.Clone(loaded.set.ignored)
		stats.LastSuccess = loaded.at
	}
	return stats
}

func (s *keySource) lastError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stats.LastError == "" {
		return nil
	}
	return fmt.Errorf("loading keys of %s: %s", s.name, s.stats.LastError)
}
