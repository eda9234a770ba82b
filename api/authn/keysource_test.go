package authn_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/api/authn/authntest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

// issuerSite is the web site of an issuer: it answers with what the test set,
// after the delay that the test set, and counts.
type issuerSite struct {
	mu    sync.Mutex
	body  string
	err   error
	delay time.Duration
	hits  int
}

func (s *issuerSite) set(body []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.body, s.err = string(body), err
}

func (s *issuerSite) fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hits
}

func (s *issuerSite) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.hits++
	body, err, delay := s.body, s.err, s.delay
	s.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

var errDown = errors.New("connection refused")

// site is a cluster whose keys are at a URL, in a bubble of virtual time.
type site struct {
	*issuerSite
	auth   *authn.Authenticator
	config authn.Config
	issuer *authntest.Issuer
}

// inBubble runs f in virtual time with an authenticator whose issuer is down
// unless change says otherwise.
func inBubble(t *testing.T, change func(s *site, k *authn.KeySource), f func(t *testing.T, s *site)) {
	t.Helper()
	issuer := authntest.NewIssuer(t, fips.ECDSAP256)
	synctest.Test(t, func(t *testing.T) {
		s := &site{issuerSite: &issuerSite{err: errDown}, issuer: issuer}
		cluster := issuer.Cluster(t, "east")
		cluster.JWKS = authn.KeySource{URL: "https://issuer.example/jwks"}
		change(s, &cluster.JWKS)
		s.config = authn.Config{
			TrustDomain: domain(t), Now: time.Now, Kubernetes: []authn.KubernetesConfig{cluster}, HTTPClient: &http.Client{Transport: s},
		}
		s.auth = newAuthenticator(t, s.config)
		f(t, s)
	})
}

func up(t *testing.T) func(s *site, k *authn.KeySource) {
	return func(s *site, _ *authn.KeySource) { s.set(s.issuer.JWKS(t), nil) }
}

func down(*site, *authn.KeySource) {}

// try authenticates with a fresh token of issuer.
func (s *site) try(t *testing.T, issuer *authntest.Issuer) error {
	t.Helper()
	token := issuer.Token(t, authntest.ServiceAccount("shop", "web", time.Now()))
	_, err := s.auth.Authenticate(t.Context(), authn.Credentials{Token: token}, nil)
	return err
}

func (s *site) stats() authn.KeyStats { return s.auth.KeyStats()[0] }

func TestFirstRequestWaitsForTheFirstKeys(t *testing.T) {
	inBubble(t, func(s *site, k *authn.KeySource) { up(t)(s, k); s.delay = 2 * time.Second }, func(t *testing.T, s *site) {
		begin := time.Now()
		require.NoError(t, s.try(t, s.issuer))
		require.Equal(t, 2*time.Second, time.Since(begin))
		require.Equal(t, 1, s.fetches())
	})
}

func TestOutageWithoutAnyKeysIsUnavailable(t *testing.T) {
	inBubble(t, down, func(t *testing.T, s *site) {
		for range 3 {
			require.Equal(t, ca.ReasonKeysUnavailable, ca.ReasonOf(s.try(t, s.issuer)))
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		require.Contains(t, s.stats().LastError, errDown.Error())
		s.set(s.issuer.JWKS(t), nil)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		require.NoError(t, s.try(t, s.issuer))
		require.Equal(t, "", s.stats().LastError)
	})
}

func TestSlowIssuerIsUnavailableWithinTheDeadline(t *testing.T) {
	inBubble(t, func(s *site, k *authn.KeySource) { up(t)(s, k); s.delay = time.Hour }, func(t *testing.T, s *site) {
		begin := time.Now()
		require.Equal(t, ca.ReasonKeysUnavailable, ca.ReasonOf(s.try(t, s.issuer)))
		require.LessOrEqual(t, time.Since(begin), 5*time.Second)
	})
}

func TestRequestThatGivesUpDoesNotStopTheLoadForOthers(t *testing.T) {
	inBubble(t, func(s *site, k *authn.KeySource) { up(t)(s, k); s.delay = 2 * time.Second }, func(t *testing.T, s *site) {
		token := s.issuer.Token(t, authntest.ServiceAccount("shop", "web", time.Now()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.auth.Authenticate(ctx, authn.Credentials{Token: token}, nil)
		require.Equal(t, ca.ReasonKeysUnavailable, ca.ReasonOf(err))
		require.NoError(t, s.try(t, s.issuer))
		require.Equal(t, 1, s.fetches())
	})
}

func TestLastGoodKeysOutliveAnOutage(t *testing.T) {
	for name, broken := range map[string][]byte{
		"no answer": nil, "no JSON": []byte("<html>502</html>"), "no set": []byte(`{}`), "half a set": []byte(`{"keys":[{"kty":"EC"`),
		"keys are no list": []byte(`{"keys":{}}`), "a key is no object": []byte(`{"keys":["k"]}`), "bytes after it": []byte(`{"keys":[]} x`),
		"too large": []byte(`{"keys":[],"x":"` + strings.Repeat("a", 1<<20) + `"}`), "empty": {},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, up(t), func(t *testing.T, s *site) {
				require.NoError(t, s.try(t, s.issuer))
				seen := s.stats().LastSuccess
				s.set(broken, nil)
				if broken == nil {
					s.set(nil, errDown)
				}
				time.Sleep(25 * time.Hour)
				synctest.Wait()
				require.NoError(t, s.try(t, s.issuer))
				require.NotEmpty(t, s.stats().LastError)
				require.Equal(t, seen, s.stats().LastSuccess)

				stranger := authntest.NewIssuer(t, fips.ECDSAP256)
				require.Equal(t, ca.ReasonKeysUnavailable, ca.ReasonOf(s.try(t, stranger)), "it may be a key that the outage hides")
			})
		})
	}
}

