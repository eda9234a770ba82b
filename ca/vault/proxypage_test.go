package vault_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/vault"
)

// TestAPageOfAProxyIsNoMissingThing has a load balancer answer in Vault's place, as
// one does whose backend is away. "Not found" makes callers throw things away, so
// nobody but Vault may say it.
func TestAPageOfAProxyIsNoMissingThing(t *testing.T) {
	p := newPKI(t)
	for name, page := range map[string]http.HandlerFunc{
		"404 of HTML":    answer(http.StatusNotFound, "text/html", "<html>default backend - 404</html>"),
		"404 of text":    answer(http.StatusNotFound, "text/plain", "404 page not found\n"),
		"405 of HTML":    answer(http.StatusMethodNotAllowed, "text/html", "<html>405 Not Allowed</html>"),
		"404 of nothing": answer(http.StatusNotFound, "text/plain", ""),
	} {
		t.Run(name, func(t *testing.T) {
			s := p.serve(p.issue(nil), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/lookup-self") {
					answer(http.StatusOK, "application/json", lookup)(w, r)
					return
				}
				page(w, r)
			}))
			c, err := vault.New(vault.Config{
				Address: s.URL, CAFile: p.file(), Now: time.Now,
				Login: vault.Login{Type: vault.LoginToken, TokenFile: write(t, "token", fakeToken)},
			})
			require.NoError(t, err)
			_, err = c.Do(t.Context(), vault.Request{Operation: "read_key", Method: http.MethodGet, Path: "transit/keys/k"})
			require.Equal(t, ca.ReasonRootAnswer, ca.ReasonOf(err), "%v", err)
		})
	}
}
