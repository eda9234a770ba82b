# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# Killed while it makes its roots and keys, ca dev begins again and comes to serve.
port=$(free_port)
for _ in $(seq 15); do
	start_server young "$KEDGE_BIN" dev --dir "$E2E_DIR/young" --listen "127.0.0.1:$port"
	pid=$(<"$E2E_DIR/young.pid")
	sleep "0.$(printf %03d $((RANDOM % 900)))"
	kill -KILL "$pid"
	while alive "$pid"; do sleep 0.01; done
done
start_server young "$KEDGE_BIN" dev --dir "$E2E_DIR/young" --listen "127.0.0.1:$port"
wait_ready young "127.0.0.1:$port"
"$KEDGE_BIN" issue --server "127.0.0.1:$port" --bundle "$E2E_DIR/young/bundle.pem" --token-file "$E2E_DIR/young/token" --out "$E2E_DIR/young-workload"
stop_server "$E2E_DIR/young.pid"