func TestKeysAreDroppedAtTheirMaximumAge(t *testing.T) {
	inBubble(t, func(s *site, k *authn.KeySource) { up(t)(s, k); k.MaxAge = time.Hour }, func(t *testing.T, s *site) {
		require.NoError(t, s.try(t, s.issuer))
		s.set(nil, errDown)
		time.Sleep(time.Hour)
		require.NoError(t, s.try(t, s.issuer))
		time.Sleep(time.Nanosecond)
		require.Equal(t, ca.ReasonKeysUnavailable, ca.ReasonOf(s.try(t, s.issuer)))
		s.set(s.issuer.JWKS(t), nil)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		require.NoError(t, s.try(t, s.issuer))
	})
}

func TestNewKeyIsFetchedWhenATokenNamesIt(t *testing.T) {
	inBubble(t, up(t), func(t *testing.T, s *site) {
		require.NoError(t, s.try(t, s.issuer))
		next := authntest.NewIssuer(t, fips.ECDSAP256)
		s.set(authntest.JWKS(t, s.issuer, next), nil)
		time.Sleep(10 * time.Second)
		require.NoError(t, s.try(t, next))
		require.NoError(t, s.try(t, s.issuer))
		require.Equal(t, 2, s.fetches())
	})
}

// TestUnknownKeyIDsCauseOneFetchPerInterval is a flood of tokens with made-up
// key ids for a minute: ten times as many as any cache of ids would hold.
func TestUnknownKeyIDsCauseOneFetchPerInterval(t *testing.T) {
	inBubble(t, func(s *site, k *authn.KeySource) { up(t)(s, k); k.Refresh = time.Hour }, func(t *testing.T, s *site) {
		require.NoError(t, s.try(t, s.issuer))
		stranger := authntest.NewIssuer(t, fips.ECDSAP256)
		for i := range 600 {
			stranger.KeyID = "kid-" + time.Duration(i).String()
			require.Equal(t, ca.ReasonTokenKeyUnknown, ca.ReasonOf(s.try(t, stranger)))
			time.Sleep(100 * time.Millisecond)
		}
		require.Equal(t, 1+5, s.fetches())
		require.Equal(t, uint64(600), s.stats().UnknownKeyIDs)
	})
}

func TestConcurrentRequestsShareOneFetch(t *testing.T) {
	inBubble(t, func(s *site, k *authn.KeySource) { up(t)(s, k); s.delay = time.Second }, func(t *testing.T, s *site) {
		token := s.issuer.Token(t, authntest.ServiceAccount("shop", "web", time.Now()))
		reasons := make(map[ca.Reason]int)
		var mu sync.Mutex
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				_, err := s.auth.Authenticate(t.Context(), authn.Credentials{Token: token}, nil)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					reasons["ok"]++
					return
				}
				reasons[ca.ReasonOf(err)]++
			})
		}
		group.Wait()
		require.Equal(t, map[ca.Reason]int{"ok": 64, ca.ReasonKeysUnavailable: 36}, reasons, "64 may wait, the others are told to retry")
		require.Equal(t, 1, s.fetches())
	})
}

