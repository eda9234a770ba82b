# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

make_authority "ops: {listen: 127.0.0.1:$OPS_PORT}" 'limits: {identityRate: 100000, identityBurst: 100000}'
serve
"$KEDGE_BIN" issue --server "$LISTEN" --bundle "$E2E_DIR/bundle.pem" --token-file "$E2E_DIR/tokens/good" --out "$E2E_DIR/before"
kill -KILL "$(<"$E2E_DIR/serve.pid")"
