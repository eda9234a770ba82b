# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# Floods of one connection: the server may hang up or bear them, but it goes on
# serving others at once and does not grow.
pid=$(<"$E2E_DIR/dev.pid")
for kind in reset continuation ping settings headers; do
	timeout 120 "$(probe)" flood --server "$LISTEN" --bundle "$E2E_DIR/dev/bundle.pem" --kind "$kind" >"$E2E_DIR/flood.out" &
	flood=$!
	sleep 0.5
	timeout 5 "$KEDGE_BIN" issue --server "$LISTEN" --bundle "$E2E_DIR/dev/bundle.pem" --token-file "$E2E_DIR/dev/token" --out "$E2E_DIR/flooded"
	wait "$flood" || fail "the flood of $kind did not end"
	alive "$pid" || fail "the server died of a flood of $kind"
	rss=$(awk '/^VmRSS/{print int($2/1024)}' "/proc/$pid/status")
	note "$(<"$E2E_DIR/flood.out"), RSS then $rss MB"
	((rss < 200)) || fail "the server grew to $rss MB"
done
absent "$E2E_DIR/dev.err" 'panic|fatal error'
