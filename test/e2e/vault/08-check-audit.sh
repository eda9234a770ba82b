# shellcheck source=vault.sh
source "$E2E_ROOT/vault/vault.sh"

# Vault's own record of it all: Kedge's tokens asked for what the policy names and for
# nothing else, and were denied nothing once they had the whole policy.
for mode in "${MODES[@]}"; do
	grep '"type":"response"' "$VAULT_DIR/audit.log" | grep "\"kedge-$mode\"" | grep -v '"path":"auth/approle/login"' |
		grep -oE '"path":"[^"]*"' | cut -d'"' -f4 | grep -v '^hmac-' | sort | uniq -c >"$E2E_DIR/$mode/asked"
	cat "$E2E_DIR/$mode/asked"
	[[ -s "$E2E_DIR/$mode/asked" ]] || fail "the audit device has no record of $mode"
	while read -r _ path; do
		case $mode/$path in
		*/auth/token/lookup-self | */auth/token/renew-self) ;;
		pki/pki/issuer/kedge-root/sign-intermediate) ;;
		transit/transit/keys/kedge-root | transit/transit/sign/kedge-root/sha2-256) ;;
		*) fail "the server of $mode asked for $path" ;;
		esac
	done <"$E2E_DIR/$mode/asked"
done
tail -n "+$(cat "$E2E_DIR/whole-policy" 2>/dev/null || echo 1)" "$VAULT_DIR/audit.log" | grep -E "kedge-(pki|transit)" >"$E2E_DIR/since"
absent "$E2E_DIR/since" 'permission denied'
absent "$VAULT_DIR/audit.log" "$(<"$VAULT_DIR/root-token")"
