# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# The evidence: of the binary, of the running process, and signed.
"$KEDGE_BIN" fips
"$KEDGE_BIN" fips -o json >"$E2E_DIR/fips.json"
[[ $(json_value verdict <"$E2E_DIR/fips.json") == approved-mode ]] || fail "the binary is not in FIPS mode"
admin fips --server -o json >"$E2E_DIR/fips-server.json"
[[ $(json_value verdict <"$E2E_DIR/fips-server.json") == approved-mode ]] || fail "the process is not in FIPS mode"
admin fips --sign >"$E2E_DIR/signed.json"
"$KEDGE_BIN" fips verify "$E2E_DIR/signed.json" --bundle "$E2E_DIR/dev/bundle.pem"
make_stranger
# One character of the signed report changed, and a signer of another authority.
sed -E 's/("payload": "[^"]{40})[^A]/\1A/; t; s/("payload": "[^"]{40})A/\1B/' "$E2E_DIR/signed.json" >"$E2E_DIR/changed.json"
refused "$KEDGE_BIN" fips verify "$E2E_DIR/changed.json" --bundle "$E2E_DIR/dev/bundle.pem"
expect "$E2E_DIR/refused.out" 'signature'
refused "$KEDGE_BIN" fips verify "$E2E_DIR/signed.json" --bundle "$E2E_DIR/stranger.pem"
