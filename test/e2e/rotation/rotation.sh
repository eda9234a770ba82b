# What the steps of this suite share: a primary and two zones of two replicas, each site
# in a network of its own, and a workload beside each replica that calls all the others.
# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# In the programs of this suite time runs SCALE times as fast as here: leaves of five
# minutes live for one. Everything that is awaited here is in real seconds.
SCALE=${KEDGE_ROTATION_SCALE:-5}
DOMAIN=example.org
LEAF=5m
ROOTS=$E2E_DIR/roots # the local roots that the primary reaches, each in a directory
BIN=$E2E_DIR/bin
CA=$BIN/ca
ADDRESSES=$E2E_DIR/addresses

# Replicas are called after their site, and so are the workloads beside them: eu-a is
# replica a of site eu.
SITES=(primary eu us)
REPLICAS=(primary-a eu-a eu-b us-a us-b)
site() { echo "${1%-*}"; }
zone() { [[ $1 == primary* ]] && echo primary || echo "$(site "$1")-1"; }

# fast exports the clock of a name, which is that of all unless set_back or set_ahead
# has given it another.
fast() {
	KEDGE_TIME_EPOCH=$(cat "$E2E_DIR/epoch.$1" 2>/dev/null || cat "$E2E_DIR/epoch") KEDGE_TIME_SCALE=$SCALE
	export KEDGE_TIME_EPOCH KEDGE_TIME_SCALE
}

# shift_clock NAME SECONDS gives a program a clock that is so far off, from its next
# start on; 0 is right again.
shift_clock() {
	local epoch
	epoch=$(<"$E2E_DIR/epoch")
	echo $((epoch - $2 / (SCALE - 1))) >"$E2E_DIR/epoch.$1"
}

# port NAME prints a port that is NAME's for the whole suite.
port() {
	[[ -s "$E2E_DIR/$1.port" ]] || free_port >"$E2E_DIR/$1.port"
	cat "$E2E_DIR/$1.port"
}

# make_networks gives each site a network namespace of its own, with a hub between that
# forwards; without the right to, all share loopback, and what cuts the network is skipped.
make_networks() {
	local site n=0 hub=$NETWORK-hub
	if ! ip netns add "$hub" 2>"$E2E_DIR/netns.err"; then
		note "all on loopback: $(head -1 "$E2E_DIR/netns.err")"
		for site in "${SITES[@]}"; do echo 127.0.0.1 >"$ADDRESSES.$site"; done
		return
	fi
	touch "$E2E_DIR/netns"
	ip netns exec "$hub" sysctl -qw net.ipv4.ip_forward=1
	for site in "${SITES[@]}"; do
		n=$((n + 1))
		ip netns add "$NETWORK-$site"
		ip -n "$hub" link add "$site" type veth peer name net0 netns "$NETWORK-$site"
		ip -n "$hub" addr add "10.77.$n.1/24" dev "$site"
		ip -n "$hub" link set "$site" up
		ip -n "$NETWORK-$site" addr add "10.77.$n.2/24" dev net0
		ip -n "$NETWORK-$site" link set lo up
		ip -n "$NETWORK-$site" link set net0 up
		ip -n "$NETWORK-$site" route add default via "10.77.$n.1"
		echo "10.77.$n.2" >"$ADDRESSES.$site"
	done
}
NETWORK=kedge-${PORT:-0}
has_networks() { [[ -e "$E2E_DIR/netns" ]]; }
need_networks() { has_networks || skip "this needs network namespaces: $(head -1 "$E2E_DIR/netns.err")"; }
address() { cat "$ADDRESSES.$(site "$1")"; }

# in_site SITE prints the words that run a command there.
in_site() { if has_networks; then echo "ip netns exec $NETWORK-$1"; fi; }

# isolate SITE ends what goes to and from a site; mute what it sends, deafen what is
# sent to it; mend lets all through again.
isolate() { ip -n "$NETWORK-hub" link set "$1" down; }
mute() { ip -n "$NETWORK-$1" route replace blackhole default metric 1 && ip -n "$NETWORK-$1" route del default via "$(gateway "$1")" 2>/dev/null || true; }
deafen() { ip -n "$NETWORK-hub" route add blackhole "$(address "$1")/32"; }
gateway() { address "$1" | sed 's/2$/1/'; }
mend() {
	ip -n "$NETWORK-hub" link set "$1" up
	ip -n "$NETWORK-hub" route del blackhole "$(address "$1")/32" 2>/dev/null || true
	ip -n "$NETWORK-$1" route del blackhole default 2>/dev/null || true
	ip -n "$NETWORK-$1" route replace default via "$(gateway "$1")"
}

