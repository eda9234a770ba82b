# shellcheck source=zones.sh
source "$E2E_ROOT/zones/zones.sh"

# The commands of docs/zones.md, as they stand there, with ports of this run.
dir=$E2E_DIR/walk
mkdir -p "$dir/bin"
ln -s "$KEDGE_BIN" "$dir/bin/ca"
awk '/^```sh$/ {on = 1; next} /^```$/ {on = 0} on' "$REPO/docs/zones.md" |
	sed "s/\b8443\b/$(port walk-primary)/g; s/\b8444\b/$(port walk-zones)/g; s/\b8453\b/$(port walk-eu)/g; s/\b8463\b/$(port walk-us)/g" >"$dir/walk.sh"
[[ $(grep -c 'ca ' "$dir/walk.sh") -gt 10 ]] || fail "docs/zones.md has no commands"
# The primary of the page has its metrics where every primary has them.
sed -i "s|^zones: {listen|ops: {listen: \"127.0.0.1:0\"}\n&|" "$dir/walk.sh"
cat >>"$dir/walk.sh" <<'SH'
kill %2 %3
wait
SH
(cd "$dir" && unset KEDGE_ADMIN_SOCKET && PATH=$dir/bin:$PATH timeout 180 bash -euo pipefail walk.sh) 2>&1 | tee "$E2E_DIR/walk.out"
expect "$E2E_DIR/walk.out" '^eu-1 +eu-1-a +1 +0 +[0-9a-f]{8} '
expect "$E2E_DIR/walk.out" '^us-1 +us-1-a +1 +0 +[0-9a-f]{8} '
expect "$E2E_DIR/walk.out" 'spiffe://example.org/vm/us-1'
expect "$E2E_DIR/walk.out" '‼ primary-reachable'
