# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# A machine without a cluster: a token that works once.
admin token create -o json --identity spiffe://cluster.local/machines/printer --ttl 10m | tee "$E2E_DIR/join.json"
grep -oE 'kedge-join-[A-Za-z0-9_-]+' "$E2E_DIR/join.json" | head -1 >"$E2E_DIR/join"
chmod 600 "$E2E_DIR/join"
join() { "$KEDGE_BIN" issue --server "$LISTEN" --bundle "$E2E_DIR/dev/bundle.pem" --token-file "$E2E_DIR/join" --out "$1"; }
join "$E2E_DIR/printer"
expect <(openssl x509 -in "$E2E_DIR/printer/tls.crt" -noout -ext subjectAltName) 'URI:spiffe://cluster.local/machines/printer$'
refused join "$E2E_DIR/printer2"
expect "$E2E_DIR/refused.out" '^code: token_used$'
# Renewal afterwards is by certificate.
"$KEDGE_BIN" renew --server "$LISTEN" --bundle "$E2E_DIR/dev/bundle.pem" --dir "$E2E_DIR/printer"
