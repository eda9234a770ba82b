# shellcheck source=call.sh
source "$E2E_ROOT/grpc/call.sh"

# What is not served: no reflection, no admin service on the network, only for its
# own user on the local socket.
# unserved FLAG… ADDRESS… demands that grpcurl gets nothing, and keeps what it says.
unserved() {
	if "$E2E_CACHE/grpcurl" -cacert "$E2E_DIR/bundle.pem" "$@" >"$E2E_DIR/answer" 2>&1; then
		cat "$E2E_DIR/answer"
		fail "is served: $*"
	fi
}
unserved "$LISTEN" list
expect "$E2E_DIR/answer" 'does not support the reflection API'
unserved -import-path "$REPO/api" -proto kedge/v1/admin.proto -format-error "$LISTEN" kedge.v1.Admin/Status
expect "$E2E_DIR/answer" '"code": 12'
[[ $(stat -c %a "$E2E_DIR/admin.sock") == 600 ]] || fail "the local socket is open to others"
"$E2E_CACHE/grpcurl" -plaintext -unix -import-path "$REPO/api" -proto kedge/v1/admin.proto "$E2E_DIR/admin.sock" kedge.v1.Admin/Status >"$E2E_DIR/answer"
expect "$E2E_DIR/answer" '"ready": true'
