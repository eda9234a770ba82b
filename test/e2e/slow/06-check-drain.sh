# shellcheck source=watch.sh
source "$E2E_ROOT/slow/watch.sh"

# A stop waits for nobody who has no request in flight, and for a request whose
# client does not read its answer no longer than limits.drainTimeout.
stopped_in() {
	local start=$EPOCHREALTIME
	stop_server "$E2E_DIR/serve.pid"
	awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN{printf "%d", (b-a)*1000}'
}

clients lasting idle --clients 200
clients late slow --kind silent --clients 50
await lasting 'connected 200' 60
await late 'started 50' 10
took=$(stopped_in)
note "stopped in $took ms with 200 idle and 50 silent clients"
((took < 3000)) || fail "the stop waited for idle clients"
stop_server "$E2E_DIR/lasting.pid"
stop_server "$E2E_DIR/late.pid"

write_config "ops: {listen: 127.0.0.1:$OPS_PORT}" 'limits: {drainTimeout: 5s}'
serve
clients reading slow --kind reader --clients 50
await reading 'started 50' 10
sleep 2 # until answers wait to be read
took=$(stopped_in)
note "stopped in $took ms with 50 clients that read a byte a second; drainTimeout is 5 s"
((took < 7000)) || fail "the stop took longer than limits.drainTimeout"
absent "$E2E_DIR/serve.err" 'panic|fatal error|"level":"ERROR"'
