# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# The servers' tokens are revoked under them: they log in anew by themselves.
mark
logins=$(grep -c '"path":"auth/approle/login"' "$VAULT_DIR/audit.log")
vault token revoke -mode=path auth/approle
forward
renewed 60
sleep 3
judge
well
(($(grep -c '"path":"auth/approle/login"' "$VAULT_DIR/audit.log") > logins)) || fail "nobody logged in anew"
