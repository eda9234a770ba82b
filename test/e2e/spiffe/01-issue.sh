# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# Two authorities of the same trust domain, so that one can be the wrong one.
start_dev
issue "$E2E_DIR/issued"
other=127.0.0.1:$(free_port)
start_server other "$KEDGE_BIN" dev --dir "$E2E_DIR/other-dev" --listen "$other"
wait_ready other "$other"
"$KEDGE_BIN" issue --server "$other" --bundle "$E2E_DIR/other-dev/bundle.pem" --token-file "$E2E_DIR/other-dev/token" --out "$E2E_DIR/other-issued"
