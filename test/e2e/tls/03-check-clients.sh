# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# Client certificates: an anonymous client is let in (a token may prove it), one with
# a certificate that does not verify is not, whatever else it says.
need openssl
make_stranger
client() {
	timeout 10 openssl s_client -connect "$LISTEN" -CAfile "$E2E_DIR/bundle.pem" -verify_return_error -alpn h2 -brief "$@" 2>&1 < <(sleep 1)
}
"$KEDGE_BIN" issue --server "$LISTEN" --bundle "$E2E_DIR/bundle.pem" --token-file "$E2E_DIR/tokens/good" --out "$E2E_DIR/own"
client >"$E2E_DIR/client.out"
absent "$E2E_DIR/client.out" 'alert'
client -cert "$E2E_DIR/own/tls.crt" -cert_chain "$E2E_DIR/own/tls.crt" -key "$E2E_DIR/own/tls.key" >"$E2E_DIR/client.out"
absent "$E2E_DIR/client.out" 'alert'
client -cert "$E2E_DIR/stranger.pem" -key "$E2E_DIR/stranger.key" >"$E2E_DIR/client.out" || true
expect "$E2E_DIR/client.out" 'alert'
# A leaf under Kedge's own name by another key, and a chain of 100 KB.
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$E2E_DIR/fake.key" -subj "/O=Kedge/CN=Root" -x509 -days 1 \
	-addext subjectAltName=URI:spiffe://cluster.local/ns/default/sa/default -out "$E2E_DIR/fake.pem" 2>/dev/null
client -cert "$E2E_DIR/fake.pem" -key "$E2E_DIR/fake.key" >"$E2E_DIR/client.out" || true
expect "$E2E_DIR/client.out" 'alert'
for _ in $(seq 200); do cat "$E2E_DIR/stranger.pem"; done >"$E2E_DIR/long.pem"
client -cert "$E2E_DIR/stranger.pem" -key "$E2E_DIR/stranger.key" -cert_chain "$E2E_DIR/long.pem" >"$E2E_DIR/client.out" || true
expect "$E2E_DIR/client.out" 'alert|errno|unexpected eof'
