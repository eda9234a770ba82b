# shellcheck source=clock.sh
source "$E2E_ROOT/expired/clock.sh"

# A machine that boots with a wrong clock: the server stays up, issues nothing that
# would be wrong, damages nothing, and is well again once the clock is.
for hours in $((-2 * YEARS)) $((-60 * YEARS)) $((30 * YEARS)); do
	export E2E_SHIFT=${hours}h
	start_server serve "$E2E_CACHE/ca-shifted" serve --config "$E2E_DIR/ca.yaml"
	wait_ready serve "$LISTEN"
	code=0
	with_clock "$hours" check --admin-socket "$E2E_DIR/admin.sock" >"$E2E_DIR/check.out" 2>&1 || code=$?
	cat "$E2E_DIR/check.out"
	[[ $code == 1 ]] || fail "ca check ended with $code while the clock is off by $hours h"
	expect "$E2E_DIR/check.out" '√ server-running'
	expect "$E2E_DIR/check.out" '× ready'
	refused timeout 20 "$KEDGE_BIN" issue --server "$LISTEN" --bundle "$E2E_DIR/bundle.pem" --token-file "$E2E_DIR/tokens/good" --out "$E2E_DIR/none"
	unset E2E_SHIFT
	alive "$(<"$E2E_DIR/serve.pid")" || fail "the server ended"
	absent "$E2E_DIR/serve.err" 'panic|fatal error'
	stop_server "$E2E_DIR/serve.pid"
done
serve
issue_by "$E2E_DIR/bundle.pem" "$E2E_DIR/well"
operator check || { cat "$E2E_DIR/operator.out"; fail "ca check fails"; }
operator audit verify
