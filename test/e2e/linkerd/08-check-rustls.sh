# shellcheck source=linkerd.sh
source "$E2E_ROOT/linkerd/linkerd.sh"

# rustls, webpki and x509-parser, by which the proxy verifies, set as it sets them: the
# door, two certificates, and mutual TLS between them both ways.
need cargo
manifest=$REPO/test/tools/linkerd/Cargo.toml
cargo fetch -q --locked --manifest-path "$manifest" || skip "crates.io cannot be reached"
cargo build -q --locked --offline --release --manifest-path "$manifest" --target-dir "$E2E_CACHE/linkerd"
certify one default.default linkerd
certify two payments.prod linkerd-other
judge() {
	"$E2E_CACHE/linkerd/release/kedge-linkerd-check" "$DOOR" "$1" "$2" \
		"$3.$DOMAIN" "$E2E_DIR/pod-one" "payments.prod.$DOMAIN" "$E2E_DIR/pod-two"
}
judge "$ISSUER" "$E2E_DIR/bundle.pem" default.default >"$E2E_DIR/rustls.out"
expect "$E2E_DIR/rustls.out" '^connected: Some\(TLSv1_3\) Some\(secp256r1\)'
expect "$E2E_DIR/rustls.out" "^mutual: default\.default\.$DOMAIN to payments\.prod\.$DOMAIN"
expect "$E2E_DIR/rustls.out" "^mutual: payments\.prod\.$DOMAIN to default\.default\.$DOMAIN"
# The judge can say no: another issuer, other anchors, another identity.
make_stranger
refused judge "linkerd-identity.other.$DOMAIN" "$E2E_DIR/bundle.pem" default.default
refused judge "$ISSUER" "$E2E_DIR/stranger.pem" default.default
refused judge "$ISSUER" "$E2E_DIR/bundle.pem" other.default
expect "$E2E_DIR/refused.out" 'first name is not its own'
