# What the steps of this suite share.
# shellcheck source=../vault/vault.sh
source "$E2E_ROOT/vault/vault.sh"

LENGTH=${KEDGE_OUTAGE_SECONDS:-20}
TOKENS=${KEDGE_OUTAGE_TOKENS:-60}

# stat MODE NUMBER prints what the load of a mode has counted: 1 certificates, 2
# failures, 3 the slowest in ms, 4 running or held.
stat_of() { cut -d' ' -f"$2" "$E2E_DIR/$1/tokens/stats"; }

# hold MODE waits until no request of a mode is on its way.
hold() {
	local start=$SECONDS
	touch "$E2E_DIR/$1/tokens/hold"
	until [[ $(stat_of "$1" 4) == held ]]; do
		((SECONDS - start <= 20)) || fail "the load of $1 does not come to rest"
		sleep 0.05
	done
}

# forward sets every clock on by half of an intermediate's life, so that its renewal
# is due. Tokens and the server's own certificate do not survive such a leap, which no
# real clock makes: the load rests until the server has renewed its own.
forward() {
	local mode start=$SECONDS
	for mode in "${MODES[@]}"; do hold "$mode"; done
	set_clock $(($(<"$E2E_CLOCK") + 30))
	for mode in "${MODES[@]}"; do
		until (($(metric "$mode" kedge_certificate_not_after_timestamp_seconds 'role="server"') > EPOCHSECONDS + $(<"$E2E_CLOCK") * 3600)); do
			((SECONDS - start <= 30)) || fail "the server of $mode does not renew its own certificate"
			sleep 0.1
		done
		rm "$E2E_DIR/$mode/tokens/hold"
	done
}

# mark remembers what was counted so far; judge then judges what came since.
mark() {
	local mode
	MARKED=$EPOCHSECONDS
	for mode in "${MODES[@]}"; do
		stat_of "$mode" 1 >"$E2E_DIR/$mode/marked"
		renewals "$mode" >"$E2E_DIR/$mode/renewals"
	done
}

# judge demands that no certificate was refused or late since mark, and that many
# were issued: a load that stood still would have no failures either.
judge() {
	local mode issued least
	# What is on its way now is counted a moment later.
	for mode in "${MODES[@]}"; do hold "$mode"; rm "$E2E_DIR/$mode/tokens/hold"; done
	least=$(((EPOCHSECONDS - MARKED) * RATE / 2))
	for mode in "${MODES[@]}"; do
		issued=$(($(stat_of "$mode" 1) - $(<"$E2E_DIR/$mode/marked")))
		[[ $(stat_of "$mode" 2) == 0 ]] || { head -20 "$E2E_DIR/load-$mode.out"; fail "$(stat_of "$mode" 2) certificates of $mode failed"; }
		((issued >= least)) || fail "only $issued certificates of $mode in $((EPOCHSECONDS - MARKED)) s"
		note "$mode: $issued certificates, 0 failed, the slowest so far took $(stat_of "$mode" 3) ms"
	done
}

RATE=20 # certificates a second for each mode

# renewals MODE counts the intermediates that came into force.
renewals() { grep -c '"msg":"new intermediate in force"' "$E2E_DIR/serve-$1.err" || true; }

# renewed waits until both modes have an intermediate that is newer than mark's:
# renewed SECONDS. Nobody asks for it.
renewed() {
	local mode start=$SECONDS
	for mode in "${MODES[@]}"; do
		until (($(renewals "$mode") > $(<"$E2E_DIR/$mode/renewals"))); do
			((SECONDS - start <= $1)) || { tail -5 "$E2E_DIR/serve-$mode.err"; fail "the intermediate of $mode was not renewed within $1 s"; }
			sleep 0.2
		done
		note "$mode: renewed $((SECONDS - start)) s after the end of the trouble"
	done
}

# not_renewed demands that the trouble keeps intermediates from being renewed, or
# there was none.
not_renewed() {
	local mode
	for mode in "${MODES[@]}"; do
		[[ $(renewals "$mode") == "$(<"$E2E_DIR/$mode/renewals")" ]] || fail "the intermediate of $mode was renewed without Vault"
	done
}

# shown REASON… demands that the metrics of both modes count failed requests to Vault
# with one of the reasons.
shown() {
	local mode reason start=$SECONDS
	for mode in "${MODES[@]}"; do
		while :; do
			for reason in "$@"; do
				(($(failures "$mode" "$reason") > 0)) && break 2
			done
			((SECONDS - start <= 60)) || { curl -sS --noproxy '*' "http://127.0.0.1:$(<"$E2E_DIR/$mode/ops-port")/metrics" | grep kedge_vault; fail "the metrics of $mode do not show: $*"; }
			sleep 0.5
		done
		note "$mode: kedge_vault_requests_total has $(failures "$mode" "$reason") of $reason"
	done
}

# failures MODE REASON prints how many requests to Vault ended so.
failures() { metric "$1" kedge_vault_requests_total "result=\"$2\""; }

# well demands that the server itself says that nothing is wrong any more.
well() {
	local mode start=$SECONDS
	for mode in "${MODES[@]}"; do
		until [[ $(metric "$mode" kedge_vault_logged_in) == 1 && $(metric "$mode" kedge_ready) == 1 ]]; do
			((SECONDS - start <= 150)) || fail "the server of $mode is not logged in to Vault again"
			sleep 0.5
		done
	done
}
