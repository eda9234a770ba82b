# shellcheck source=upstream.sh
source "$E2E_ROOT/upstream/upstream.sh"

# The root in a TPM, played by swtpm, which goes away and comes back with what a chip
# keeps without power.
need swtpm openssl
dir=$E2E_DIR/tpm
(umask 077 && mkdir -p "$dir/state" "$dir/run")

start_tpm() {
	start_server tpm swtpm socket --tpm2 --flags not-need-init,startup-clear --tpmstate "dir=$dir/state" --server "type=unixio,path=$dir/tpm.sock"
	for _ in $(seq 200); do
		[[ -S $dir/tpm.sock ]] && return
		sleep 0.05
	done
	fail "swtpm made no socket: $(cat "$E2E_DIR/tpm.err")"
}

stop_server "$E2E_DIR/serve.pid"
stop_server "$E2E_DIR/upstream.pid"
start_tpm
cat >"$E2E_DIR/upstream.yaml" <<-YAML
	trust_domain: cluster.local
	socket: $SOCKET
	kms:
	  uri: "tpmkms:device=$dir/tpm.sock;storage-directory=$dir/keys"
	  root_key: "tpmkms:name=root"
	  root_certificate: $dir/root.pem
YAML
"$UPSTREAM" root --config "$E2E_DIR/upstream.yaml" --create
refused "$UPSTREAM" root --config "$E2E_DIR/upstream.yaml" --create
openssl verify -CAfile "$dir/root.pem" "$dir/root.pem"
start_upstream
"$KEDGE_BIN" init --trust-domain cluster.local --data-dir "$dir/data" --config "$dir/ca.yaml" \
	--generate-passphrases "$dir/secrets" --listen "$LISTEN" --server-name 127.0.0.1 \
	--root upstream --upstream-socket "$SOCKET"
start_server serve "$KEDGE_BIN" serve --config "$dir/ca.yaml"
wait_ready serve "$LISTEN"
kedge_issue "$dir/w1" "$dir"
openssl verify -x509_strict -CAfile "$dir/root.pem" -untrusted "$dir/w1/tls.crt" "$dir/w1/tls.crt"

# Without the TPM issuance goes on and the renewal says why it waits.
stop_server "$E2E_DIR/tpm.pid"
kedge_issue "$dir/w2" "$dir"
refused renew "$dir"
expect "$E2E_DIR/refused.out" '^code: root_'
start_tpm
renew "$dir"
kedge_issue "$dir/w3" "$dir"
openssl verify -x509_strict -CAfile "$dir/root.pem" -untrusted "$dir/w3/tls.crt" "$dir/w3/tls.crt"
