# What the steps of this suite share.
# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

PRIMARY=$E2E_DIR/primary
export KEDGE_ADMIN_SOCKET=$PRIMARY/data/admin.sock

# port NAME prints a port that is NAME's for the whole suite.
port() {
	[[ -s "$E2E_DIR/$1.port" ]] || free_port >"$E2E_DIR/$1.port"
	cat "$E2E_DIR/$1.port"
}

# zone_config NAME ZONE [YAML…] writes the configuration of a replica.
zone_config() {
	local name=$1 zone=$2
	shift 2
	mkdir -p "$E2E_DIR/$name"
	(umask 077 && head -c 32 /dev/urandom | base64 >"$E2E_DIR/$name/keys-passphrase")
	cat >"$E2E_DIR/$name/ca.yaml" <<-YAML
		trustDomain: example.org
		dataDir: $E2E_DIR/$name/data
		listen: 127.0.0.1:$(port "$name")
		serverNames: [127.0.0.1]
		ops: {listen: 127.0.0.1:$(port "$name-ops")}
		keys: {passphrase: {file: $E2E_DIR/$name/keys-passphrase}}
		zone: {name: $zone, replica: $name}
		primary: {address: 127.0.0.1:$(port zones), tokenFile: $E2E_DIR/$name/token}
		authn: {joinTokens: true}
	YAML
	printf '%s\n' "$@" >>"$E2E_DIR/$name/ca.yaml"
}

# new_token NAME ZONE makes the token of a replica.
new_token() { (umask 077 && "$KEDGE_BIN" zones token "$2" >"$E2E_DIR/$1/token"); }

serve_primary() {
	start_server primary "$KEDGE_BIN" serve --config "$PRIMARY/ca.yaml"
	wait_ready primary "127.0.0.1:$(port primary)"
	eventually 30 listening "$(port zones)"
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# serve_replica NAME starts a replica and waits until it serves.
serve_replica() {
	start_server "$1" "$KEDGE_BIN" serve --config "$E2E_DIR/$1/ca.yaml"
	wait_ready "$1" "127.0.0.1:$(port "$1")" 30
}

# eventually SECONDS COMMAND… runs a command until it passes.
eventually() {
	local limit=$1 start=$SECONDS
	shift
	until "$@" >"$E2E_DIR/eventually.out" 2>&1; do
		((SECONDS - start <= limit)) || { cat "$E2E_DIR/eventually.out"; fail "not within $limit s: $*"; }
		sleep 0.2
	done
}

# on NAME COMMAND… runs a command against the socket of a replica.
on() {
	local name=$1
	shift
	KEDGE_ADMIN_SOCKET=$E2E_DIR/$name/data/admin.sock "$KEDGE_BIN" "$@"
}

# workload NAME OUT gets a certificate from a replica by a join token of the replica.
workload() {
	local name=$1 out=$2
	(umask 077 && on "$name" token create --identity "spiffe://example.org/vm/$(basename "$out")" >"$E2E_DIR/join" 2>/dev/null)
	"$KEDGE_BIN" issue --server "127.0.0.1:$(port "$name")" --bundle "$PRIMARY/bundle.pem" --token-file "$E2E_DIR/join" --out "$out"
	openssl verify -x509_strict -CAfile "$PRIMARY/bundle.pem" -untrusted "$out/tls.crt" "$out/tls.crt"
}

# renewal NAME OUT renews a certificate at another replica.
renewal() { "$KEDGE_BIN" renew --server "127.0.0.1:$(port "$1")" --bundle "$PRIMARY/bundle.pem" --dir "$2"; }

# log_has NAME PATTERN
log_has() { grep -aEq -- "$2" "$E2E_DIR/$1.err"; }