# ca COMMAND… asks the primary, on NAME COMMAND… the server of that name.
ca() { (fast cli && exec "$CA" "$@" --admin-socket "$E2E_DIR/${PRIMARY:-primary-a}/data/admin.sock"); }
on() {
	local name=$1
	shift
	(fast cli && exec "$CA" "$@" --admin-socket "$E2E_DIR/$name/data/admin.sock")
}

# config NAME [YAML…] writes the configuration of a replica, beside what makes it a
# primary or a zone.
config() {
	local name=$1 dir=$E2E_DIR/$1
	shift
	cat >"$dir/ca.yaml" <<-YAML
		trustDomain: $DOMAIN
		dataDir: $dir/data
		listen: $(address "$name"):$(port "$name")
		serverNames: [$(address "$name")]
		ops: {listen: "127.0.0.1:$(port "$name-ops")"}
		keys: {passphrase: {file: $dir/secrets/keys-passphrase}}
		zone: {name: $(zone "$name"), replica: ${name##*-}}
		intermediate: {lifetime: 48h}
		profiles: [{name: workload, defaultTTL: $LEAF, maxTTL: $LEAF}]
		authn:
		  joinTokens: true
		  kubernetes:
		    - cluster: Kubernetes
		      default: true
		      issuer: https://dev.kedge.invalid
		      audiences: [istio-ca]
		      jwks: {file: $E2E_DIR/tokens/jwks.json}
	YAML
	printf '%s\n' "$@" >>"$dir/ca.yaml"
}

# serve NAME starts a server and waits until it serves.
serve() {
	local name=$1
	# shellcheck disable=SC2046 # words
	(fast "$name" && start_server "$name" $(in_site "$(site "$name")") "$CA" serve --config "$E2E_DIR/$name/ca.yaml")
	within 30 log_has "$name" '"msg":"serving"'
	[[ $name != primary* ]] || within 30 on "$name" zones list
}

# kill_server NAME ends a server with kill -9.
kill_server() {
	kill -KILL "$(<"$E2E_DIR/$1.pid")"
	cp "$E2E_DIR/$1.err" "$E2E_DIR/$1.err.$EPOCHREALTIME" # of its life
}

# within SECONDS COMMAND… runs a command until it passes.
within() {
	local limit=$1 start=$SECONDS
	shift
	until "$@" >"$E2E_DIR/within.out" 2>&1; do
		((SECONDS - start <= limit)) || { cat "$E2E_DIR/within.out"; describe; fail "not within $limit s: $*"; }
		sleep 0.1
	done
}

# log_has NAME PATTERN
log_has() { grep -aEq -- "$2" "$E2E_DIR/$1.err"; }

# describe prints what somebody wants to see who looks after a failure.
describe() {
	ca rotate status || true
	ca zones list || true
	tail -n 3 "$E2E_DIR"/*.err | cut -c1-300
	tail -n 2 "$E2E_DIR"/ping-*.out
}

# workload NAME starts a workload beside a replica: it calls all the others, with a new
# handshake for each call, verifies them and is verified.
workload() {
	local name=$1 other peers=()
	for other in "${REPLICAS[@]}"; do
		[[ $other == "$name" ]] || peers+=("$(address "$other"):$(port "ping-$other")")
	done
	(umask 077 && on "$name" token create --identity "spiffe://$DOMAIN/vm/$name" >"$E2E_DIR/$name.join")
	ca bundle export --out "$E2E_DIR/$name.bundle.pem"
	# shellcheck disable=SC2046 # words
	(
		fast "ping-$name"
		start_server "ping-$name" $(in_site "$(site "$name")") "$BIN/pingpong" --server "$(address "$name"):$(port "$name")" \
			--bundle "$E2E_DIR/$name.bundle.pem" --token-file "$E2E_DIR/$name.join" --listen "$(address "$name"):$(port "ping-$name")" \
			--peer "$(IFS=,; echo "${peers[*]}")" --ttl "$LEAF" --every "${EVERY:-3s}" --report 10s
	)
}

# tally NUMBER prints a sum over all workloads' last lines: 1 calls, 2 answers, 3 failed.
tally() {
	local name
	for name in "${REPLICAS[@]}"; do
		grep -aE '[0-9]+ calls, ' "$E2E_DIR/ping-$name.out" | tail -1 || true
	done | sed -E 's/^[^ ]+ (end: )?([0-9]+) calls, ([0-9]+) answers, ([0-9]+) failed.*/\2 \3 \4/' | awk -v n="$1" '{sum += $n} END {print sum + 0}'
}

# steady begins a count of calls; no_failure STEP demands that there were some since,
# between all, and that none failed.
steady() { tally 1 >"$E2E_DIR/steady"; }
no_failure() {
	local failed calls name
	sleep 1 # what they count is a second old
	failed=$(tally 3) calls=$(($(tally 1) - $(<"$E2E_DIR/steady")))
	if ((failed > 0)); then
		for name in "${REPLICAS[@]}"; do tail -n 1 "$E2E_DIR/ping-$name.out"; done
		describe
		fail "$failed handshakes failed"
	fi
	for name in "${REPLICAS[@]}"; do
		alive "$(<"$E2E_DIR/ping-$name.pid")" || { cat "$E2E_DIR/ping-$name.err"; fail "the workload of $name ended"; }
	done
	((calls >= ${1:-100})) || { describe; fail "only $calls calls"; }
	note "$calls calls, 0 failed"
}

# phase prints the phase of the last rotation; in_phase demands one of some.
phase() { ca rotate status -o json 2>/dev/null | json_value phase; }
in_phase() {
	local now
	now=$(phase)
	[[ " $* " == *" $now "* ]]
}

# new_root makes a local root in a directory of its own under ROOTS and prints its number;
# anchor NUMBER prints the id of its anchor.
new_root() {
	local n
	mkdir -p "$ROOTS"
	n=$(($(find "$ROOTS" -mindepth 1 -maxdepth 1 | wc -l) + 1))
	(fast cli && "$CA" init --trust-domain "$DOMAIN" --data-dir "$ROOTS/$n" --generate-passphrases "$ROOTS/$n/secrets" --config "$ROOTS/$n/ca.yaml") >&2
	echo "$n"
}
anchor() { openssl x509 -in "$ROOTS/$1/root/root.pem" -outform DER | openssl dgst -sha256 -r | cut -d' ' -f1; }

# configure_primary NAME ACTIVE NEXT writes the configuration of a process of the primary
# that signs under one root and can move to the next.
configure_primary() {
	local name=$1
	config "$name" "zones: {listen: \"$(address "$name"):$(port "$name-zones")\"}" \
		"root: {type: local, dir: $ROOTS/$2/root, passphrase: {file: $ROOTS/$2/secrets/root-passphrase}}" \
		"nextRoot: {type: local, dir: $ROOTS/$3/root, passphrase: {file: $ROOTS/$3/secrets/root-passphrase}}" \
		"rotation: {mode: ${MODE:-auto}, dwell: 1s, skew: ${SKEW:-10s}, schedule: false}"
}

# next_root has the primary reach the root that is active and a new one, which nobody
# has seen, and prints its anchor.
next_root() {
	local active next
	next=$(new_root)
	active=$(active_root)
	configure_primary primary-a "$active" "$next"
	stop_server "$E2E_DIR/primary-a.pid" >&2
	serve primary-a >&2
	anchor "$next"
}

# active_root prints the number of the root that signs.
active_root() {
	local n signer
	signer=$(ca rotate status -o json | json_value signer)
	for n in $(ls "$ROOTS"); do
		[[ $(anchor "$n") != "$signer" ]] || { echo "$n"; return; }
	done
	fail "no root is $signer"
}

# zone_replica NAME makes a replica of a zone, with a token.
zone_replica() {
	local name=$1
	mkdir -p "$E2E_DIR/$name/secrets"
	(umask 077 && head -c 32 /dev/urandom | base64 >"$E2E_DIR/$name/secrets/keys-passphrase")
	(umask 077 && ca zones token "$(zone "$name")" >"$E2E_DIR/$name/token")
	config "$name" "primary: {address: \"$(address primary):$(port primary-a-zones)\", tokenFile: $E2E_DIR/$name/token}"
}

# start_rotation [flag…] starts one and prints its id.
start_rotation() {
	ca rotate start --reason "${STEP:-a test}" --yes -o json "$@" >"$E2E_DIR/started"
	json_value id <"$E2E_DIR/started"
}

# done_within SECONDS waits for the end of a rotation, which has to be done.
done_within() {
	local start=$EPOCHREALTIME
	within "$1" in_phase done
	note "done $(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN{printf "%.0f", b-a}') s later"
}

# under ANCHOR demands that every replica signs under an anchor and that every workload
# has a certificate under it.
signs_under() { [[ $(ca zones list -o json | grep -o "\"signer\":\"$1\"" | wc -l) == "${#REPLICAS[@]}" ]]; }
