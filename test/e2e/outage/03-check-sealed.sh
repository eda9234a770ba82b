# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# Vault is sealed while a renewal is due.
mark
seal_vault
forward
shown root_sealed
sleep "$LENGTH"
not_renewed
judge
unseal_vault
renewed $((LENGTH + 60))
judge
well
