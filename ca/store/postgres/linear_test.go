package postgres

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store/postgres/postgrestest"
	"github.com/kedge-ca/kedge/ca/store/storetest"
)

// The server crashes and starts again while clients of two replicas are at it.
func TestDocumentsAreLinear(t *testing.T) {
	server := postgrestest.Start(t)
	url := server.Database(t, "kedge")
	replicas := []*Store{openAs(t, url, "a"), openAs(t, url, "b")}
	require.True(t, storetest.IsLinear(t, storetest.Linear{
		Calls:     3000,
		Documents: func(client int) ca.Documents { return replicas[client%2] },
		Disturb:   func() { server.Restart(t) },
	}))
}
