# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# sslscan tries every suite and group by itself: what it finds on each listener is
# this list and no more.
need sslscan
for port in "$PORT" "$OPS_PORT"; do
	sslscan --no-colour --xml="$E2E_DIR/sslscan.xml" "127.0.0.1:$port"
	grep -oE '<cipher [^>]*>' "$E2E_DIR/sslscan.xml" | sed -E 's/.*sslversion="([^"]*)".* cipher="([^"]*)".*/\1 \2/' | LC_ALL=C sort -u >"$E2E_DIR/ciphers"
	diff - "$E2E_DIR/ciphers" <<-LIST || fail "port $port offers other suites (< wanted, > found)"
		TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256
		TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384
		TLSv1.3 TLS_AES_128_GCM_SHA256
		TLSv1.3 TLS_AES_256_GCM_SHA384
	LIST
	grep -oE '<group [^>]*>' "$E2E_DIR/sslscan.xml" | sed -E 's/.*sslversion="([^"]*)".* name="([^"]*)".*/\1 \2/' | LC_ALL=C sort -u >"$E2E_DIR/groups"
	cat "$E2E_DIR/groups"
	[[ -s "$E2E_DIR/groups" ]] || fail "sslscan found no group at all"
	absent "$E2E_DIR/groups" '25519|448|p192|224|k1|brainpool|ffdhe|sect'
	absent "$E2E_DIR/sslscan.xml" '<(compression|renegotiation) supported="1"|vulnerable="1"'
done
