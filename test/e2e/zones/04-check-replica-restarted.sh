# shellcheck source=zones.sh
source "$E2E_ROOT/zones/zones.sh"

# A replica that starts while the primary is away, and without its token, which it used
# long ago: it issues from what it holds.
rm -f "$E2E_DIR/one/token"
stop_server "$E2E_DIR/primary.pid"
stop_server "$E2E_DIR/one.pid"
before=$(openssl x509 -in "$E2E_DIR/third/tls.crt" -noout -issuer)
serve_replica one
workload one "$E2E_DIR/alone"
[[ "$(openssl x509 -in "$E2E_DIR/alone/tls.crt" -noout -issuer)" == "$before" ]] || fail "a restart made another intermediate"
serve_primary
back() { "$KEDGE_BIN" zones list -o json | grep -q '"name":"one"[^}]*"silent":false'; }
eventually 60 back
# The same after kill -9.
kill -KILL "$(<"$E2E_DIR/one.pid")"
serve_replica one
workload one "$E2E_DIR/killed"
