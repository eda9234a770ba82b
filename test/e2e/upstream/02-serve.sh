# shellcheck source=upstream.sh
source "$E2E_ROOT/upstream/upstream.sh"

# An authority under the token's root, and a certificate by OpenSSL.
start_upstream
"$KEDGE_BIN" init --trust-domain cluster.local --data-dir "$E2E_DIR/data" --config "$E2E_DIR/ca.yaml" \
	--generate-passphrases "$E2E_DIR/secrets" --listen "$LISTEN" --server-name 127.0.0.1 \
	--root upstream --upstream-socket "$SOCKET"
echo "ops: {listen: 127.0.0.1:$OPS_PORT}" >>"$E2E_DIR/ca.yaml"
[[ ! -e $E2E_DIR/data/root ]] || fail "there is a root on this side"
start_server serve "$KEDGE_BIN" serve --config "$E2E_DIR/ca.yaml"
wait_ready serve "$LISTEN"
kedge_issue "$E2E_DIR/w1"
openssl verify -x509_strict -CAfile "$E2E_DIR/root.pem" -untrusted "$E2E_DIR/w1/tls.crt" "$E2E_DIR/w1/tls.crt"
renew
"$KEDGE_BIN" check --config "$E2E_DIR/ca.yaml" --admin-socket "$E2E_DIR/data/admin.sock" | tee "$E2E_DIR/check"
expect "$E2E_DIR/check" '√ root-reachable'
