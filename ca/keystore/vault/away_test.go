package vault_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	transit "github.com/kedge-ca/kedge/ca/keystore/vault"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/ca/vault/vaulttest"
	"github.com/kedge-ca/kedge/fips"
)

func store(t *testing.T, server *vaulttest.Server) *transit.Store {
	t.Helper()
	c := transit.StoreConfig{Client: &vault.Client{}, Mount: "transit", Prefix: "one-", KeyType: fips.ECDSAP256}
	rules, err := transit.NewStore(c)
	require.NoError(t, err)
	c.Client = connect(t, server, rules.Rules())
	s, err := transit.NewStore(c)
	require.NoError(t, err)
	return s
}

// TestAMountThatIsAwayIsNoKeyThatIsGone takes the engine away for a while, as an
// operator who moves or restores it does. A key store that then says "destroyed"
// leaves a private key behind that nobody knows of any more.
func TestAMountThatIsAwayIsNoKeyThatIsGone(t *testing.T) {
	server := vaulttest.Start(t)
	server.EnableEngine("transit", "transit")
	s := store(t, server)
	_, err := s.Create(t.Context(), "intermediate-1")
	require.NoError(t, err)
	move := func(from, to string) {
		_, err := server.Request("POST", "sys/remount", map[string]any{"from": from, "to": to})
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			_, err := server.Request("LIST", to+"/keys", nil)
			return err == nil
		}, 10*time.Second, 50*time.Millisecond)
	}
	move("transit", "elsewhere")
	_, openErr := s.Open(t.Context(), "intermediate-1")
	destroyErr := s.Destroy(t.Context(), "intermediate-1")
	move("elsewhere", "transit")
	_, err = s.Open(t.Context(), "intermediate-1")
	require.NoError(t, err, "it is still there")
	t.Logf("while it was away: open %v; destroy %v", openErr, destroyErr)
	require.Error(t, destroyErr, "it was not destroyed")
	require.NotEqual(t, ca.ReasonNotFound, ca.ReasonOf(openErr), "%v", openErr)
}