func TestKeysAreRefreshedOnTime(t *testing.T) {
	inBubble(t, func(s *site, k *authn.KeySource) { up(t)(s, k); k.Refresh = time.Minute }, func(t *testing.T, s *site) {
		synctest.Wait()
		begin := time.Now()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Equal(t, 11, s.fetches())
		require.Equal(t, begin.Add(10*time.Minute), s.stats().LastSuccess)

		// Retries after 1, 2, 4, 8, 16 and 32 s, then every minute again.
		s.set(nil, errDown)
		time.Sleep(time.Minute)
		synctest.Wait()
		s.set(s.issuer.JWKS(t), errDown)
		before := s.fetches()
		time.Sleep(63 * time.Second)
		synctest.Wait()
		require.Equal(t, before+6, s.fetches())
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.Equal(t, before+8, s.fetches())
	})
}

func TestKeyThatLeavesTheSetVerifiesNoMore(t *testing.T) {
	inBubble(t, up(t), func(t *testing.T, s *site) {
		require.NoError(t, s.try(t, s.issuer))
		next := authntest.NewIssuer(t, fips.ECDSAP256)
		s.set(next.JWKS(t), nil)
		require.NoError(t, s.auth.Reload(t.Context()))
		require.Equal(t, ca.ReasonTokenKeyUnknown, ca.ReasonOf(s.try(t, s.issuer)))
		require.NoError(t, s.try(t, next))

		s.set([]byte(`{"keys":[]}`), nil)
		require.NoError(t, s.auth.Reload(t.Context()))
		require.Equal(t, ca.ReasonKeysUnavailable, ca.ReasonOf(s.try(t, next)), "an empty set is the issuer's word")
	})
}

func TestReloadReportsWhatFailed(t *testing.T) {
	inBubble(t, down, func(t *testing.T, s *site) {
		require.ErrorContains(t, s.auth.Reload(t.Context()), errDown.Error())
		s.set(s.issuer.JWKS(t), nil)
		require.NoError(t, s.auth.Reload(t.Context()))
		require.NoError(t, s.try(t, s.issuer))
		s.auth.Close()
		require.Error(t, s.auth.Reload(t.Context()))
		require.NoError(t, s.try(t, s.issuer), "the keys that are there stay")
	})
}

func TestReloadDoesNotTakeALoadThatBeganBefore(t *testing.T) {
	inBubble(t, func(s *site, k *authn.KeySource) { up(t)(s, k); s.delay = time.Second }, func(t *testing.T, s *site) {
		time.Sleep(500 * time.Millisecond) // the first load is under way
		next := authntest.NewIssuer(t, fips.ECDSAP256)
		s.set(next.JWKS(t), nil)
		require.NoError(t, s.auth.Reload(t.Context()))
		require.Equal(t, 2, s.fetches())
		require.NoError(t, s.try(t, next))
	})
}

// TestConfigurationReloadDuringAnOutageKeepsTheKeys is a SIGHUP while the issuer
// is down.
func TestConfigurationReloadDuringAnOutageKeepsTheKeys(t *testing.T) {
	inBubble(t, up(t), func(t *testing.T, s *site) {
		require.NoError(t, s.try(t, s.issuer))
		seen := s.stats().LastSuccess
		s.set(nil, errDown)
		time.Sleep(time.Hour)
		old := s.auth
		next := s.config
		next.Previous = old
		s.auth = newAuthenticator(t, next)
		old.Close()
		synctest.Wait()
		require.NoError(t, s.try(t, s.issuer))
		require.Equal(t, seen, s.stats().LastSuccess)

		next.Previous = s.auth
		next.Kubernetes = append([]authn.KubernetesConfig(nil), next.Kubernetes...)
		next.Kubernetes[0].JWKS.URL = "https://other.example/jwks"
		s.auth = newAuthenticator(t, next)
		require.Equal(t, ca.ReasonKeysUnavailable, ca.ReasonOf(s.try(t, s.issuer)), "keys of another place are not ours")
	})
}

func TestCloseDoesNotCutARequestThatWaits(t *testing.T) {
	inBubble(t, func(s *site, k *authn.KeySource) { up(t)(s, k); s.delay = 2 * time.Second }, func(t *testing.T, s *site) {
		token := s.issuer.Token(t, authntest.ServiceAccount("shop", "web", time.Now()))
		done := make(chan error, 1)
		go func() {
			_, err := s.auth.Authenticate(t.Context(), authn.Credentials{Token: token}, nil)
			done <- err
		}()
		synctest.Wait()
		s.auth.Close()
		require.NoError(t, <-done)
	})
}
