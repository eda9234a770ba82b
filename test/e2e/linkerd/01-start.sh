# shellcheck source=linkerd.sh
source "$E2E_ROOT/linkerd/linkerd.sh"

free_port >"$E2E_DIR/door"
make_authority "ops: {listen: 127.0.0.1:$OPS_PORT}" "linkerd: {listen: 127.0.0.1:$(cat "$E2E_DIR/door")}"
serve
