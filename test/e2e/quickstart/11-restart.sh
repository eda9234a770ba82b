# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# A stop is clean and quick; the same authority comes back, so a bundle handed out
# before works on.
cp "$E2E_DIR/dev/bundle.pem" "$E2E_DIR/before.pem"
pid=$(<"$E2E_DIR/dev.pid")
start=$EPOCHREALTIME
stop_server "$E2E_DIR/dev.pid"
! alive "$pid" || fail "the server is still there"
note "stopped in $(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN{printf "%.2f", b-a}') s"
start=$EPOCHREALTIME
start_dev
note "ready again in $(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN{printf "%.2f", b-a}') s"
cmp "$E2E_DIR/before.pem" "$E2E_DIR/dev/bundle.pem"
issue "$E2E_DIR/after"
"$KEDGE_BIN" renew --server "$LISTEN" --bundle "$E2E_DIR/before.pem" --dir "$E2E_DIR/my-workload"
admin audit verify
