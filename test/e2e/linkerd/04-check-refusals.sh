# shellcheck source=linkerd.sh
source "$E2E_ROOT/linkerd/linkerd.sh"

# refusal demands a code and a reason: refusal CODE REASON POD ACCOUNT.NAMESPACE TOKEN.
refusal() {
	local code=$1 reason=$2
	shift 2
	refused certify "$@"
	expect "$E2E_DIR/refused.out" "refused: $code $reason\$"
}
refusal InvalidArgument token_audience r1 default.default good
refusal InvalidArgument token_expired r1 default.default linkerd-expired
refusal InvalidArgument token_key_unknown r1 default.default linkerd-unknown-key
refusal FailedPrecondition csr_identity r1 default.default linkerd-other
refusal FailedPrecondition csr_identity r2 payments.prod linkerd
printf 'x' >"$E2E_DIR/tokens/none"
refusal InvalidArgument token_malformed r1 default.default none
: >"$E2E_DIR/tokens/empty"
refusal InvalidArgument credentials_missing r1 default.default empty
# And the token of this door opens no other.
refused "$KEDGE_BIN" issue --server "$LISTEN" --bundle "$E2E_DIR/bundle.pem" --token-file "$E2E_DIR/tokens/linkerd" --out "$E2E_DIR/none"
expect "$E2E_DIR/refused.out" 'token_audience'
