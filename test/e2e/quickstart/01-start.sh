# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# A new user's first command: it serves, and its directory holds what the
# documents promise, readable by nobody else where that matters.
start_dev
expect "$E2E_DIR/dev.out" "^ready: serving cluster.local on $LISTEN\$"
expect "$E2E_DIR/dev.err" '^WARNING: development mode'
[[ $(pem_count "$E2E_DIR/dev/bundle.pem") == 2 ]] || fail "the bundle holds not two anchors"
for private in token admin.sock; do
	[[ $(stat -c %a "$E2E_DIR/dev/$private") == 600 ]] || fail "$private can be read by others"
done
[[ -z $(find "$E2E_DIR/dev/data" "$E2E_DIR/dev/secrets" -name '*.key' -perm /077) ]] || fail "a key can be read by others"
