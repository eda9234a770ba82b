# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# Clients issue without pause; the server is killed again and again at moments of
# chance, and is ready again within 2 s. KEDGE_CRASH_KILLS says how often.
kills=${KEDGE_CRASH_KILLS:-20}
acknowledged=$E2E_DIR/acknowledged
: >"$acknowledged"
start_server clients "$(probe)" issue --clients 16 --server "$LISTEN" --bundle "$E2E_DIR/bundle.pem" --token-file "$E2E_DIR/tokens/good" --acknowledged "$acknowledged"
slowest=0
for n in $(seq "$kills"); do
	before=$(wc -l <"$acknowledged")
	start=$EPOCHREALTIME
	serve
	took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN{printf "%d", (b-a)*1000}')
	((took <= 2000)) || fail "restart $n was ready only after $took ms"
	((took <= slowest)) || slowest=$took
	for _ in $(seq 100); do # this life has to have done something
		(($(wc -l <"$acknowledged") == before)) || break
		sleep 0.05
	done
	sleep "$((RANDOM % 2)).$(printf %03d $((RANDOM % 1000)))"
	pid=$(<"$E2E_DIR/serve.pid")
	kill -KILL "$pid"
	while alive "$pid"; do sleep 0.01; done
	after=$(wc -l <"$acknowledged")
	((after > before)) || fail "nothing was issued before kill $n"
done
stop_server "$E2E_DIR/clients.pid"
sed 's/^/clients: /' "$E2E_DIR/clients.out"
[[ ! -s "$E2E_DIR/clients.err" ]] || { cat "$E2E_DIR/clients.err"; fail "a client got a wrong answer"; }
note "$kills kills, $(wc -l <"$acknowledged") certificates acknowledged, slowest restart $slowest ms"
