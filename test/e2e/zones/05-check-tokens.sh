# shellcheck source=zones.sh
source "$E2E_ROOT/zones/zones.sh"

# A token works once, for one replica; what is refused leaves nothing that serves.
# refusal NAME REASON starts a replica that must end with a reason.
refusal() {
	local code=0
	timeout 60 "$KEDGE_BIN" serve --config "$E2E_DIR/$1/ca.yaml" >"$E2E_DIR/refused.out" 2>&1 || code=$?
	[[ $code == 1 ]] || { tail -5 "$E2E_DIR/refused.out"; fail "$1 ended with $code"; }
	expect "$E2E_DIR/refused.out" "^code: $2\$"
}
zone_config thief eu-1
cp -p "$E2E_DIR/two/token" "$E2E_DIR/thief/token"
refusal thief zone_token_used
zone_config late eu-1
(umask 077 && "$KEDGE_BIN" zones token eu-1 --ttl 1s >"$E2E_DIR/late/token")
sleep 1.1
refusal late zone_token_expired
zone_config forged eu-1
(umask 077 && sed 's/kedge-zone-..../kedge-zone-0000/' "$E2E_DIR/two/token" >"$E2E_DIR/forged/token")
refusal forged zone_token_unknown
# The hash of another bundle is another primary's: nobody is shown the secret.
zone_config stray eu-1
new_token stray eu-1
(umask 077 && sed -E 's/[0-9a-f]{4}$/0000/' "$E2E_DIR/stray/token" >"$E2E_DIR/stray/changed")
mv "$E2E_DIR/stray/changed" "$E2E_DIR/stray/token"
refusal stray bundle_forked
# A name that another replica has.
zone_config double eu-1
sed -i 's/replica: double/replica: two/' "$E2E_DIR/double/ca.yaml"
new_token double eu-1
refusal double zone_replica_taken
# The directory of an authority with a root of its own.
zone_config rooted eu-1
"$KEDGE_BIN" init --trust-domain example.org --data-dir "$E2E_DIR/rooted/data" --generate-passphrases "$E2E_DIR/rooted/secrets" --config "$E2E_DIR/rooted/init.yaml" >/dev/null
sed -i "s|$E2E_DIR/rooted/keys-passphrase|$E2E_DIR/rooted/secrets/keys-passphrase|" "$E2E_DIR/rooted/ca.yaml"
new_token rooted eu-1
code=0
timeout 60 "$KEDGE_BIN" serve --config "$E2E_DIR/rooted/ca.yaml" >"$E2E_DIR/refused.out" 2>&1 || code=$?
[[ $code == 1 ]] || fail "an authority became a zone"
expect "$E2E_DIR/refused.out" 'holds an authority with a root of its own'
# None of them is listed.
"$KEDGE_BIN" zones list | tee "$E2E_DIR/list"
absent "$E2E_DIR/list" 'thief|late|forged|stray|rooted'
