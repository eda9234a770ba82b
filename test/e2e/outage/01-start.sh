# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# Vault with both engines, and the programs of this suite.
make_vault
vault secrets enable -max-lease-ttl=87600h pki
vault secrets enable transit
vault auth enable approle
clocked
tool outage-load . ./test/e2e/outage/load
