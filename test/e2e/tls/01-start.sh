# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# Both TLS listeners: the one for proxies, and that for metrics served with TLS. And
# a control: OpenSSL's own server, permissive, on which every client below must
# succeed, so that a refusal is Kedge's and not the client's.
need openssl
make_authority "ops: {listen: 127.0.0.1:$OPS_PORT, tls: true}"
serve
CONTROL_PORT=$(free_port)
echo "$CONTROL_PORT" >"$E2E_DIR/control-port"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$E2E_DIR/control.key" -subj /CN=control -addext subjectAltName=IP:127.0.0.1 \
	-days 1 -out "$E2E_DIR/control.pem" 2>/dev/null
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$E2E_DIR/control-rsa.key" -subj /CN=control -addext subjectAltName=IP:127.0.0.1 \
	-days 1 -out "$E2E_DIR/control-rsa.pem" 2>/dev/null
cat "$E2E_DIR/control.pem" "$E2E_DIR/control-rsa.pem" >"$E2E_DIR/controls.pem"
start_server control openssl s_server -accept "127.0.0.1:$CONTROL_PORT" -cert "$E2E_DIR/control.pem" -key "$E2E_DIR/control.key" \
	-dcert "$E2E_DIR/control-rsa.pem" -dkey "$E2E_DIR/control-rsa.key" -cipher ALL:COMPLEMENTOFALL:@SECLEVEL=0 -ciphersuites TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256 \
	-min_protocol TLSv1 -groups X25519:X448:P-256:P-384:P-521 -alpn h2 -quiet
for _ in $(seq 100); do
	(exec 3<>"/dev/tcp/127.0.0.1/$CONTROL_PORT") 2>/dev/null && exit 0
	sleep 0.1
done
fail "the control server does not listen"
