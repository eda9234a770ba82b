# What the steps of this suite share.
# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# backend NAME sets the build environment of a FIPS backend, boring or native.
backend() {
	unset GOEXPERIMENT GOFIPS140 KEDGE_BIN_UNSTRIPPED
	export EXPECT_FIPS=$1 GOFLAGS=-mod=readonly CGO_ENABLED=1
	case $1 in
	boring) export GOEXPERIMENT=boringcrypto ;;
	native) export GOFIPS140=v1.0.0 ;;
	esac
	export KEDGE_BIN=$E2E_DIR/ca-$1 KEDGE_BIN_UNSTRIPPED=$E2E_DIR/ca-$1.unstripped
}

# build NAME builds the program as the Makefile does, and once with its symbols.
build() {
	backend "$1"
	cd "$REPO"
	go build -trimpath -ldflags '-s -w' -o "$KEDGE_BIN" ./cmd/ca
	go build -trimpath -o "$KEDGE_BIN_UNSTRIPPED" ./cmd/ca
	size=$(du -m "$KEDGE_BIN" | cut -f1)
	note "$1: $size MB stripped"
	((size <= 40)) || fail "the binary is larger than 40 MB"
}

# prove NAME runs the assertions of test/artefact on what build built.
prove() {
	backend "$1"
	cd "$REPO"
	go test -count=1 -v ./test/artefact/... >"$E2E_DIR/artefact-$1.out" 2>&1 || { grep -v '^=== ' "$E2E_DIR/artefact-$1.out"; fail "test/artefact fails for $1"; }
	expect "$E2E_DIR/artefact-$1.out" '^--- PASS'
	sed -nE 's/^ *--- SKIP: ([^ ]+).*/note: not for this backend: \1/p' "$E2E_DIR/artefact-$1.out"
	note "$(grep -c '^--- PASS' "$E2E_DIR/artefact-$1.out") tests pass"
}

# report NAME BACKEND checks what the binary says of itself.
report() {
	backend "$1"
	"$KEDGE_BIN" fips -o json >"$E2E_DIR/report-$1.json"
	[[ $(json_value verdict <"$E2E_DIR/report-$1.json") == approved-mode ]] || fail "the verdict is $(json_value verdict <"$E2E_DIR/report-$1.json")"
	[[ $(json_value backend <"$E2E_DIR/report-$1.json") == "$2" ]] || fail "the backend is $(json_value backend <"$E2E_DIR/report-$1.json")"
	[[ $(json_value exe_sha256 <"$E2E_DIR/report-$1.json") == "$(sha256sum "$KEDGE_BIN" | cut -d' ' -f1)" ]] || fail "the report is of another file"
	[[ $(json_value insecure_nofips <"$E2E_DIR/report-$1.json") == false ]] || fail "built with the insecure tag"
	absent "$E2E_DIR/report-$1.json" '"ok":false'
	note "$(json_value backend <"$E2E_DIR/report-$1.json"), CMVP $(json_value cmvp <"$E2E_DIR/report-$1.json"), $(grep -o '"ok":true' "$E2E_DIR/report-$1.json" | wc -l) self-tests"
}

# serves NAME issues and verifies a certificate with this binary as server, and with
# the one of the other backend as client.
serves() {
	local port bin other
	backend "$1"
	bin=$KEDGE_BIN other=$2
	port=$(free_port)
	start_server "dev-$1" "$bin" dev --dir "$E2E_DIR/dev-$1" --listen "127.0.0.1:$port"
	wait_ready "dev-$1" "127.0.0.1:$port"
	for client in "$bin" "$E2E_DIR/ca-$other"; do
		"$client" issue --server "127.0.0.1:$port" --bundle "$E2E_DIR/dev-$1/bundle.pem" --token-file "$E2E_DIR/dev-$1/token" --out "$E2E_DIR/out-$1"
		"$client" renew --server "127.0.0.1:$port" --bundle "$E2E_DIR/dev-$1/bundle.pem" --dir "$E2E_DIR/out-$1"
		openssl verify -CAfile "$E2E_DIR/out-$1/bundle.pem" -untrusted "$E2E_DIR/out-$1/tls.crt" "$E2E_DIR/out-$1/tls.crt"
	done
	stop_server "$E2E_DIR/dev-$1.pid"
}
