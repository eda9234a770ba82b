package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// Health is what a server says of itself to everybody.
type Health struct {
	Initialized bool   `json:"initialized"`
	Sealed      bool   `json:"sealed"`
	Standby     bool   `json:"standby"`
	Version     string `json:"version"`
	Time        int64  `json:"server_time_utc"` // seconds since 1970
}

// Now is the server's clock, to the second.
func (h Health) Now() time.Time { return time.Unix(h.Time, 0).UTC() }

// SaysFIPS tells whether the server's version names a FIPS build, as
// 1.19.0+ent.fips1402 does. It is the server's own word: nothing proves it from
// here.
func (h Health) SaysFIPS() bool {
	_, build, _ := strings.Cut(h.Version, "+")
	return strings.Contains(strings.ToLower(build), "fips")
}

// Health asks the server how it is. It needs no token and works when the server
// is sealed.
func (c *Client) Health(ctx context.Context) (Health, error) {
	ctx, cancel := context.WithTimeout(ctx, c.c.Timeout)
	defer cancel()
	begin := c.c.Now()
	h, err := c.health(ctx)
	if err != nil {
		err = late(ctx, err)
	}
	c.observe("health", begin, err)
	if err != nil {
		return Health{}, fmt.Errorf("vault get sys/health: %w", err)
	}
	return h, nil
}

func (c *Client) health(ctx context.Context) (Health, error) {
	request := c.api.NewRequest(http.MethodGet, "/v1/sys/health")
	for _, code := range []string{"standbycode", "sealedcode", "uninitcode", "drsecondarycode", "performancestandbycode"} {
		request.Params.Set(code, "200")
	}
	response, err := c.api.RawRequestWithContext(ctx, request) //nolint:staticcheck // the only call that takes a context and gives the body
	if response != nil {
		defer response.Body.Close()
	}
	if err != nil {
		return Health{}, explain(err)
	}
	if response.StatusCode != http.StatusOK {
		return Health{}, refuseStatus(response.StatusCode, nil)
	}
	var h Health
	if err := json.NewDecoder(response.Body).Decode(&h); err != nil {
		return Health{}, explainBody(err)
	}
	if h.Version == "" || h.Time == 0 {
		return Health{}, ca.Refuse(ca.ReasonRootAnswer, "the answer is not that of a Vault")
	}
	return h, nil
}

// checkFIPS refuses a server that does not say that it is a FIPS build.
func (c *Client) checkFIPS(ctx context.Context) error {
	if !c.c.RequireFIPS {
		return nil
	}
	h, err := c.Health(ctx)
	if err != nil {
		return err
	}
	if !h.SaysFIPS() {
		return ca.Refuse(ca.ReasonRootFIPS, "vault's version is %s", clean(h.Version))
	}
	return nil
}
