# What the steps of every suite share. A step is run by test/e2e/run with bash
# -euo pipefail, standard input closed, in this environment:
#   KEDGE_BIN  the binary under test      E2E_DIR    the suite's own directory
#   LISTEN     address for a server, and its PORT; OPS_PORT for its metrics
#   E2E_CACHE  built tools                REPO       the checkout
# It passes by exit code 0, is skipped by calling skip, and fails otherwise. Lines
# that begin with "note: " are printed beneath the step's line.

SKIPPED=77

fail() { echo "FAIL: $*"; exit 1; }
note() { echo "note: $*"; }
skip() { echo "skip: $*"; exit $SKIPPED; }

# need skips the step when a program is missing.
need() {
	local program
	for program in "$@"; do
		command -v "$program" >/dev/null || skip "$program is not installed"
	done
}

# refused runs a command that must fail, and shows its output.
refused() {
	local code=0
	"$@" >"$E2E_DIR/refused.out" 2>&1 || code=$?
	cat "$E2E_DIR/refused.out"
	[[ $code -ne 0 ]] || fail "was not refused: $*"
}

# expect demands that a file holds a line that matches an extended regular expression.
expect() {
	grep -aEq -- "$2" "$1" || { sed 's/^/  /' "$1" | head -60; fail "$1 has nothing like: $2"; }
}

# absent demands that it holds none.
absent() {
	! grep -aEq -- "$2" "$1" || { grep -aEn -- "$2" "$1" | head -5; fail "$1 holds: $2"; }
}

# free_port prints a port below the ephemeral range that nobody listens on.
free_port() {
	local port
	while :; do
		port=$((20000 + RANDOM % 12000))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
	done
}

# json_value prints the first scalar of a key in the JSON on standard input, which
# the commands print on one line; this needs no program that CI may not have.
json_value() {
	grep -oE "\"$1\":(\"[^\"]*\"|[^,}\"]*)" | head -1 | cut -d: -f2- | tr -d '"'
}

# start_server starts a command in the background: start_server NAME COMMAND…. Its
# output goes to NAME.out and NAME.err, its process id to NAME.pid in E2E_DIR.
start_server() {
	local name=$1
	shift
	# In a session of its own, so that the end of the step does not end it.
	setsid "$@" >"$E2E_DIR/$name.out" 2>"$E2E_DIR/$name.err" </dev/null &
	echo $! >"$E2E_DIR/$name.pid"
}

# wait_ready waits until a server that start_server started says that it serves
# (ca dev on standard output, ca serve in its log) and accepts connections at an
# address: wait_ready NAME ADDRESS [SECONDS].
wait_ready() {
	local name=$1 address=$2 limit=${3:-15} start=$SECONDS
	until grep -q -e '^ready: ' -e '"msg":"serving"' "$E2E_DIR/$name.out" "$E2E_DIR/$name.err" 2>/dev/null && (exec 3<>"/dev/tcp/${address%:*}/${address##*:}") 2>/dev/null; do
		if ! alive "$(<"$E2E_DIR/$name.pid")"; then
			tail -20 "$E2E_DIR/$name.err"
			fail "$name ended before it was ready"
		fi
		((SECONDS - start <= limit)) || { tail -20 "$E2E_DIR/$name.err"; fail "$name was not ready after $limit s"; }
		sleep 0.02
	done
}

# start_dev starts ca dev in E2E_DIR/dev on LISTEN and waits until it is ready.
start_dev() {
	start_server dev "$KEDGE_BIN" dev --dir "$E2E_DIR/dev" --listen "$LISTEN" "$@"
	wait_ready dev "$LISTEN"
}

# issue gets a certificate from the server of start_dev: issue OUT [flag…].
issue() {
	local out=$1
	shift
	"$KEDGE_BIN" issue --server "$LISTEN" --bundle "$E2E_DIR/dev/bundle.pem" --token-file "$E2E_DIR/dev/token" --out "$out" "$@"
}

# admin runs a command that talks to the server of start_dev by its local socket.
admin() { "$KEDGE_BIN" "$@" --admin-socket "$E2E_DIR/dev/admin.sock"; }

