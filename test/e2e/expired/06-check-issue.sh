# shellcheck source=clock.sh
source "$E2E_ROOT/expired/clock.sh"

# Issuance works again, under the new root and no other.
cp "$E2E_DIR/data/root/root.pem" "$E2E_DIR/new-bundle.pem"
issue_by "$E2E_DIR/new-bundle.pem" "$E2E_DIR/again"
openssl verify -CAfile "$E2E_DIR/new-bundle.pem" -untrusted "$E2E_DIR/again/tls.crt" "$E2E_DIR/again/tls.crt"
refused issue_by "$E2E_DIR/old-bundle.pem" "$E2E_DIR/none"
operator audit events
cat "$E2E_DIR/operator.out"
expect "$E2E_DIR/operator.out" 'repair|anchor|root|bundle'
operator audit verify
# And it lasts.
stop_server "$E2E_DIR/serve.pid"
serve
issue_by "$E2E_DIR/new-bundle.pem" "$E2E_DIR/again"
stop_server "$E2E_DIR/serve.pid"
