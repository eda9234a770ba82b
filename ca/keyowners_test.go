package ca_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
)

// Web's certificate had ended when db took the key; then the clock went back, the
// server was started again, and the records name two live owners.
func TestTwoOwnersInTheRecordsStopNoStart(t *testing.T) {
	c := catest.New(t)
	key := catest.GenerateKey(t, fips.ECDSAP256)
	web, db := c.Caller(t, "web"), c.Caller(t, "db")
	request := c.Request(t, key, "")
	for _, order := range [][2]time.Duration{{time.Hour, 2 * time.Hour}, {2 * time.Hour, time.Hour}} {
		c := catest.New(t)
		for i, caller := range []ca.Caller{web, db} {
			c.Authority.Remember(ca.LiveKey{
				KeyHash: request.KeyHash(), Identity: caller.Identity().String(), NotAfter: catest.Start.Add(order[i]),
			})
		}
		longer, shorter := db, web
		if order[0] > order[1] {
			longer, shorter = web, db
		}
		_, err := c.Authority.Issue(t.Context(), shorter, request)
		require.Equal(t, ca.ReasonKeyReused, ca.ReasonOf(err))
		_, err = c.Authority.Issue(t.Context(), longer, request)
		require.NoError(t, err)
	}
}
