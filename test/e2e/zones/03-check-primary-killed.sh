# shellcheck source=zones.sh
source "$E2E_ROOT/zones/zones.sh"

# kill -9 of the primary: the zone says so and issues on; it is followed again as soon
# as it is back.
kill -KILL "$(<"$E2E_DIR/primary.pid")"
eventually 30 log_has one 'following the primary failed.*primary_unreachable'
workload one "$E2E_DIR/orphan"
renewal two "$E2E_DIR/orphan"
on one check | tee "$E2E_DIR/check" || true
expect "$E2E_DIR/check" '‼ primary-reachable'
serve_primary
heard() { on one check | grep -q '√ primary-reachable'; }
eventually 60 heard
expect "$E2E_DIR/one.err" 'the primary answers again'
