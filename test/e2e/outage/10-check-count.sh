# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# The count of it all.
[[ $(wc -l <"$E2E_DIR/total") == 16 ]] || fail "not every step was counted: $(cat "$E2E_DIR/total")"
for mode in "${MODES[@]}"; do
	read -r issued failed slowest < <(awk -v mode="$mode" '$1 == mode {issued += $2; failed += $3; if ($4 > slowest) slowest = $4} END {print issued, failed, slowest}' "$E2E_DIR/total")
	[[ $failed == 0 ]] || fail "$failed certificates of $mode failed"
	note "$mode: $issued certificates in all, none failed, the slowest took $slowest ms"
done
