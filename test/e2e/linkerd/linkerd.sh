# Helpers of the suite; each step sources this.
# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

DOMAIN=serviceaccount.identity.linkerd.cluster.local
ISSUER=linkerd-identity.linkerd.$DOMAIN
DOOR=127.0.0.1:$(cat "$E2E_DIR/door" 2>/dev/null || true)

# certify asks once for ACCOUNT.NAMESPACE with the key and CSR of pod POD:
# certify POD ACCOUNT.NAMESPACE TOKEN [flag…].
certify() {
	local pod=$1 account=$2 token=$3
	shift 3
	"$(probe)" linkerd --server "$DOOR" --bundle "$E2E_DIR/bundle.pem" --issuer "$ISSUER" --name "$account.$DOMAIN" \
		--dir "$E2E_DIR/pod-$pod" --token-file "$E2E_DIR/tokens/$token" "$@"
}
