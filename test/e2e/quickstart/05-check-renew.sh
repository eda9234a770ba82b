# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# Renewal by mutual TLS with the certificate itself: new key, new serial, no token.
cp -a "$E2E_DIR/my-workload" "$E2E_DIR/renewed"
"$KEDGE_BIN" renew --server "$LISTEN" --bundle "$E2E_DIR/dev/bundle.pem" --dir "$E2E_DIR/renewed"
cd "$E2E_DIR"
openssl verify -CAfile renewed/bundle.pem -untrusted renewed/tls.crt renewed/tls.crt
[[ "$(serial renewed/tls.crt)" != "$(serial my-workload/tls.crt)" ]] || fail "the serial is the same"
! cmp -s renewed/tls.key my-workload/tls.key || fail "the key is the same"
[[ "$(openssl pkey -in renewed/tls.key -pubout)" == "$(openssl x509 -in renewed/tls.crt -noout -pubkey)" ]] || fail "key and certificate do not belong together"