# alive tells whether a process runs. A zombie does not, once its last thread is
# gone and its files are closed: init may reap it late.
alive() {
	local tasks
	grep -q '^[0-9]* (.*) Z ' "/proc/$1/stat" 2>/dev/null || { [[ -e /proc/$1 ]]; return; }
	tasks=("/proc/$1/task/"*)
	((${#tasks[@]} > 1))
}

# stop_server ends the process of a pid file, gently first: stop_server FILE.
stop_server() {
	local pid
	[[ -s "$1" ]] || return 0
	pid=$(<"$1")
	rm -f "$1"
	kill -TERM "$pid" 2>/dev/null || return 0
	for _ in $(seq 1000); do
		alive "$pid" || return 0
		sleep 0.02
	done
	kill -KILL "$pid" 2>/dev/null || true
}

# stop_all ends every server of the suite.
stop_all() {
	local pid_file
	for pid_file in "$E2E_DIR"/*.pid; do stop_server "$pid_file"; done
}

# pem_count prints how many certificates a file holds.
pem_count() { grep -c 'BEGIN CERTIFICATE' "$1"; }

# serial prints the serial of the first certificate of a file, lower case.
serial() { openssl x509 -in "$1" -noout -serial | cut -d= -f2 | tr 'A-F' 'a-f'; }

# tool builds a pinned test tool from the nested module test/tools/MODULE, or a
# package of this one, and prints its path: tool NAME MODULE|. PACKAGE.
tool() {
	local name=$1 module=$2 package=$3
	mkdir -p "$E2E_CACHE"
	(
		cd "$REPO/$([[ $module == . ]] || echo "test/tools/$module")"
		unset GOEXPERIMENT GOFIPS140
		export GOFLAGS=-mod=readonly GOWORK=off
		if [[ $module == . ]]; then export GOEXPERIMENT=boringcrypto CGO_ENABLED=1; fi
		nice -n 10 go build -trimpath -o "$E2E_CACHE/$name" "$package" >&2
	)
	echo "$E2E_CACHE/$name"
}

# test_tool builds the tests of a nested module into one program: test_tool MODULE.
test_tool() {
	(
		cd "$REPO/test/tools/$1"
		unset GOEXPERIMENT GOFIPS140
		export GOFLAGS=-mod=readonly GOWORK=off
		nice -n 10 go test -c -trimpath -o "$E2E_CACHE/$1.test" . >&2
	)
	echo "$E2E_CACHE/$1.test"
}

# probe prints the path of the clients written for these suites (test/e2e/probe).
probe() { tool probe . ./test/e2e/probe; }

# make_stranger makes a trust anchor that has nothing to do with Kedge, once:
# E2E_DIR/stranger.pem, with its key beside it.
make_stranger() {
	[[ -e "$E2E_DIR/stranger.pem" ]] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-keyout "$E2E_DIR/stranger.key" -subj /CN=stranger -days 1 -out "$E2E_DIR/stranger.pem" 2>/dev/null
}

# make_authority makes an authority under E2E_DIR/data with an issuer of tokens of
# its own, and a configuration for ca serve on LISTEN with metrics on OPS_PORT:
# make_authority [YAML…] adds lines to the configuration.
make_authority() {
	"$(probe)" tokens --dir "$E2E_DIR/tokens"
	"${INIT_BIN:-$KEDGE_BIN}" init --trust-domain cluster.local --data-dir "$E2E_DIR/data" --generate-passphrases "$E2E_DIR/secrets"
	write_config "$@"
	cat "$E2E_DIR"/data/root/root.pem "$E2E_DIR"/data/standby/root.pem >"$E2E_DIR/bundle.pem"
}

# write_config writes E2E_DIR/ca.yaml for what make_authority made.
write_config() {
	cat >"$E2E_DIR/ca.yaml" <<-YAML
		trustDomain: cluster.local
		dataDir: $E2E_DIR/data
		listen: $LISTEN
		adminSocket: $E2E_DIR/admin.sock
		serverNames: [localhost, 127.0.0.1]
		keys: {passphrase: {file: $E2E_DIR/secrets/keys-passphrase}}
		root: {type: local, passphrase: {file: $E2E_DIR/secrets/root-passphrase}}
		authn:
		  joinTokens: true
		  kubernetes:
		    - cluster: Kubernetes
		      default: true
		      issuer: https://dev.kedge.invalid
		      audiences: [istio-ca]
		      jwks: {file: $E2E_DIR/tokens/jwks.json}
	YAML
	if (($# == 0)); then set -- "ops: {listen: 127.0.0.1:$OPS_PORT}"; fi
	printf '%s\n' "$@" >>"$E2E_DIR/ca.yaml"
}

# serve starts ca serve with that configuration and waits until it serves.
serve() {
	start_server serve "$KEDGE_BIN" serve --config "$E2E_DIR/ca.yaml"
	wait_ready serve "$LISTEN"
}

# istio_test runs the tests of test/tools/istio whose names begin so, and demands
# that there are some.
istio_test() {
	(cd "$E2E_DIR" && TMPDIR=$E2E_DIR "$E2E_CACHE/istio.test" -test.v -test.timeout 10m -test.run "^$1") >"$E2E_DIR/$1.out" 2>&1 ||
		{ grep -v 'citadelclient\|cache' "$E2E_DIR/$1.out"; fail "$1"; }
	expect "$E2E_DIR/$1.out" '^--- PASS'
}
