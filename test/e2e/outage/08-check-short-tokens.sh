# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# Tokens end after ten seconds and cannot be renewed beyond: the servers log in again
# and again, before a token's end, and are never without one.
TOKEN_TTL=10s
begin short
begun=$(logins) without=0 end=$((SECONDS + TOKENS))
while ((SECONDS < end)); do
	for mode in "${MODES[@]}"; do
		[[ $(metric "$mode" kedge_vault_logged_in) == 1 ]] || without=$((without + 1))
	done
	sleep 1
done
count=$(($(logins) - begun)) due=$((${#MODES[@]} * TOKENS / 10))
((count >= due - ${#MODES[@]} && count <= 3 * due)) || fail "$count logins in $TOKENS s, not about $due"
((without == 0)) || fail "a server was without a token $without times"
note "$count logins of ${#MODES[@]} servers in $TOKENS s, and always a token"
judge
leap
renewed 60
finish
