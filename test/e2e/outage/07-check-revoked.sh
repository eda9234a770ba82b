# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# The servers' tokens are revoked under them: they log in anew by themselves.
begin revoked
before=$(logins)
vault token revoke -mode=path auth/approle
leap
renewed 60
(($(logins) >= before + ${#MODES[@]})) || fail "a server did not log in anew"
finish
