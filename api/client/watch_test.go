package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/api/apitest"
	"github.com/kedge-ca/kedge/api/client"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
)

// watchNews watches until the test ends.
func watchNews(t *testing.T, c *client.Client) <-chan client.News {
	t.Helper()
	news, ended := make(chan client.News, 10), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- c.Watch(ctx, func(n client.News) { news <- n }) }()
	t.Cleanup(func() {
		cancel()
		require.Error(t, <-ended)
	})
	return news
}

// TestAWatcherTrustsWhatComesNext: anchors that its server has left behind would keep
// a client that runs for long away from it.
func TestAWatcherTrustsWhatComesNext(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	watching, other := newClient(t, s, nil), newClient(t, s, nil)
	news := watchNews(t, watching)
	require.Equal(t, s.CA.Bundle.Sequence(), (<-news).Sequence)
	s.Rotate(t)
	s.RenewOwn(t)
	next := <-news
	require.Equal(t, s.CA.Bundle.Sequence(), next.Sequence)
	require.Len(t, next.Bundle, 2)
	require.Nil(t, next.Signer)
	_, err := watching.Issue(t.Context())
	require.NoError(t, err)
	_, err = other.Issue(t.Context())
	require.ErrorContains(t, err, "certificate signed by unknown authority")
}

func TestAnAnswerBringsTheBundleOfTheNextCall(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	c := newClient(t, s, nil)
	s.Republish(t) // the standby of before is gone
	first, err := c.Issue(t.Context())
	require.NoError(t, err)
	require.Equal(t, string(s.CA.Bundle.PEM()), string(first.BundlePEM()))
	_, err = c.Renew(t.Context(), first.TLS())
	require.NoError(t, err)
}

func TestAWatcherIsToldWhatARotationAsksFor(t *testing.T) {
	s := apitest.New(t, apitest.Options{})
	news := watchNews(t, newClient(t, s, nil))
	<-news
	s.CA.Authority.AskReissue(ca.Reissue{Anchor: ca.AnchorIDOf(s.CA.Standby), Over: time.Minute})
	asked := <-news
	require.Equal(t, s.CA.Standby, asked.Signer)
	require.Equal(t, time.Minute, asked.Over)
	s.CA.Authority.AskReissue(ca.Reissue{})
	require.Nil(t, (<-news).Signer)
}

// teller tells news at given times, and then breaks.
type teller struct {
	after []time.Duration
	news  client.News
	calls int
}

func (w *teller) Watch(ctx context.Context, each func(client.News)) error {
	w.calls++
	for _, pause := range w.after {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
			each(w.news)
		}
	}
	return errors.New("broken")
}

func TestAKeeperRenewsEarlyWhenARotationAsks(t *testing.T) {
	c := catest.New(t)
	under := tls.Certificate{Certificate: [][]byte{c.Intermediate.Certificate().Raw}}
	for name, row := range map[string]struct {
		signer *x509.Certificate
		early  bool
	}{"under another anchor": {c.Standby, true}, "under this one": {c.Root, false}, "nobody is asked": {nil, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
				defer cancel()
				r := &renewer{begin: time.Now(), answer: func(int) (*client.Certificate, error) { return certificate(24*time.Hour, 11*time.Hour), nil }}
				w := &teller{after: []time.Duration{10 * time.Minute, time.Minute}, news: client.News{Sequence: 2, Signer: row.signer, Over: 20 * time.Minute}}
				told := 0
				k := &client.Keeper{
					Client: r, Now: time.Now, Store: func(*client.Certificate) error { return nil },
					Watcher: w, Changed: func(client.News) { told++ },
				}
				current := under
				current.Leaf = leaf(24 * time.Hour)
				require.NoError(t, k.Run(ctx, current, time.Now().Add(time.Hour)))
				require.Greater(t, told, 2)
				require.Greater(t, w.calls, 1, "a watch that breaks is begun again")
				if !row.early {
					require.Equal(t, time.Hour, r.asked[0])
					return
				}
				require.Greater(t, r.asked[0], 10*time.Minute)
				require.LessOrEqual(t, r.asked[0], 30*time.Minute)
			})
		})
	}
}

// TestRenewalsThatARotationAsksForAreEvenlySpread: the server sees the rate that it
// was configured for.
func TestRenewalsThatARotationAsksForAreEvenlySpread(t *testing.T) {
	c := catest.New(t)
	synctest.Test(t, func(t *testing.T) {
		const holders, span = 2000, 1000 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
		defer cancel()
		quarters := make(chan int, holders)
		begin := time.Now()
		for range holders {
			go func() {
				r := &renewer{begin: begin, answer: func(int) (*client.Certificate, error) { return certificate(24*time.Hour, 11*time.Hour), nil }}
				k := &client.Keeper{
					Client: r, Now: time.Now, Store: func(*client.Certificate) error { return nil },
					Watcher: &teller{after: []time.Duration{0, 48 * time.Hour}, news: client.News{Signer: c.Standby, Over: span}},
				}
				_ = k.Run(ctx, tls.Certificate{Certificate: [][]byte{c.Intermediate.Certificate().Raw}, Leaf: leaf(24 * time.Hour)}, begin.Add(12*time.Hour))
				quarters <- int(4 * r.asked[0] / span)
			}()
		}
		var count [4]int
		for range holders {
			count[<-quarters]++
		}
		for _, n := range count {
			require.InDelta(t, holders/4, n, 100, "5 standard deviations: %v", count)
		}
	})
}
