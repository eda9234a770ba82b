# shellcheck source=clock.sh
source "$E2E_ROOT/expired/clock.sh"

# A server that was off for a month: only its intermediate has expired, so it mends
# itself while it starts.
make_authority_at $((-30 * 24))
serve
issue_by "$E2E_DIR/bundle.pem" "$E2E_DIR/holiday"
openssl verify -CAfile "$E2E_DIR/bundle.pem" -untrusted "$E2E_DIR/holiday/tls.crt" "$E2E_DIR/holiday/tls.crt"
operator check || { cat "$E2E_DIR/operator.out"; fail "ca check fails"; }
stop_server "$E2E_DIR/serve.pid"
