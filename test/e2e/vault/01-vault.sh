# shellcheck source=vault.sh
source "$E2E_ROOT/vault/vault.sh"

# A real Vault: TLS under an authority of its own, an audit device, both engines, and
# an AppRole for each mode with exactly the policy that ca vault policy prints.
make_vault
vault secrets enable -max-lease-ttl=87600h pki
vault secrets enable transit
vault auth enable approle
for mode in "${MODES[@]}"; do
	mkdir -p "$E2E_DIR/$mode"
	make_role "$mode"
	cat "$E2E_DIR/$mode/policy.hcl"
done
absent "$E2E_DIR/pki/policy.hcl" '"sudo"|path "[^"]*\*"'
absent "$E2E_DIR/transit/policy.hcl" '"sudo"|path "[^"]*\*"'
note "$(vault version)"
