# shellcheck source=call.sh
source "$E2E_ROOT/grpc/call.sh"

# SIGHUP: a policy that denies takes effect for the next request; a configuration that
# is wrong changes nothing.
request="{\"csr\":\"$(csr)\"}"
stop_server "$E2E_DIR/serve.pid"
write_config
serve
write_config "ops: {listen: 127.0.0.1:$OPS_PORT}" 'policy: {rules: [{name: closed, deny: true}]}'
"$KEDGE_BIN" config validate "$E2E_DIR/ca.yaml"
pid=$(<"$E2E_DIR/serve.pid")
kill -HUP "$pid"
for _ in $(seq 50); do
	call "$CA/Issue" "$request" -H "$(bearer other-workload)" || break
	sleep 0.1
done
refusal 7 policy_denied "$CA/Issue" "$request" -H "$(bearer other-workload)"

# unchanged NUMBER TEXT demands that a reload is refused with that text in the log, after NUMBER
# refusals before it, and that the policy in force still is the one before.
unchanged() {
	local before=$1
	kill -HUP "$pid"
	for _ in $(seq 50); do
		[[ $(grep -c 'not reloaded' "$E2E_DIR/serve.err") == "$before" ]] || break
		sleep 0.1
	done
	tail -n 1 "$E2E_DIR/serve.err" >"$E2E_DIR/reload.err"
	expect "$E2E_DIR/reload.err" "not reloaded.*$2"
	refusal 7 policy_denied "$CA/Issue" "$request" -H "$(bearer other-workload)"
}
write_config "ops: {listen: 127.0.0.1:$OPS_PORT}" 'unknown: 1'
refused "$KEDGE_BIN" config validate "$E2E_DIR/ca.yaml"
expect "$E2E_DIR/refused.out" "ca.yaml:[0-9]+:[0-9]+: "
unchanged 0 'ca.yaml:[0-9]+:[0-9]+: '
write_config "ops: {listen: 127.0.0.1:$OPS_PORT}" 'limits: {identityRate: 5}'
unchanged 1 'limits cannot change without a restart'
alive "$pid"
