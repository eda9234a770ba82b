package api

import (
	"crypto/tls"
	"net"

	"google.golang.org/grpc/credentials"
)

// tolerantTLS shakes hands as grpc-go's own credentials do, but for a client that
// offers no protocol by ALPN: those refuse it, and Linkerd's proxies offer none
// (linkerd2-proxy linkerd/tls/src/client.rs). RFC 9113 §3.2 wants ALPN; what
// connects here without it speaks HTTP/2 from its first byte, or gRPC closes. A
// client that offers protocols without h2 is refused by the handshake, but one with
// http/1.1, which crypto/tls lets through without a protocol: gRPC closes that one.
type tolerantTLS struct {
	credentials.TransportCredentials
	config *tls.Config
}

// ServerHandshake implements credentials.TransportCredentials.
func (c *tolerantTLS) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn := tls.Server(raw, c.config)
	if err := conn.Handshake(); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, credentials.TLSInfo{
		State:          conn.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// Clone implements credentials.TransportCredentials.
func (c *tolerantTLS) Clone() credentials.TransportCredentials {
	return &tolerantTLS{TransportCredentials: c.TransportCredentials.Clone(), config: c.config.Clone()}
}

// isLoopback tells whether only this machine can connect to a.
func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
