# shellcheck source=vault.sh
source "$E2E_ROOT/vault/vault.sh"

# Another issuer than the one that the bundle has is found long before a renewal.
vault write pki/root/generate/internal common_name=other issuer_name=other key_type=ec key_bits=256 ttl=8760h >/dev/null
sed 's/issuer: kedge-root/issuer: other/' "$E2E_DIR/pki/ca.yaml" >"$E2E_DIR/pki/other.yaml"
! cmp -s "$E2E_DIR/pki/ca.yaml" "$E2E_DIR/pki/other.yaml" || fail "the configuration names no issuer"
refused "$KEDGE_BIN" vault preflight --config "$E2E_DIR/pki/other.yaml"
expect "$E2E_DIR/refused.out" '√ root-issuer.*pki: signs under anchor .* \(other\)'
expect "$E2E_DIR/refused.out" '× root-bundle.*is not in it: no renewal can work'
vault delete pki/issuer/other
