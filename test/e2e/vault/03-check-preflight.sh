# shellcheck source=vault.sh
source "$E2E_ROOT/vault/vault.sh"

# With exactly the printed policy, everything that the server will ask is permitted,
# and a preflight makes no certificate.
for mode in "${MODES[@]}"; do
	before=$(vault list pki/certs | wc -l)
	"$KEDGE_BIN" vault preflight --config "$E2E_DIR/$mode/ca.yaml" >"$E2E_DIR/preflight.out" || { cat "$E2E_DIR/preflight.out"; fail "preflight of $mode"; }
	cat "$E2E_DIR/preflight.out"
	absent "$E2E_DIR/preflight.out" '×|‼'
	for id in root-reachable root-clock root-login root-token-life root-issuer root-bundle root-permissions; do
		expect "$E2E_DIR/preflight.out" "√ $id"
	done
	[[ $(vault list pki/certs | wc -l) == "$before" ]] || fail "the preflight made a certificate"
done
