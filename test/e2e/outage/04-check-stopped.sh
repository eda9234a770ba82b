# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# Vault is gone: connections are refused.
begin stopped
stop_vault
leap
shown root_unreachable
sleep "$LENGTH"
not_renewed
judge
start_vault
unseal_vault
renewed $((LENGTH + 60))
finish
