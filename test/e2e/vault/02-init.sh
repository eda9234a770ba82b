# shellcheck source=vault.sh
source "$E2E_ROOT/vault/vault.sh"

# The root is made in Vault with a token for that alone, the first intermediate with
# the server's own login.
for mode in "${MODES[@]}"; do
	setup_token "$mode"
	make_vault_authority "$mode"
	mkdir -p "$E2E_DIR/$mode/tokens"
	"$(probe)" tokens --dir "$E2E_DIR/$mode/tokens"
	anchor "$mode" >"$E2E_DIR/$mode/bundle.pem"
	openssl x509 -in "$E2E_DIR/$mode/bundle.pem" -noout -subject -ext basicConstraints,keyUsage
	[[ ! -e "$E2E_DIR/$mode/data/root/root.key" ]] || fail "there is a key of the root beside its certificate"
done
# Vault has the keys, and does not give them away.
vault list pki/keys
vault read transit/keys/kedge-root >"$E2E_DIR/key"
expect "$E2E_DIR/key" '^exportable +false'
expect "$E2E_DIR/key" '^allow_plaintext_backup +false'
# A second root of the same name would look like the first.
cp "$E2E_DIR/pki/setup-token" "$E2E_DIR/again-token"
chmod 600 "$E2E_DIR/again-token"
refused "$KEDGE_BIN" init --trust-domain cluster.local --data-dir "$E2E_DIR/again/data" --config "$E2E_DIR/again/ca.yaml" \
	--generate-passphrases "$E2E_DIR/again/secrets" --server-name localhost --root vault-pki --vault-address "$(vault_address)" \
	--vault-ca-file "$VAULT_DIR/ca.pem" --vault-token-file "$E2E_DIR/again-token"
expect "$E2E_DIR/refused.out" 'already'
