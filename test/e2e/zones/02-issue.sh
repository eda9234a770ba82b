# shellcheck source=zones.sh
source "$E2E_ROOT/zones/zones.sh"

# A workload gets its certificate from one replica and renews it at the other; the
# server's own certificate is the zone's. OpenSSL knows the two anchors and no more.
workload one "$E2E_DIR/db"
renewal two "$E2E_DIR/db"
openssl verify -x509_strict -CAfile "$PRIMARY/bundle.pem" -untrusted "$E2E_DIR/db/tls.crt" "$E2E_DIR/db/tls.crt"
[[ $(pem_count "$E2E_DIR/db/tls.crt") == 2 ]] || fail "not a leaf and an intermediate"
# Each replica has an intermediate of its own.
workload two "$E2E_DIR/other"
issuer() { openssl x509 -in "$1" -noout -issuer; }
workload one "$E2E_DIR/third"
[[ "$(issuer "$E2E_DIR/third/tls.crt")" != "$(issuer "$E2E_DIR/other/tls.crt")" ]] || fail "two replicas share an intermediate"
# The leaves are counted where they were signed.
seen() { "$KEDGE_BIN" zones list | grep -Eq '^eu-1 +one .*renewal [0-9]+/[0-9]+'; }
eventually 30 seen
