# shellcheck source=linkerd.sh
source "$E2E_ROOT/linkerd/linkerd.sh"

# The same key and CSR at every renewal, each time another serial; a new intermediate
# signs the next one without a restart of anybody.
need openssl
pid=$(<"$E2E_DIR/serve.pid")
for _ in 1 2 3; do
	certify renew default.default linkerd >/dev/null
	serial "$E2E_DIR/pod-renew/tls.crt"
done | sort -u >"$E2E_DIR/serials"
[[ $(wc -l <"$E2E_DIR/serials") == 3 ]] || fail "serials are not all different"
issuer() { openssl x509 -in "$E2E_DIR/pod-renew/tls.crt" -noout -issuer; }
before=$(issuer)
"$KEDGE_BIN" intermediate renew --admin-socket "$E2E_DIR/admin.sock"
certify renew default.default linkerd
[[ $(issuer) != "$before" ]] || fail "the old intermediate still signs"
alive "$pid" || fail "the server that began is gone"
