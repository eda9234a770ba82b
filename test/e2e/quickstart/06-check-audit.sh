# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# Both certificates are on record, with what proved their callers, and the chain
# of records is whole.
for file in my-workload renewed; do
	admin audit search -o json --serial "$(serial "$E2E_DIR/$file/tls.crt")" | tee "$E2E_DIR/$file.json"
	[[ $(wc -l <"$E2E_DIR/$file.json") == 1 ]] || fail "not exactly one record"
	[[ $(json_value identity <"$E2E_DIR/$file.json") == spiffe://cluster.local/ns/default/sa/default ]] || fail "wrong identity"
done
expect "$E2E_DIR/my-workload.json" '"method":"kubernetes"'
expect "$E2E_DIR/my-workload.json" '"subject":"system:serviceaccount:default:default"'
expect "$E2E_DIR/renewed.json" '"method":"certificate"'
absent "$E2E_DIR/my-workload.json" "$(cut -d. -f3 "$E2E_DIR/dev/token")"
admin audit tail -n 5
admin audit verify
