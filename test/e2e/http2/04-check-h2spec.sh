# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# h2spec's generic, HTTP/2 and HPACK sections. grpc-go is laxer than RFC 9113 in
# places; known-failures names each with its reason, and a new one fails the step.
port=${LISTEN##*:}
"$(tool h2spec h2 github.com/summerwind/h2spec/cmd/h2spec)" --tls --insecure --host 127.0.0.1 --port "$port" \
	--junit-report "$E2E_DIR/h2spec.xml" generic http2 hpack >"$E2E_DIR/h2spec.txt" 2>&1 || true
tail -n 1 "$E2E_DIR/h2spec.txt"
[[ $(grep -c '<testcase ' "$E2E_DIR/h2spec.xml") -ge 145 ]] || fail "h2spec did not run all its cases"
# A reset by the server with unread data in flight ends the connection as well; this
# h2spec takes only an orderly end for one.
awk '
	/<testcase /            { match($0, /package="[^"]*"/); section = substr($0, RSTART+9, RLENGTH-10)
	                          match($0, /classname="[^"]*"/); name = substr($0, RSTART+11, RLENGTH-12)
	                          failed = 0; closing = 0; reset = 0 }
	/<(error|failure)[ >]/  { failed = 1 }
	/Connection closed/     { closing = 1 }
	/connection reset by peer/ { reset = 1 }
	/<\/testcase>/          { if (failed && !(closing && reset)) print section " | " name; failed = 0 }
' "$E2E_DIR/h2spec.xml" | sed 's/&#34;/"/g' | LC_ALL=C sort -u >"$E2E_DIR/failures"
sed -n 's/^\([a-z0-9/.]* | .*\)$/\1/p' "$E2E_ROOT/http2/known-failures" | LC_ALL=C sort -u >"$E2E_DIR/known"
LC_ALL=C comm -23 "$E2E_DIR/failures" "$E2E_DIR/known" >"$E2E_DIR/new"
[[ ! -s "$E2E_DIR/new" ]] || { cat "$E2E_DIR/new" "$E2E_DIR/h2spec.txt"; fail "h2spec cases fail that are not in http2/known-failures"; }
LC_ALL=C comm -13 "$E2E_DIR/failures" "$E2E_DIR/known" | sed 's/^/note: passes now, so it can leave known-failures: /'
note "$(tail -n 1 "$E2E_DIR/h2spec.txt"), all failures are in known-failures"
"$KEDGE_BIN" issue --server "$LISTEN" --bundle "$E2E_DIR/dev/bundle.pem" --token-file "$E2E_DIR/dev/token" --out "$E2E_DIR/after"
