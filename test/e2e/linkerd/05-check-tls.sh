# shellcheck source=linkerd.sh
source "$E2E_ROOT/linkerd/linkerd.sh"

# What a proxy brings to the handshake: TLS 1.3, no ALPN, SNI, X25519 before P-256.
need openssl
client() {
	timeout 10 openssl s_client -connect "$DOOR" -servername "$ISSUER" -verify_hostname "$ISSUER" -CAfile "$E2E_DIR/bundle.pem" -verify_return_error "$@" 2>&1 < <(sleep 1)
}
client -tls1_3 -groups X25519:P-256 >"$E2E_DIR/proxy.out"
expect "$E2E_DIR/proxy.out" 'TLSv1\.3'
expect "$E2E_DIR/proxy.out" 'No ALPN negotiated'
expect "$E2E_DIR/proxy.out" 'Verify return code: 0'
expect "$E2E_DIR/proxy.out" 'ECDH, prime256v1|secp256r1'
expect "$E2E_DIR/proxy.out" 'No client certificate CA names sent'
# Without RSA-PSS among its schemes, as the proxy is.
client -tls1_3 -sigalgs ECDSA+SHA256:ECDSA+SHA384 >"$E2E_DIR/ecdsa.out"
expect "$E2E_DIR/ecdsa.out" 'Verify return code: 0'
client -tls1_3 -alpn h2 >"$E2E_DIR/alpn.out"
expect "$E2E_DIR/alpn.out" 'ALPN protocol: h2'
client -tls1_2 >"$E2E_DIR/old.out" || true
expect "$E2E_DIR/old.out" 'alert protocol version'
client -tls1_3 -groups X25519 >"$E2E_DIR/group.out" || true
expect "$E2E_DIR/group.out" 'alert'
client -tls1_3 -alpn spdy/3.1 >"$E2E_DIR/spdy.out" || true
expect "$E2E_DIR/spdy.out" 'alert no application protocol'
