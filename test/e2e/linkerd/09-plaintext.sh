# shellcheck source=linkerd.sh
source "$E2E_ROOT/linkerd/linkerd.sh"

# Without TLS, for a proxy of the same pod: on loopback, and nowhere else.
stop_server "$E2E_DIR/serve.pid"
for address in 0.0.0.0 "" 192.0.2.1 localhost '[::]'; do
	write_config "linkerd: {listen: \"$address:8080\", plaintext: true}"
	refused "$KEDGE_BIN" config validate "$E2E_DIR/ca.yaml"
	expect "$E2E_DIR/refused.out" 'ca.yaml:[0-9]+:[0-9]+: linkerd.listen: .*loopback'
done
write_config "ops: {listen: 127.0.0.1:$OPS_PORT}" "linkerd: {listen: \"$DOOR\", plaintext: true}"
serve
certify plain default.default linkerd --kind plaintext
refused certify plain default.default linkerd
