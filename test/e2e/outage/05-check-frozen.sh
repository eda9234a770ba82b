# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# Vault hangs: connections are accepted, and nothing is answered for half a minute.
mark
pause_vault
forward
shown root_timeout
sleep $((LENGTH > 30 ? LENGTH : 30))
not_renewed
judge
resume_vault
renewed $((LENGTH + 90))
judge
well
