# What the steps of this suite share.
# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

SERVER=$(<"$E2E_DIR/serve.pid")

# rss prints the server's resident memory in MB.
rss() { awk '/^VmRSS/{print int($2/1024)}' "/proc/$SERVER/status"; }

# sockets prints how many TCP connections the server's port has.
sockets() { awk -v port="$(printf ':%04X' "$PORT")" '$4 == "01" && substr($2, length($2)-4) == port' /proc/net/tcp | wc -l; }

# clients starts a probe against the server: clients NAME COMMAND [FLAG…].
clients() {
	local name=$1 command=$2
	shift 2
	start_server "$name" "$(probe)" "$command" --server "$LISTEN" --bundle "$E2E_DIR/bundle.pem" "$@"
}

# await NAME LINE SECONDS waits until a probe has printed a line.
await() {
	for _ in $(seq $(($3 * 10))); do
		! grep -q "^$2\$" "$E2E_DIR/$1.out" || return 0
		alive "$(<"$E2E_DIR/$1.pid")" || break
		sleep 0.1
	done
	cat "$E2E_DIR/$1.out" "$E2E_DIR/$1.err"
	fail "$1 did not print: $2"
}

# others_are_served gets a certificate beside whatever else is going on, and prints
# how long that took.
others_are_served() {
	local start=$EPOCHREALTIME
	timeout 10 "$KEDGE_BIN" issue --server "$LISTEN" --bundle "$E2E_DIR/bundle.pem" --token-file "$E2E_DIR/tokens/good" --out "$E2E_DIR/beside" >"$E2E_DIR/beside.out" 2>&1 ||
		{ cat "$E2E_DIR/beside.out"; fail "nobody else is served"; }
	awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN{printf "%d ms\n", (b-a)*1000}'
}
