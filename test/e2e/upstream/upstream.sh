# What the steps of the suite upstream share.
# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

export SOFTHSM2_CONF=$E2E_DIR/softhsm2.conf
UPSTREAM=$E2E_CACHE/ca-upstream
SOCKET=$E2E_DIR/run/upstream.sock

start_upstream() {
	start_server upstream "$UPSTREAM" serve --config "$E2E_DIR/upstream.yaml"
	for _ in $(seq 200); do
		[[ -S $SOCKET ]] && return
		sleep 0.05
	done
	cat "$E2E_DIR/upstream.err"
	fail "ca-upstream made no socket"
}

kedge_issue() {
	"$KEDGE_BIN" token create --admin-socket "$E2E_DIR/data/admin.sock" --identity spiffe://cluster.local/vm/db >"$E2E_DIR/token"
	chmod 600 "$E2E_DIR/token"
	"$KEDGE_BIN" issue --server "$LISTEN" --bundle "$E2E_DIR/root.pem" --token-file "$E2E_DIR/token" --out "$1"
}

renew() { "$KEDGE_BIN" intermediate renew --admin-socket "$E2E_DIR/data/admin.sock"; }
