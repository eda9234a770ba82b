# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# Vault is gone: connections are refused.
mark
stop_vault
forward
shown root_unreachable
sleep "$LENGTH"
not_renewed
judge
start_vault
unseal_vault
renewed $((LENGTH + 60))
judge
well
