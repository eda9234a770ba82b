package zones

import (
	"context"
	"errors"

	"google.golang.org/grpc/credentials"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/rotation/bundle"
)

// maxHistory bounds what an unverified server can make a replica read.
const maxHistory = 32 << 20

// unprovedBundles fetches the chain above a sequence from whoever answers at the
// primary's address. The caller replays it from what it holds, or begins it by a hash
// that it trusts; nothing else is to be done with it.
func (c *Client) unprovedBundles(ctx context.Context, after uint64) (all []bundle.Signed, err error) {
	conn, err := dial(c.c.Address, credentials.NewTLS(fips.DangerouslyUnverifiedClientTLS(c.present, "h2")))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	rpc := kedgev1.NewZonesClient(conn)
	size := 0
	for {
		page, err := c.page(ctx, rpc, after)
		if err != nil {
			return nil, err
		}
		for _, s := range bundlesFromWire(page.GetBundles()) {
			size += len(s.Payload)
			all = append(all, s)
		}
		switch {
		case !page.GetMore():
			return all, nil
		case page.GetLast() <= after || size > maxHistory:
			return nil, ca.Refuse(ca.ReasonBundleMalformed, "the chain of bundles does not end: %d bytes so far, after sequence %d", size, after)
		}
		after = page.GetLast()
	}
}

func (c *Client) page(ctx context.Context, rpc kedgev1.ZonesClient, after uint64) (*kedgev1.BundlesResponse, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	page, err := rpc.Bundles(call, &kedgev1.BundlesRequest{After: after})
	if err != nil {
		return nil, c.failure(ctx, "fetching the chain of bundles", err)
	}
	return page, nil
}
