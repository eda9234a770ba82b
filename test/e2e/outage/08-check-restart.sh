# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# A server that restarts while Vault is away serves, and mends itself afterwards.
mark
stop_vault
forward
for mode in "${MODES[@]}"; do
	hold "$mode"
	stop_server "$E2E_DIR/serve-$mode.pid"
	serve_mode "$mode" "$E2E_CACHE/ca-clocked"
	echo 0 >"$E2E_DIR/$mode/renewals" # the log is a new one
	rm "$E2E_DIR/$mode/tokens/hold"
done
sleep 5
shown root_unreachable
not_renewed
judge
start_vault
unseal_vault
renewed 60
judge
well
