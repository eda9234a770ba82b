# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# Tokens live for ten seconds at the longest and are never renewed beyond: the servers
# log in again and again, before a token's end, and are never without one.
for mode in "${MODES[@]}"; do
	vault write "auth/approle/role/kedge-$mode" token_policies="kedge-$mode" token_no_default_policy=true token_ttl=10s token_max_ttl=10s
done
vault token revoke -mode=path auth/approle
mark
forward # finds the old tokens dead
renewed 60
mark
begin=$(grep -c '"type":"response".*"path":"auth/approle/login"' "$VAULT_DIR/audit.log")
without=0
end=$((SECONDS + TOKENS))
while ((SECONDS < end)); do
	for mode in "${MODES[@]}"; do
		[[ $(metric "$mode" kedge_vault_logged_in) == 1 ]] || without=$((without + 1))
	done
	sleep 1
done
logins=$(($(grep -c '"type":"response".*"path":"auth/approle/login"' "$VAULT_DIR/audit.log") - begin))
((logins >= 2 * TOKENS / 10 - 2)) || fail "only $logins logins of both servers in $TOKENS s"
((logins <= 2 * TOKENS)) || fail "$logins logins of both servers in $TOKENS s"
((without == 0)) || fail "a server was without a token $without times"
judge
forward
renewed 30
judge
for mode in "${MODES[@]}"; do
	vault write "auth/approle/role/kedge-$mode" token_policies="kedge-$mode" token_no_default_policy=true token_ttl=1h token_max_ttl=24h
done
note "$logins logins of both servers in $TOKENS s"
