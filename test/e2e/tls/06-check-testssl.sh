# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# testssl.sh looks for the known weaknesses; nothing above INFO may turn up but what
# is named here with its reason.
command -v testssl >/dev/null || command -v testssl.sh >/dev/null || skip "testssl.sh is not installed"
testssl=$(command -v testssl || command -v testssl.sh)
known=(
	cert_chain_of_trust   # a private authority: its anchor is in no browser
	cert_revocation       # leaves live at most a day instead
	cert_expirationStatus # that day
	cert_notAfter         # the same
)
for port in "$PORT" "$OPS_PORT"; do
	rm -f "$E2E_DIR/testssl.json"
	"$testssl" --quiet --color 0 --warnings batch --nodns none --jsonfile "$E2E_DIR/testssl.json" \
		--protocols --server-preference --fs --vulnerable --server-defaults "127.0.0.1:$port" >"$E2E_DIR/testssl.txt" 2>&1 </dev/null || true
	head -200 "$E2E_DIR/testssl.txt"
	[[ -s "$E2E_DIR/testssl.json" ]] || fail "testssl.sh wrote no findings"
	tr -d '\n' <"$E2E_DIR/testssl.json" | sed 's/},/}\n/g' | sed -nE 's/.*"id"[^"]*"([^"]*)".*"severity"[^"]*"([^"]*)".*"finding"[^"]*"([^"]*)".*/\2 \1 \3/p' >"$E2E_DIR/findings"
	grep -q '^OK ' "$E2E_DIR/findings" || fail "no finding could be read"
	pattern=$(IFS='|'; echo "${known[*]}")
	grep -E '^(LOW|MEDIUM|HIGH|CRITICAL|WARN|FATAL) ' "$E2E_DIR/findings" | grep -vE "^[A-Z]+ ($pattern)( |\$)" >"$E2E_DIR/unexpected" || true
	[[ ! -s "$E2E_DIR/unexpected" ]] || { cat "$E2E_DIR/unexpected"; fail "testssl.sh found something on port $port"; }
done
