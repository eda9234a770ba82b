# What the steps of this suite share. Each step makes a fresh authority in each mode,
# with a load on it: begin, a trouble, renewed, finish.
# shellcheck source=../vault/vault.sh
source "$E2E_ROOT/vault/vault.sh"

LENGTH=${KEDGE_OUTAGE_SECONDS:-10}
GONE=${KEDGE_OUTAGE_GONE:-$LENGTH} # for how long Vault is stopped
TOKENS=${KEDGE_OUTAGE_TOKENS:-60}
RATE=20 # certificates a second for each mode

# The clock leaps once in a step, by half of an intermediate's life and some: further
# ahead of Vault's, a new intermediate would be past its half at once, because it
# begins by the clock of Vault.
LEAP=90
TOKEN_TTL=720h # tokens live through the leap

# begin TROUBLE makes both authorities and starts servers and loads.
begin() {
	local mode
	quiet
	mend_vault
	set_clock 0
	ROOT_NAME=kedge-$1
	for mode in "${MODES[@]}"; do
		rm -rf "${E2E_DIR:?}/$mode"
		mkdir -p "$E2E_DIR/$mode/tokens"
		make_role "$mode"
		setup_token "$mode"
		make_vault_authority "$mode" >"$E2E_DIR/$mode/init.out"
		begin_load "$mode"
	done
	count_on
}

# begin_load starts the server of a mode, and a load that has had its first
# certificate.
begin_load() {
	start_server "load-$1" "$E2E_CACHE/outage-load" --server "$(<"$E2E_DIR/$1/listen")" --bundle "$E2E_DIR/$1/bundle.pem" \
		--dir "$E2E_DIR/$1/tokens" --clock "$E2E_CLOCK" --rate "$RATE"
	until [[ -s "$E2E_DIR/$1/tokens/jwks.json" ]]; do sleep 0.05; done
	serve_mode "$1" "$E2E_CACHE/ca-clocked"
	anchor "$1" >"$E2E_DIR/$1/anchor.pem"
	mv "$E2E_DIR/$1/anchor.pem" "$E2E_DIR/$1/bundle.pem"
	until [[ -s "$E2E_DIR/$1/tokens/stats" ]] && (($(stat_of "$1" 1) > 0)); do
		alive "$(<"$E2E_DIR/load-$1.pid")" || { cat "$E2E_DIR/load-$1.err"; fail "the load ended"; }
		[[ ! -s "$E2E_DIR/load-$1.out" ]] || { head -5 "$E2E_DIR/load-$1.out"; fail "the load meets failures"; }
		sleep 0.05
	done
}

# quiet ends loads and servers.
quiet() {
	local pid_file
	for pid_file in "$E2E_DIR"/load-*.pid "$E2E_DIR"/serve-*.pid; do stop_server "$pid_file"; done
}

# mend_vault makes Vault active, whatever the step before left.
mend_vault() {
	[[ $(vault_health) != 200 ]] || return 0
	if [[ ! -s "$E2E_DIR/vault.pid" ]] || ! kill -CONT "$(<"$E2E_DIR/vault.pid")" 2>/dev/null; then start_vault; fi
	unseal_vault
}

# slow_vault_proxy starts toxiproxy, and has the servers of this step reach Vault
# through it only. It changes nothing until there is a toxic.
slow_vault_proxy() {
	local proxy
	proxy=127.0.0.1:$(free_port) TOXIPROXY=127.0.0.1:$(free_port)
	start_server toxiproxy "$("$REPO/test/tools/server" toxiproxy)" -host "${TOXIPROXY%:*}" -port "${TOXIPROXY##*:}"
	until toxiproxy /version; do
		alive "$(<"$E2E_DIR/toxiproxy.pid")" || { cat "$E2E_DIR/toxiproxy.err"; fail "toxiproxy ended"; }
		sleep 0.05
	done
	toxiproxy /proxies -d "{\"name\": \"vault\", \"listen\": \"$proxy\", \"upstream\": \"$(<"$VAULT_DIR/address")\"}"
	SERVERS_VAULT=https://$proxy
}

# toxiproxy PATH [curl flag…] asks its API.
toxiproxy() { curl -sS --fail --noproxy '*' -o "$E2E_DIR/toxiproxy.answer" "${@:2}" "http://$TOXIPROXY$1"; }

# toxic JSON puts a toxic between the servers and Vault, no_toxic NAME removes it.
toxic() { toxiproxy /proxies/vault/toxics -d "$1"; }
no_toxic() { toxiproxy "/proxies/vault/toxics/$1" -X DELETE; }

# stat_of MODE NUMBER prints what the load of a mode has counted: 1 certificates, 2
# failures, 3 the slowest in ms, 4 running or held, 5 how many of the certificates were
# renewals by mutual TLS.
stat_of() { cut -d' ' -f"$2" "$E2E_DIR/$1/tokens/stats"; }

# hold MODE waits until no request of a mode is on its way; go lets them go on.
hold() {
	local start=$SECONDS
	touch "$E2E_DIR/$1/tokens/hold"
	until [[ $(stat_of "$1" 4) == held ]]; do
		((SECONDS - start <= 20)) || fail "the load of $1 does not come to rest"
		sleep 0.05
	done
}

go_on() { rm "$E2E_DIR/$1/tokens/hold"; }

