# shellcheck source=rotation.sh
source "$E2E_ROOT/rotation/rotation.sh"

# A rotation to the standby, which every verifier has already.
steady
ca rotate plan | tee "$E2E_DIR/plan"
expect "$E2E_DIR/plan" '~ .* standby +active'
id=$(start_rotation)
(ca rotate watch >"$E2E_DIR/watch" 2>&1) &
watching=$!
refused ca rotate start --reason "another" --yes
expect "$E2E_DIR/refused.out" "$id"
done_within 240
wait "$watching"
cat "$E2E_DIR/watch"
expect "$E2E_DIR/watch" ': draining'
expect "$E2E_DIR/watch" ': done'
signs_under "$(anchor 2)" || fail "not everybody signs under the new anchor"
no_failure
