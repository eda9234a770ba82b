# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# Vault is sealed while a renewal is due.
begin sealed
seal_vault
leap
shown root_sealed
sleep "$LENGTH"
not_renewed
judge
unseal_vault
renewed $((LENGTH + 60))
finish
