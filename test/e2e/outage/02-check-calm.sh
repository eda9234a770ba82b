# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# Without any trouble: the renewal comes when it is due, and nobody notices.
mark
forward
renewed 30
sleep 3
judge
well
