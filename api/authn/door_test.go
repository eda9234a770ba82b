package authn_test

import (
	"testing"
	"time"

	"github.com/kedge-ca/kedge/api/authn"
	"github.com/kedge-ca/kedge/api/authn/authntest"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
	"github.com/stretchr/testify/require"
)

// TestADoorHasItsOwnAudiences: a token for one protocol is worth nothing in another,
// also where one issuer signs both.
func TestADoorHasItsOwnAudiences(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	none, own := authn.Door{}, authn.Door{Audiences: []string{"mesh"}}
	fallback := authn.Door{Audiences: []string{"mesh"}, OwnAudience: true}
	rows := []struct {
		name     string
		door     authn.Door
		audience []string
		ok       bool
	}{
		{"the issuer's, at a door without demands", none, []string{authntest.Audience}, true},
		{"the door's, at a door without demands", none, []string{"mesh"}, false},
		{"the door's", own, []string{"mesh"}, true},
		{"the door's among others", own, []string{"x", "mesh"}, true},
		{"the issuer's, at a door with its own", own, []string{authntest.Audience}, false},
		{"the issuer itself", own, []string{authntest.URL}, false},
		{"the issuer itself, where that will do", fallback, []string{authntest.URL}, true},
		{"the door's, where the issuer will do too", fallback, []string{"mesh"}, true},
		{"another issuer, where the issuer will do", fallback, []string{ciURL}, false},
		{"the issuer's, where the issuer itself will do", fallback, []string{authntest.Audience}, false},
		{"none", fallback, []string{}, false},
		{"an empty one", fallback, []string{""}, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			token := w.east.Token(t, w.web().With("aud", row.audience))
			caller, err := w.auth.Authenticate(t.Context(), authn.Credentials{Token: token, Door: row.door}, nil)
			if !row.ok {
				refused(t, ca.ReasonTokenAudience, caller, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "spiffe://cluster.local/ns/shop/sa/web", caller.Identity().String())
		})
	}
}

// TestADoorForServiceAccountsTakesNoOtherToken: what another door would take is
// neither believed nor spent.
func TestADoorForServiceAccountsTakesNoOtherToken(t *testing.T) {
	w := newWorld(t, fips.ECDSAP256)
	door := authn.Door{ServiceAccounts: true}
	c := authn.Credentials{Token: w.ci.Token(t, w.build()), Door: door}
	caller, err := w.auth.Authenticate(t.Context(), c, nil)
	refused(t, ca.ReasonTokenIssuer, caller, err)
	c.Token = w.join.create(t, vm, w.now.Add(time.Hour))
	caller, err = w.auth.Authenticate(t.Context(), c, nil)
	refused(t, ca.ReasonTokenMalformed, caller, err)
	c.Door = authn.Door{}
	_, err = w.auth.Authenticate(t.Context(), c, nil)
	require.NoError(t, err, "the join token was not spent")
}
