# shellcheck source=backend.sh
source "$E2E_ROOT/artefact/backend.sh"

# A build without a module does not exist: it does not compile, and with the tag that
# says so it does not pass for FIPS.
cd "$REPO"
unset GOEXPERIMENT GOFIPS140
refused env CGO_ENABLED=0 go build -o "$E2E_DIR/ca-plain" ./cmd/ca
CGO_ENABLED=0 go build -tags insecure_nofips -o "$E2E_DIR/ca-insecure" ./cmd/ca
"$E2E_DIR/ca-insecure" version | tee "$E2E_DIR/version.out"
expect "$E2E_DIR/version.out" 'insecure-nofips'
"$E2E_DIR/ca-insecure" fips -o json >"$E2E_DIR/report-insecure.json" || true
[[ $(json_value verdict <"$E2E_DIR/report-insecure.json") != approved-mode ]] || fail "a plain build says approved-mode"
refused env KEDGE_BIN="$E2E_DIR/ca-insecure" "$E2E_ROOT/run" quickstart
expect "$E2E_DIR/refused.out" 'not in FIPS mode'
