# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# ca inspect and ca verify say what is in a certificate and why a chain fails.
cd "$E2E_DIR/my-workload"
"$KEDGE_BIN" inspect tls.crt | tee "$E2E_DIR/inspect.out"
expect "$E2E_DIR/inspect.out" 'leaf +spiffe://cluster.local/ns/default/sa/default'
expect "$E2E_DIR/inspect.out" 'path length +0'
"$KEDGE_BIN" inspect -o json tls.crt | tee "$E2E_DIR/inspect.json"
[[ $(json_value serial <"$E2E_DIR/inspect.json") == "$(serial tls.crt)" ]] || fail "ca inspect and openssl see different serials"

"$KEDGE_BIN" verify tls.crt --bundle bundle.pem --identity spiffe://cluster.local/ns/default/sa/default
refused "$KEDGE_BIN" verify tls.crt --bundle bundle.pem --identity spiffe://cluster.local/ns/default/sa/other
expect "$E2E_DIR/refused.out" '× leaf-identity'
refused "$KEDGE_BIN" verify tls.crt --bundle bundle.pem --at "$(date -u -d '+2 days' +%Y-%m-%dT%H:%M:%SZ)"
expect "$E2E_DIR/refused.out" '× expired'
make_stranger
refused "$KEDGE_BIN" verify tls.crt --bundle "$E2E_DIR/stranger.pem"
expect "$E2E_DIR/refused.out" '×'
