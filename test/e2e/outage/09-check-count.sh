# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# The count of it all.
for mode in "${MODES[@]}"; do
	stop_server "$E2E_DIR/load-$mode.pid"
	cat "$E2E_DIR/load-$mode.out" "$E2E_DIR/load-$mode.err"
	[[ ! -s "$E2E_DIR/load-$mode.out" && ! -s "$E2E_DIR/load-$mode.err" ]] || fail "the load of $mode met failures"
	[[ $(stat_of "$mode" 2) == 0 ]] || fail "$(stat_of "$mode" 2) failures of $mode"
	"$KEDGE_BIN" audit verify --admin-socket "$E2E_DIR/$mode/data/admin.sock"
	note "$mode: $(stat_of "$mode" 1) certificates in all, $(stat_of "$mode" 2) failed, the slowest took $(stat_of "$mode" 3) ms"
done
