# shellcheck source=upstream.sh
source "$E2E_ROOT/upstream/upstream.sh"

# Without ca-upstream issuance goes on, the renewal says why it waits, and works again
# by itself once ca-upstream is back.
kill -KILL "$(<"$E2E_DIR/upstream.pid")"
rm -f "$E2E_DIR/upstream.pid"
for n in $(seq 5); do kedge_issue "$E2E_DIR/down-$n"; done
refused renew
expect "$E2E_DIR/refused.out" '^code: root_'
refused "$KEDGE_BIN" check --config "$E2E_DIR/ca.yaml" --admin-socket "$E2E_DIR/data/admin.sock"
expect "$E2E_DIR/refused.out" '× root-reachable'
start_upstream
renew
kedge_issue "$E2E_DIR/back"
openssl verify -CAfile "$E2E_DIR/root.pem" -untrusted "$E2E_DIR/back/tls.crt" "$E2E_DIR/back/tls.crt"
