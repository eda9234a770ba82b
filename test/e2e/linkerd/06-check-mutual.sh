# shellcheck source=linkerd.sh
source "$E2E_ROOT/linkerd/linkerd.sh"

# Two pods speak mutual TLS with what they were given.
need openssl
certify a default.default linkerd
certify b payments.prod linkerd-other
PEER=$(free_port)
start_server peer openssl s_server -accept "127.0.0.1:$PEER" -tls1_3 -cert "$E2E_DIR/pod-b/tls.crt" -cert_chain "$E2E_DIR/pod-b/tls.crt" -key "$E2E_DIR/pod-b/tls.key" \
	-CAfile "$E2E_DIR/bundle.pem" -Verify 2 -verify_return_error -www
for _ in $(seq 100); do
	(exec 3<>"/dev/tcp/127.0.0.1/$PEER") 2>/dev/null && break
	sleep 0.1
done
printf 'GET / HTTP/1.0\r\n\r\n' | timeout 10 openssl s_client -connect "127.0.0.1:$PEER" -tls1_3 -quiet -cert "$E2E_DIR/pod-a/tls.crt" -cert_chain "$E2E_DIR/pod-a/tls.crt" \
	-key "$E2E_DIR/pod-a/tls.key" -CAfile "$E2E_DIR/bundle.pem" -verify_hostname "payments.prod.$DOMAIN" -verify_return_error >"$E2E_DIR/mutual.out" 2>&1
expect "$E2E_DIR/mutual.out" "DNS:default\.default\.$DOMAIN|HTTP/1.0 200"
stop_server "$E2E_DIR/peer.pid"
