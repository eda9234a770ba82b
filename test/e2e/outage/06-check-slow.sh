# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# Vault is well, and each answer of its takes half a minute on its way: toxiproxy stands
# between. That is longer than a server waits, and unlike a frozen process it does answer.
slow_vault_proxy
begin slow
toxic '{"name": "slow", "type": "latency", "stream": "downstream", "attributes": {"latency": 30000}}'
leap
shown root_timeout
sleep "$LENGTH"
not_renewed
judge
no_toxic slow
renewed $((LENGTH + 90))
finish
stop_server "$E2E_DIR/toxiproxy.pid"
