# shellcheck source=zones.sh
source "$E2E_ROOT/zones/zones.sh"

# A primary, and a zone of two replicas, each with a token, a key and an intermediate
# of its own. No replica ran ca init.
need openssl
mkdir -p "$PRIMARY"
"$KEDGE_BIN" init --trust-domain example.org --data-dir "$PRIMARY/data" --generate-passphrases "$PRIMARY/secrets" \
	--listen "127.0.0.1:$(port primary)" --server-name 127.0.0.1 --config "$PRIMARY/ca.yaml"
cat >>"$PRIMARY/ca.yaml" <<-YAML
	ops: {listen: 127.0.0.1:$(port primary-ops)}
	zones: {listen: 127.0.0.1:$(port zones)}
YAML
"$KEDGE_BIN" config validate "$PRIMARY/ca.yaml"
cat "$PRIMARY"/data/root/root.pem "$PRIMARY"/data/standby/root.pem >"$PRIMARY/bundle.pem"
serve_primary
for name in one two; do
	zone_config "$name" eu-1
	new_token "$name" eu-1
	"$KEDGE_BIN" config validate "$E2E_DIR/$name/ca.yaml"
	serve_replica "$name"
	expect "$E2E_DIR/$name.err" '"msg":"joined","zone":"eu-1"'
	[[ -z $(find "$E2E_DIR/$name/data" -type f -perm /077) ]] || fail "a file of $name can be read by others"
done
listed() { [[ $("$KEDGE_BIN" zones list -o json | tee "$E2E_DIR/list.json" | grep -o '"signer":"[0-9a-f]\{64\}"' | wc -l) == 3 ]]; }
eventually 30 listed
"$KEDGE_BIN" zones list | tee "$E2E_DIR/list"
expect "$E2E_DIR/list" '^eu-1 +one +1 +0 +[0-9a-f]{8} '
expect "$E2E_DIR/list" '^eu-1 +two +1 +0 +[0-9a-f]{8} '
expect "$E2E_DIR/list" '^primary '
