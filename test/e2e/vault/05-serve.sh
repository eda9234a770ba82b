# shellcheck source=vault.sh
source "$E2E_ROOT/vault/vault.sh"

# The server starts, and ca check asks Vault too.
for mode in "${MODES[@]}"; do
	serve_mode "$mode"
	"$KEDGE_BIN" check --config "$E2E_DIR/$mode/ca.yaml" --admin-socket "$E2E_DIR/$mode/data/admin.sock" >"$E2E_DIR/check.out" || { cat "$E2E_DIR/check.out"; fail "ca check of $mode"; }
	cat "$E2E_DIR/check.out"
	expect "$E2E_DIR/check.out" '√ root-permissions'
	expect "$E2E_DIR/check.out" '√ ready'
	[[ $(metric "$mode" kedge_vault_logged_in) == 1 ]] || fail "the metrics say that $mode is not logged in"
	(($(metric "$mode" kedge_vault_token_not_after_timestamp_seconds) > EPOCHSECONDS)) || fail "the metrics do not say when the token of $mode ends"
done
