# What the steps of this suite share.
# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

YEARS=$((365 * 24)) # in hours

# shifted prints the path of a ca whose clock is off by E2E_SHIFT hours. It is the
# same program with one line changed at build time, in main.go, where the clock
# enters: the binary under test has no such switch.
shifted() {
	local copy=$E2E_CACHE/shifted-main.go
	sed 's/now: time\.Now,/now: shiftedNow,/' "$REPO/cmd/ca/main.go" >"$copy"
	! cmp -s "$copy" "$REPO/cmd/ca/main.go" || fail "cmd/ca/main.go does not take its clock where this suite changes it"
	cat >>"$copy" <<-'GO'

		func shiftedNow() time.Time {
			shift, err := time.ParseDuration(os.Getenv("E2E_SHIFT"))
			if err != nil {
				panic(err)
			}
			return time.Now().Add(shift)
		}
	GO
	echo "{\"Replace\":{\"$REPO/cmd/ca/main.go\":\"$copy\"}}" >"$E2E_CACHE/overlay.json"
	(
		cd "$REPO"
		unset GOFIPS140
		export GOFLAGS=-mod=readonly GOEXPERIMENT=boringcrypto CGO_ENABLED=1
		nice -n 10 go build -overlay "$E2E_CACHE/overlay.json" -o "$E2E_CACHE/ca-shifted" ./cmd/ca >&2
	)
	echo "$E2E_CACHE/ca-shifted"
}

# with_clock HOURS COMMAND… runs the shifted ca.
with_clock() {
	E2E_SHIFT=$1h "$E2E_CACHE/ca-shifted" "${@:2}"
}

# operator runs a command over the local socket; its output is in E2E_DIR/operator.out.
operator() { "$KEDGE_BIN" "$@" --admin-socket "$E2E_DIR/admin.sock" >"$E2E_DIR/operator.out" 2>&1; }

# issue_by BUNDLE OUT gets a certificate from ca serve.
issue_by() { "$KEDGE_BIN" issue --server "$LISTEN" --bundle "$1" --token-file "$E2E_DIR/tokens/good" --out "$2"; }

# make_authority_at HOURS makes the authority as it was made that long from now.
make_authority_at() {
	shifted >/dev/null
	rm -rf "$E2E_DIR/data" "$E2E_DIR/secrets"
	export E2E_SHIFT=$1h
	INIT_BIN=$E2E_CACHE/ca-shifted make_authority
	unset E2E_SHIFT
}
