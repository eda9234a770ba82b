# shellcheck source=upstream.sh
source "$E2E_ROOT/upstream/upstream.sh"

# Both conformance suites against softcas, software keys, SoftHSM2, a TPM that swtpm
# plays, and step-ca.
need swtpm
unset SOFTHSM2_CONF GOFIPS140
"$REPO/test/tools/server" stepca >/dev/null
cd "$REPO/cmd/ca-upstream"
GOFLAGS=-mod=readonly GOEXPERIMENT=boringcrypto CGO_ENABLED=1 nice -n 10 go test -count=1 -v ./... >"$E2E_DIR/go.out" 2>&1 || { tail -60 "$E2E_DIR/go.out"; fail "the tests of cmd/ca-upstream"; }
grep -E '^(ok|---)' "$E2E_DIR/go.out"
if grep -q -e '--- SKIP' "$E2E_DIR/go.out"; then
	grep -B1 -e '--- SKIP' "$E2E_DIR/go.out"
	fail "a test of cmd/ca-upstream was skipped, with everything that it needs here"
fi
