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
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kedge-ca/kedge/api/client"
)

// These tests run in bubbles of testing/synctest, where time is virtual.

// renewer is a server that says what answer says, and notes when it was asked
// and with what.
type renewer struct {
	answer func(n int) (*client.Certificate, error)
	asked  []time.Duration // since begin
	with   []*x509.Certificate
	begin  time.Time
}

func (r *renewer) Renew(_ context.Context, current tls.Certificate) (*client.Certificate, error) {
	r.asked = append(r.asked, time.Since(r.begin))
	r.with = append(r.with, current.Leaf)
	return r.answer(len(r.asked))
}

// leaf is a certificate that lives from now on.
func leaf(life time.Duration) *x509.Certificate {
	return &x509.Certificate{NotBefore: time.Now(), NotAfter: time.Now().Add(life)}
}

func certificate(life, renewAfter time.Duration) *client.Certificate {
	return &client.Certificate{Chain: []*x509.Certificate{leaf(life)}, RenewAt: time.Now().Add(renewAfter)}
}

// run keeps a certificate of a day, due in an hour, for so long.
func run(t *testing.T, k *client.Keeper, r *renewer, lasts time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	r.begin = time.Now()
	k.Client, k.Now = r, time.Now
	if k.Store == nil {
		k.Store = func(*client.Certificate) error { return nil }
	}
	require.NoError(t, k.Run(ctx, tls.Certificate{Leaf: leaf(24 * time.Hour)}, time.Now().Add(time.Hour)))
}

func TestAKeeperRenewsWhenTheServerSuggested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stored []*client.Certificate
		r := &renewer{answer: func(int) (*client.Certificate, error) { return certificate(24*time.Hour, 11*time.Hour), nil }}
		run(t, &client.Keeper{Store: func(c *client.Certificate) error {
			stored = append(stored, c)
			return nil
		}}, r, 30*time.Hour)
		require.Equal(t, []time.Duration{time.Hour, 12 * time.Hour, 23 * time.Hour}, r.asked)
		require.Len(t, stored, 3)
		require.Same(t, stored[0].Chain[0], r.with[1], "each proves itself by the one before")
		require.Same(t, stored[1].Chain[0], r.with[2])
	})
}

func TestAKeeperKeepsTheOldOneAndTriesWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &renewer{answer: func(int) (*client.Certificate, error) { return nil, errors.New("down") }}
		var told []error
		run(t, &client.Keeper{
			Store:  func(*client.Certificate) error { panic("nothing to store") },
			Failed: func(err error, next time.Time) { told = append(told, err) },
		}, r, 3*time.Hour)
		require.Len(t, told, len(r.asked))
		for i := range r.asked {
			require.Same(t, r.with[0], r.with[i], "the one that works stays in use")
			if i == 0 {
				continue
			}
			pause, longest := r.asked[i]-r.asked[i-1], min(5*time.Second<<min(i-1, 6), 5*time.Minute)
			require.LessOrEqual(t, pause, longest, i)
			require.GreaterOrEqual(t, pause, longest/2, i)
		}
		require.Greater(t, len(r.asked), 25)
	})
}

// TestAKeeperHurriesAsTheEndComesNear: no pause is longer than a quarter of what
// is left, and none shorter than half a second.
func TestAKeeperHurriesAsTheEndComesNear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &renewer{answer: func(int) (*client.Certificate, error) { return nil, errors.New("down") }}
		run(t, &client.Keeper{}, r, 25*time.Hour)
		for i := 1; i < len(r.asked); i++ {
			pause, left := r.asked[i]-r.asked[i-1], 24*time.Hour-r.asked[i-1]
			require.GreaterOrEqual(t, pause, 500*time.Millisecond)
			if left > 4*time.Second {
				require.LessOrEqual(t, pause, left/4)
			}
		}
		require.Greater(t, r.asked[len(r.asked)-1], 24*time.Hour+50*time.Minute, "it goes on after the end")
	})
}

func TestAKeeperWaitsAsLongAsTheServerAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := func(wait time.Duration) error {
			st, err := status.New(codes.ResourceExhausted, "busy").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
			require.NoError(t, err)
			return st.Err()
		}
		r := &renewer{answer: func(n int) (*client.Certificate, error) {
			switch n {
			case 1:
				return nil, busy(42 * time.Second)
			case 2:
				return nil, busy(365 * 24 * time.Hour) // no server sends us away for a year
			case 3:
				return nil, busy(-time.Hour)
			}
			return certificate(24*time.Hour, 24*time.Hour), nil
		}}
		run(t, &client.Keeper{}, r, 2*time.Hour)
		require.Len(t, r.asked, 4)
		require.Equal(t, 42*time.Second, r.asked[1]-r.asked[0])
		require.Equal(t, 5*time.Minute, r.asked[2]-r.asked[1])
		require.LessOrEqual(t, r.asked[3]-r.asked[2], 20*time.Second)
	})
}

// hungThenGood never answers the first call.
type hungThenGood struct{ renewer }

func (h *hungThenGood) Renew(ctx context.Context, current tls.Certificate) (*client.Certificate, error) {
	c, err := h.renewer.Renew(ctx, current)
	if len(h.asked) == 1 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return c, err
}

