package keystoretest

import (
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// Subject is the implementation under test.
type Subject struct {
	// Open makes an empty store for the test, or, when durable is set, opens the
	// same one again in the same test.
	Open    func(t *testing.T) ca.KeyStore
	Durable bool // keys are still there when Open is called a second time
}

// Run holds s to the contract.
func Run(t *testing.T, s Subject) {
	t.Run("a created key signs", func(t *testing.T) {
		key, err := s.Open(t).Create(t.Context(), "int-1")
		require.NoError(t, err)
		require.Equal(t, "int-1", key.Name())
		requireSigns(t, key)
	})
	t.Run("an opened key is the created one", func(t *testing.T) {
		store := s.Open(t)
		created, err := store.Create(t.Context(), "int-1")
		require.NoError(t, err)
		if s.Durable {
			store = s.Open(t)
		}
		opened, err := store.Open(t.Context(), "int-1")
		require.NoError(t, err)
		require.Equal(t, "int-1", opened.Name())
		require.True(t, fips.PublicKeyEqual(created.Public(), opened.Public()))
		requireSigns(t, opened)
	})
	t.Run("two names have two keys", func(t *testing.T) {
		store := s.Open(t)
		one, err := store.Create(t.Context(), "int-1")
		require.NoError(t, err)
		two, err := store.Create(t.Context(), "int-2")
		require.NoError(t, err)
		require.False(t, fips.PublicKeyEqual(one.Public(), two.Public()))
	})
	t.Run("a key that does not exist is not found", func(t *testing.T) {
		_, err := s.Open(t).Open(t.Context(), "int-1")
		require.Equal(t, ca.ReasonNotFound, ca.ReasonOf(err), "%v", err)
	})
	t.Run("the empty name is refused", func(t *testing.T) {
		_, err := s.Open(t).Create(t.Context(), "")
		require.Error(t, err)
	})
	t.Run("creating a name twice changes nothing", func(t *testing.T) { createTwice(t, s.Open(t)) })
	t.Run("of many creators of one name one wins", func(t *testing.T) { createRace(t, s.Open(t)) })
	t.Run("a destroyed key is gone", func(t *testing.T) { destroy(t, s) })
}

func createTwice(t *testing.T, store ca.KeyStore) {
	first, err := store.Create(t.Context(), "int-1")
	require.NoError(t, err)
	_, err = store.Create(t.Context(), "int-1")
	require.ErrorIs(t, err, fs.ErrExist)
	kept, err := store.Open(t.Context(), "int-1")
	require.NoError(t, err)
	require.True(t, fips.PublicKeyEqual(first.Public(), kept.Public()))
}

func createRace(t *testing.T, store ca.KeyStore) {
	var winner atomic.Pointer[ca.Key]
	var creators sync.WaitGroup
	for range 4 {
		creators.Go(func() {
			key, err := store.Create(t.Context(), "int-1")
			if err == nil && !winner.CompareAndSwap(nil, &key) {
				t.Error("two creators won")
			}
		})
	}
	creators.Wait()
	require.NotNil(t, winner.Load())
	kept, err := store.Open(t.Context(), "int-1")
	require.NoError(t, err)
	require.True(t, fips.PublicKeyEqual((*winner.Load()).Public(), kept.Public()))
}

func destroy(t *testing.T, s Subject) {
	store := s.Open(t)
	for _, name := range []string{"int-1", "int-2"} {
		_, err := store.Create(t.Context(), name)
		require.NoError(t, err)
	}
	require.NoError(t, store.Destroy(t.Context(), "int-1"))
	require.NoError(t, store.Destroy(t.Context(), "int-1"), "destroying twice is no error")
	if s.Durable {
		store = s.Open(t)
	}
	_, err := store.Open(t.Context(), "int-1")
	require.Equal(t, ca.ReasonNotFound, ca.ReasonOf(err), "%v", err)
	_, err = store.Open(t.Context(), "int-2")
	require.NoError(t, err, "the other key stays")
	_, err = store.Create(t.Context(), "int-1")
	require.NoError(t, err, "the name is free again")
}

func requireSigns(t *testing.T, key ca.Key) {
	t.Helper()
	message := []byte("to be signed")
	scheme, err := fips.SchemeFor(key.Public())
	require.NoError(t, err)
	signature, err := fips.Sign(key, scheme, message)
	require.NoError(t, err)
	require.NoError(t, fips.Verify(key.Public(), scheme, message, signature))
}
