# shellcheck source=watch.sh
source "$E2E_ROOT/slow/watch.sh"

# A stop waits for none of them.
clients lasting idle --clients 200
clients late slow --kind silent --clients 50
clients reading slow --kind reader --clients 50
await lasting 'connected 200' 60
start=$EPOCHREALTIME
stop_server "$E2E_DIR/serve.pid"
took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN{printf "%d", (b-a)*1000}')
note "stopped in $took ms with 300 such clients"
((took < 21000)) || fail "the stop took longer than limits.drainTimeout"
absent "$E2E_DIR/serve.err" 'panic|fatal error|"level":"ERROR"'
