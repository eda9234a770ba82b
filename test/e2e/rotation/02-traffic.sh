# shellcheck source=rotation.sh
source "$E2E_ROOT/rotation/rotation.sh"

# Workloads beside every replica, each of which calls all the others.
for name in "${REPLICAS[@]}"; do
	workload "$name"
done
heard() { (($(tally 1) > 20)); }
within 90 heard
steady
sleep 3
no_failure
