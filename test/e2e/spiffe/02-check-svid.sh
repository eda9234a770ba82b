# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# go-spiffe parses, verifies and uses them.
KEDGE_ISSUED=$E2E_DIR/issued KEDGE_OTHER=$E2E_DIR/other-issued "$(test_tool spiffe)" -test.v | tee "$E2E_DIR/spiffe.out"
expect "$E2E_DIR/spiffe.out" '^PASS'
