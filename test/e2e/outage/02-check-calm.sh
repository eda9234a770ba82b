# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# Without any trouble: the renewal comes when it is due, and nobody notices.
begin calm
leap
renewed 30
finish
