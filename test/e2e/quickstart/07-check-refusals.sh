# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# A refusal names its reason and the next step, and leaves files as they are.
# refusal REASON FLAG… issues into a directory that holds a certificate already.
refusal() {
	local reason=$1
	shift
	cp -a "$E2E_DIR/my-workload" "$E2E_DIR/kept"
	refused "$KEDGE_BIN" issue --server "$LISTEN" --bundle "$E2E_DIR/dev/bundle.pem" --out "$E2E_DIR/kept" "$@"
	expect "$E2E_DIR/refused.out" "^code: $reason\$"
	diff -r "$E2E_DIR/my-workload" "$E2E_DIR/kept" || fail "a refused request changed files"
	rm -r "$E2E_DIR/kept"
}
IFS=. read -r header payload signature <"$E2E_DIR/dev/token" || true
printf 'not.a.token' >"$E2E_DIR/malformed"
printf '%s.%s.%s' "$header" "$payload" "${signature:0:80}AAAAAA" >"$E2E_DIR/forged"
printf '%s.%s.' "$(printf '{"alg":"none","typ":"JWT"}' | base64 -w0 | tr -d =)" "$payload" >"$E2E_DIR/unsigned"
refusal credentials_missing
refusal token_malformed --token-file "$E2E_DIR/malformed"
refusal token_signature --token-file "$E2E_DIR/forged"
refusal 'token_(algorithm|malformed)' --token-file "$E2E_DIR/unsigned"
refusal ttl_invalid --token-file "$E2E_DIR/dev/token" --ttl 1m
refusal profile_unknown --token-file "$E2E_DIR/dev/token" --profile nothing
expect "$E2E_DIR/refused.out" '^help: https://.*#profile_unknown'

# Another authority's anchors: the client must not talk to this server at all.
make_stranger
refused "$KEDGE_BIN" issue --server "$LISTEN" --bundle "$E2E_DIR/stranger.pem" --token-file "$E2E_DIR/dev/token" --out "$E2E_DIR/none"
expect "$E2E_DIR/refused.out" 'unreachable|certificate'
[[ ! -e "$E2E_DIR/none/tls.crt" ]] || fail "a certificate was written"
