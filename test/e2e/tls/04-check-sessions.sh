# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# Nothing outlives a handshake: no tickets (a resumed session would outlive a removed
# anchor), no renegotiation, no compression; and without h2 nobody is served.
need openssl
for version in -tls1_2 -tls1_3; do
	timeout 10 openssl s_client -connect "$LISTEN" -CAfile "$E2E_DIR/bundle.pem" -alpn h2 "$version" >"$E2E_DIR/session.out" 2>&1 < <(sleep 1) || true
	cat "$E2E_DIR/session.out"
	absent "$E2E_DIR/session.out" 'TLS session ticket:|New Session Ticket arrived|^Reused'
	expect "$E2E_DIR/session.out" 'Compression: NONE'
	expect "$E2E_DIR/session.out" 'ALPN protocol: h2'
done
# R asks OpenSSL's client to renegotiate.
timeout 10 openssl s_client -connect "$LISTEN" -CAfile "$E2E_DIR/bundle.pem" -alpn h2 -tls1_2 >"$E2E_DIR/session.out" 2>&1 < <(sleep 0.5; echo R; sleep 1) || true
expect "$E2E_DIR/session.out" 'no renegotiation|handshake failure|alert|unexpected eof'
# Go finishes a handshake that offers http/1.1 alone; the server must hang up then,
# well before the client does, and say nothing.
start=$SECONDS
timeout 10 openssl s_client -connect "$LISTEN" -CAfile "$E2E_DIR/bundle.pem" -alpn http/1.1 -quiet >"$E2E_DIR/plain.out" 2>/dev/null < <(printf 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'; sleep 8) || true
((SECONDS - start < 5)) || fail "a client without h2 was not hung up on"
[[ ! -s "$E2E_DIR/plain.out" ]] || { cat "$E2E_DIR/plain.out"; fail "a client without h2 got an answer"; }
