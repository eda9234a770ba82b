# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# go-spiffe fetches the bundle from the endpoint of a server, as a federated domain
# does, by a certificate of another authority (https_web) and by the server's own.
stop_server "$E2E_DIR/dev.pid"
endpoint=127.0.0.1:$(free_port)
cert=$E2E_DIR/web/tls.crt
mkdir -p "$E2E_DIR/web"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$E2E_DIR/web/tls.key" -subj /CN=web -days 1 \
	-addext subjectAltName=IP:127.0.0.1 -out "$cert" 2>/dev/null
make_authority "ops: {listen: 127.0.0.1:$OPS_PORT}" "bundleEndpoint: {listen: $endpoint, certFile: $cert, keyFile: $E2E_DIR/web/tls.key}"
serve

fetch() {
	KEDGE_ENDPOINT=https://$endpoint/ KEDGE_ENDPOINT_ROOTS=$1 KEDGE_ENDPOINT_BUNDLE=$E2E_DIR/endpoint.pem \
		"$(test_tool spiffe)" -test.v -test.run '^TestEndpoint' | tee "$E2E_DIR/endpoint.out"
	expect "$E2E_DIR/endpoint.out" '^--- PASS: TestEndpointIsReadByAFederatedDomain'
}
export_bundle() { "$KEDGE_BIN" bundle export --admin-socket "$E2E_DIR/admin.sock" "$@"; }
export_bundle >"$E2E_DIR/endpoint.pem"
fetch "$cert"

# What is served is what ca bundle export writes, and an ETag spares the next answer.
curl -sS --cacert "$cert" -D "$E2E_DIR/headers" "https://$endpoint/" >"$E2E_DIR/bundle.json"
export_bundle --format spiffe | cmp - "$E2E_DIR/bundle.json"
curl -sS --cacert "$cert" "https://$endpoint/bundle.pem" | cmp - "$E2E_DIR/endpoint.pem"
etag=$(tr -d '\r' <"$E2E_DIR/headers" | sed -n 's/^[Ee][Tt]ag: //p')
[[ $(curl -sS --cacert "$cert" -H "If-None-Match: $etag" -o /dev/null -w '%{http_code}' "https://$endpoint/") == 304 ]] || fail "the same bundle was sent again"

# Without files it presents the server's own certificate.
stop_server "$E2E_DIR/serve.pid"
write_config "ops: {listen: 127.0.0.1:$OPS_PORT}" "bundleEndpoint: {listen: $endpoint}"
serve
fetch "$E2E_DIR/bundle.pem"
