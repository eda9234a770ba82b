# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# No acknowledged certificate is without a record, no serial came twice, no record is
# void that a client has, and the chain of records is whole.
serve
records() { "$KEDGE_BIN" audit "$@" --admin-socket "$E2E_DIR/admin.sock"; }
LC_ALL=C sort "$E2E_DIR/acknowledged" >"$E2E_DIR/acknowledged.sorted"
LC_ALL=C uniq -d "$E2E_DIR/acknowledged.sorted" >"$E2E_DIR/twice"
[[ ! -s "$E2E_DIR/twice" ]] || { head "$E2E_DIR/twice"; fail "serials came twice"; }
records search -o json --limit 4000000 --identity spiffe://cluster.local/ns/default/sa/default >"$E2E_DIR/records.json"
grep -v '"voidedReason"' "$E2E_DIR/records.json" | grep -oE '"serial":"[0-9a-f]+"' | cut -d'"' -f4 | LC_ALL=C sort >"$E2E_DIR/recorded"
LC_ALL=C uniq -d "$E2E_DIR/recorded" >"$E2E_DIR/twice"
[[ ! -s "$E2E_DIR/twice" ]] || { head "$E2E_DIR/twice"; fail "serials are recorded twice"; }
LC_ALL=C comm -23 "$E2E_DIR/acknowledged.sorted" "$E2E_DIR/recorded" >"$E2E_DIR/lost"
[[ ! -s "$E2E_DIR/lost" ]] || { head "$E2E_DIR/lost"; fail "$(wc -l <"$E2E_DIR/lost") acknowledged certificates have no record"; }
records verify
note "$(wc -l <"$E2E_DIR/recorded") records for $(wc -l <"$E2E_DIR/acknowledged") acknowledged; what is more was cut off on its way to the client"
