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

# kedge_issue OUT [DIR] gets a certificate from the authority in a directory.
kedge_issue() {
	local dir=${2:-$E2E_DIR}
	"$KEDGE_BIN" token create --admin-socket "$dir/data/admin.sock" --identity spiffe://cluster.local/vm/db >"$dir/token"
	chmod 600 "$dir/token"
	"$KEDGE_BIN" issue --server "$LISTEN" --bundle "$dir/root.pem" --token-file "$dir/token" --out "$1"
}

renew() { "$KEDGE_BIN" intermediate renew --admin-socket "${1:-$E2E_DIR}/data/admin.sock"; }
