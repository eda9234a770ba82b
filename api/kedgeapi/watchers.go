package kedgeapi

import (
	"context"
	"net/netip"
	"sync"

	"google.golang.org/grpc/peer"

	"github.com/kedge-ca/kedge/ca"
)

// watchers counts open bundle streams. They need no credentials, so one peer must
// not be able to take every place.
type watchers struct {
	limit, perPeer int

	mu    sync.Mutex
	all   int
	peers map[string]int // never more entries than streams
}

// enter takes a place for the stream of ctx and returns what gives it back.
func (w *watchers) enter(ctx context.Context) (leave func(), err error) {
	from := peerOf(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.all >= w.limit:
		return nil, ca.Refuse(ca.ReasonOverloaded, "%d watchers", w.all)
	case w.peers[from] >= w.perPeer:
		return nil, ca.Refuse(ca.ReasonOverloaded, "%d watchers of %s", w.peers[from], from)
	}
	w.all++
	w.peers[from]++
	return func() { w.leave(from) }, nil
}

func (w *watchers) leave(from string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	if w.peers[from]--; w.peers[from] == 0 {
		delete(w.peers, from)
	}
}

// peerOf is who a stream comes from: an IPv4 address, or the /64 that is the least
// an IPv6 host has to itself (RFC 7421).
func peerOf(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return ""
	}
	at, err := netip.ParseAddrPort(p.Addr.String())
	if err != nil {
		return p.Addr.String()
	}
	addr := at.Addr().Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	// 64 bits are within an address.
	network, _ := addr.Prefix(64)
	return network.String()
}