# leap sets every clock on, so that a renewal is due. Tokens and the server's own
# certificate do not survive a leap, which no real clock makes: the load rests until
# the server has renewed its own.
leap() {
	local mode start=$SECONDS
	for mode in "${MODES[@]}"; do hold "$mode"; done
	set_clock "$LEAP"
	DUE=$EPOCHSECONDS
	for mode in "${MODES[@]}"; do
		until (($(metric "$mode" kedge_certificate_not_after_timestamp_seconds 'role="server"') > EPOCHSECONDS + LEAP * 3600)); do
			# A round of upkeep that waits for a frozen Vault comes first.
			((SECONDS - start <= 120)) || fail "the server of $mode does not renew its own certificate"
			sleep 0.1
		done
		go_on "$mode"
	done
	count_on
}

# count_on has judge count from now on.
count_on() {
	local mode
	COUNTED=$EPOCHSECONDS
	for mode in "${MODES[@]}"; do cut -d' ' -f1,5 "$E2E_DIR/$mode/tokens/stats" >"$E2E_DIR/$mode/counted"; done
}

# judge demands that no certificate was refused or late, and that they came at the
# rate of the load: one that stood still would have no failures either.
judge() {
	local mode issued renewed seconds
	seconds=$((EPOCHSECONDS - COUNTED))
	for mode in "${MODES[@]}"; do
		hold "$mode" # what is on its way is counted too
		read -r issued renewed <"$E2E_DIR/$mode/counted"
		issued=$(($(stat_of "$mode" 1) - issued)) renewed=$(($(stat_of "$mode" 5) - renewed))
		[[ $(stat_of "$mode" 2) == 0 ]] || { head -20 "$E2E_DIR/load-$mode.out"; fail "$(stat_of "$mode" 2) certificates of $mode failed"; }
		((issued >= seconds * RATE * 3 / 4)) || fail "only $issued certificates of $mode in $seconds s"
		((renewed >= seconds / 2)) || fail "the workload of $mode renewed $renewed times in $seconds s"
		go_on "$mode"
		note "$mode: $issued certificates in $seconds s, $renewed of them renewals, 0 failed"
	done
}

# renewals MODE counts the intermediates that came into force.
renewals() { grep -c '"msg":"new intermediate in force"' "$E2E_DIR/serve-$1.err" || true; }

# renewed SECONDS waits until both modes have a new intermediate, for which nobody
# asks, and demands that it is the only one.
renewed() {
	local mode start=$SECONDS
	for mode in "${MODES[@]}"; do
		until (($(renewals "$mode") > 0)); do
			((SECONDS - start <= $1)) || { tail -5 "$E2E_DIR/serve-$mode.err"; fail "the intermediate of $mode was not renewed within $1 s"; }
			sleep 0.2
		done
		note "$mode: renewed after $((SECONDS - start)) s"
	done
	sleep 6 # one round of upkeep
	for mode in "${MODES[@]}"; do
		[[ $(renewals "$mode") == 1 ]] || fail "the intermediate of $mode was renewed $(renewals "$mode") times"
	done
}

# not_renewed demands that the trouble keeps intermediates from being renewed, or
# there was none.
not_renewed() {
	local mode
	for mode in "${MODES[@]}"; do [[ $(renewals "$mode") == 0 ]] || fail "the intermediate of $mode was renewed without Vault"; done
}

# shown REASON demands that the metrics of both modes count requests to Vault that
# ended so and say that the renewal fails, which is what an alert waits for, and that
# the log names the reason.
shown() {
	local mode start=$SECONDS
	for mode in "${MODES[@]}"; do
		until (($(failures "$mode" "$1") > 0)); do
			((SECONDS - start <= 60)) || fail "the metrics of $mode do not show $1"
			sleep 0.5
		done
		note "$mode: $1 in the metrics $((EPOCHSECONDS - DUE)) s after the renewal was due"
		until grep -q "\"reason\":\"$1\"" "$E2E_DIR/serve-$mode.err"; do
			((SECONDS - start <= 90)) || fail "the log of $mode does not name $1"
			sleep 0.5
		done
		until [[ $(metric "$mode" kedge_renewal_failing) == 1 ]]; do
			((SECONDS - start <= 90)) || fail "kedge_renewal_failing of $mode is $(metric "$mode" kedge_renewal_failing)"
			sleep 0.5
		done
	done
}

# failures MODE REASON prints how many requests to Vault ended so.
failures() { metric "$1" kedge_vault_requests_total "result=\"$2\""; }

# logins counts the logins of both servers in Vault's own record.
logins() { grep '"type":"response"' "$VAULT_DIR/audit.log" | grep -c '"path":"auth/approle/login"' || true; }

# finish demands that all is well again, and counts for the last step.
finish() {
	local mode start=$SECONDS
	judge
	for mode in "${MODES[@]}"; do
		until [[ $(metric "$mode" kedge_vault_logged_in) == 1 && $(metric "$mode" kedge_ready) == 1 ]]; do
			((SECONDS - start <= 150)) || fail "the server of $mode is not logged in to Vault again"
			sleep 0.5
		done
		hold "$mode"
		echo "$mode $(cut -d' ' -f1-3 "$E2E_DIR/$mode/tokens/stats")" >>"$E2E_DIR/total"
		"$KEDGE_BIN" audit verify --admin-socket "$E2E_DIR/$mode/data/admin.sock"
	done
	quiet
}
