# shellcheck source=call.sh
source "$E2E_ROOT/grpc/call.sh"

# Anchors are public; the answer is the bundle that the server's files hold.
call "$CA/GetBundle" '{}'
expect "$E2E_DIR/answer" '"trustDomain": "cluster.local"'
expect "$E2E_DIR/answer" '"sequence": "1"'
[[ $(grep -c '"slot"' "$E2E_DIR/answer") == 2 ]] || fail "not two anchors"
anchor=$(openssl x509 -in "$E2E_DIR/data/root/root.pem" -outform der | base64 -w0)
grep -qF "$anchor" "$E2E_DIR/answer" || fail "the active root is not in the answer"

# The stream begins with the bundle; grpcurl ends it after its time.
call "$CA/WatchBundle" '{}' -max-time 1 || true
expect "$E2E_DIR/answer" '"sequence": "1"'
call grpc.health.v1.Health/Check '{}' -proto health.proto -import-path "$E2E_ROOT/grpc"
expect "$E2E_DIR/answer" 'SERVING'
