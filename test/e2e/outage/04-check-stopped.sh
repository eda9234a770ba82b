# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# Vault is gone: connections are refused.
begin stopped
stop_vault
leap
shown root_unreachable
sleep "$GONE"
not_renewed
judge
start_vault
unseal_vault
# Pauses between attempts grow to ten minutes.
renewed $(((GONE < 600 ? GONE : 600) + 60))
finish
