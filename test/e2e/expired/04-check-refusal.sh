# shellcheck source=clock.sh
source "$E2E_ROOT/expired/clock.sh"

# Nothing is issued meanwhile, and a client is refused, not left to hang.
start=$SECONDS
refused timeout 20 "$KEDGE_BIN" issue --server "$LISTEN" --bundle "$E2E_DIR/old-bundle.pem" --token-file "$E2E_DIR/tokens/good" --out "$E2E_DIR/none"
((SECONDS - start < 19)) || fail "the client hung"
[[ ! -e "$E2E_DIR/none/tls.crt" ]] || fail "a certificate was issued under an expired root"
