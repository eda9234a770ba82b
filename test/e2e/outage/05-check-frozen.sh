# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# Vault hangs: it accepts connections and answers nothing for more than half a minute.
begin frozen
pause_vault
leap
shown root_timeout
sleep "$LENGTH"
not_renewed
judge
resume_vault
renewed $((LENGTH + 90))
finish
