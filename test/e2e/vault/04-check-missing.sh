# shellcheck source=vault.sh
source "$E2E_ROOT/vault/vault.sh"

# Without any one line of the policy, the preflight fails and prints that line.
lines=0
for mode in "${MODES[@]}"; do
	while IFS= read -r line; do
		grep -vF -- "$line" "$E2E_DIR/$mode/policy.hcl" | vault policy write "kedge-$mode" -
		refused "$KEDGE_BIN" vault preflight --config "$E2E_DIR/$mode/ca.yaml"
		expect "$E2E_DIR/refused.out" '×'
		grep -F -- "$line" "$E2E_DIR/refused.out" || fail "the missing line is not printed: $line"
		lines=$((lines + 1))
	done < <(grep '^path' "$E2E_DIR/$mode/policy.hcl")
	vault policy write "kedge-$mode" "$E2E_DIR/$mode/policy.hcl"
	"$KEDGE_BIN" vault preflight --config "$E2E_DIR/$mode/ca.yaml"
done
grep -q 'permission denied' "$VAULT_DIR/audit.log" || fail "the audit device records no denial"
wc -l <"$VAULT_DIR/audit.log" >"$E2E_DIR/whole-policy"
((lines >= 6)) || fail "only $lines lines were tried"
note "each of $lines lines is needed, and is printed when it is missing"
