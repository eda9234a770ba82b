# shellcheck source=linkerd.sh
source "$E2E_ROOT/linkerd/linkerd.sh"

need curl
certify metrics default.default linkerd
refused certify metrics default.default good
curl -sf "http://127.0.0.1:$OPS_PORT/metrics" >"$E2E_DIR/metrics"
expect "$E2E_DIR/metrics" '^kedge_issued_total\{method="kubernetes",profile="linkerd",protocol="linkerd"\} [1-9]'
expect "$E2E_DIR/metrics" '^kedge_refused_total\{protocol="linkerd",reason="token_audience"\} [1-9]'
"$KEDGE_BIN" audit search --identity spiffe://cluster.local/ns/default/sa/default --admin-socket "$E2E_DIR/admin.sock" -o json >"$E2E_DIR/audit"
expect "$E2E_DIR/audit" "default\.default\.$DOMAIN"
