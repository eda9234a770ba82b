# shellcheck source=clock.sh
source "$E2E_ROOT/expired/clock.sh"

# It starts all the same, says in its log what is wrong, and stays up.
serve
expect "$E2E_DIR/serve.err" '"level":"ERROR".*expired'
absent "$E2E_DIR/serve.err" 'panic|fatal error'
sleep 6 # one round of upkeep
alive "$(<"$E2E_DIR/serve.pid")" || fail "the server ended"