// TestAServerThatNeverAnswersIsOneFailedTry: a connection may stay open when what
// is behind it has stopped, and no deadline comes from the server.
func TestAServerThatNeverAnswersIsOneFailedTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hungThenGood{renewer{begin: time.Now(), answer: func(int) (*client.Certificate, error) {
			return certificate(24*time.Hour, 12*time.Hour), nil
		}}}
		var told []error
		k := &client.Keeper{
			Client: h, Now: time.Now, Store: func(*client.Certificate) error { return nil },
			Failed: func(err error, _ time.Time) { told = append(told, err) },
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		require.NoError(t, k.Run(ctx, tls.Certificate{Leaf: leaf(24 * time.Hour)}, time.Now().Add(time.Hour)))
		require.Len(t, h.asked, 2)
		require.Less(t, h.asked[1], time.Hour+2*time.Minute)
		require.Len(t, told, 1)
		require.ErrorIs(t, told[0], context.DeadlineExceeded)
	})
}

// TestAKeeperThatIsStoppedFailedAtNothing: what its end cuts off is no failure.
func TestAKeeperThatIsStoppedFailedAtNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hungThenGood{renewer{begin: time.Now(), answer: func(int) (*client.Certificate, error) { return nil, nil }}}
		k := &client.Keeper{
			Client: h, Now: time.Now, Store: func(*client.Certificate) error { return nil },
			Failed: func(err error, _ time.Time) { t.Error(err) },
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.NoError(t, k.Run(ctx, tls.Certificate{Leaf: leaf(24 * time.Hour)}, time.Now()))
		require.Len(t, h.asked, 1, "it had begun")
	})
}

// TestASuccessEndsTheLongPauses: the next trouble is another one.
func TestASuccessEndsTheLongPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &renewer{answer: func(n int) (*client.Certificate, error) {
			if n == 7 {
				return certificate(24*time.Hour, time.Hour), nil
			}
			return nil, errors.New("down")
		}}
		run(t, &client.Keeper{}, r, 3*time.Hour)
		require.Greater(t, r.asked[6]-r.asked[5], 10*time.Second)
		require.LessOrEqual(t, r.asked[8]-r.asked[7], 5*time.Second)
	})
}

// TestAFailedStoreIsAFailedRenewal: what could not be written is not in use.
func TestAFailedStoreIsAFailedRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &renewer{answer: func(int) (*client.Certificate, error) { return certificate(24*time.Hour, 12*time.Hour), nil }}
		full := errors.New("disk full")
		var told []error
		n := 0
		run(t, &client.Keeper{
			Store: func(*client.Certificate) error {
				if n++; n < 3 {
					return full
				}
				return nil
			},
			Failed: func(err error, _ time.Time) { told = append(told, err) },
		}, r, 2*time.Hour)
		require.Equal(t, []error{full, full}, told)
		require.Len(t, r.asked, 3)
		require.Same(t, r.with[0], r.with[2])
		require.Less(t, r.asked[2], time.Hour+16*time.Second)
	})
}

// TestAKeeperNeverSpins: whatever the server suggests.
func TestAKeeperNeverSpins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &renewer{answer: func(int) (*client.Certificate, error) { return certificate(24*time.Hour, -time.Hour), nil }}
		run(t, &client.Keeper{}, r, time.Hour+10*time.Second)
		require.LessOrEqual(t, len(r.asked), 11)
	})
}

func TestFleetsDoNotComeBackTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pauses := make(map[time.Duration]bool)
		for range 16 {
			r := &renewer{answer: func(int) (*client.Certificate, error) { return nil, errors.New("down") }}
			run(t, &client.Keeper{}, r, time.Hour+6*time.Second)
			pauses[r.asked[1]-r.asked[0]] = true
		}
		require.Greater(t, len(pauses), 8)
	})
}

func TestAKeeperEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		k := &client.Keeper{Client: &renewer{}, Store: func(*client.Certificate) error { return nil }, Now: time.Now}
		ended := make(chan error, 1)
		go func() { ended <- k.Run(ctx, tls.Certificate{Leaf: leaf(time.Hour)}, time.Now().Add(time.Minute)) }()
		synctest.Wait()
		cancel()
		require.NoError(t, <-ended)
	})
}

func TestAnIncompleteKeeperDoesNotRun(t *testing.T) {
	require.Error(t, (&client.Keeper{}).Run(t.Context(), tls.Certificate{Leaf: leaf(time.Hour)}, time.Now()))
	k := &client.Keeper{Client: &renewer{}, Store: func(*client.Certificate) error { return nil }, Now: time.Now}
	require.Error(t, k.Run(t.Context(), tls.Certificate{}, time.Now()))
}

// TestABeginningIsTriedUntilItIsStored: each pause is at most twice the one before.
func TestABeginningIsTriedUntilItIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stores, told := 0, 0
		k := client.Keeper{
			Now:    time.Now,
			Failed: func(error, time.Time) { told++ },
			Store: func(*client.Certificate) error {
				if stores++; stores < 3 {
					return errors.New("not this one")
				}
				return nil
			},
		}
		begin, want := time.Now(), certificate(time.Hour, time.Minute)
		got, err := k.Begin(t.Context(), func(context.Context) (*client.Certificate, error) { return want, nil })
		require.NoError(t, err)
		require.Same(t, want, got)
		require.Equal(t, 2, told)
		require.LessOrEqual(t, time.Since(begin), 3*time.Second)

		ended, cancel := context.WithCancel(t.Context())
		cancel()
		got, err = k.Begin(ended, func(ctx context.Context) (*client.Certificate, error) { return nil, ctx.Err() })
		require.NoError(t, err)
		require.Nil(t, got)
		_, err = k.Begin(t.Context(), nil)
		require.ErrorContains(t, err, "a way to issue")
	})
}
