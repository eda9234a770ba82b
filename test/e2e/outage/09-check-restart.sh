# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# A server that restarts while Vault is away serves, and mends itself afterwards.
begin restart
stop_vault
leap
for mode in "${MODES[@]}"; do
	hold "$mode"
	stop_server "$E2E_DIR/serve-$mode.pid"
	serve_mode "$mode" "$E2E_CACHE/ca-clocked"
	go_on "$mode"
done
count_on
shown root_unreachable
sleep 5
not_renewed
judge
start_vault
unseal_vault
renewed 60
finish
