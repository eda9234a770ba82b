# What the steps of this suite share: calls by grpcurl, a client that knows nothing
# of Kedge but its .proto files.
# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# call METHOD JSON [FLAG…] calls a method of the server; the answer, or the error as
# JSON, goes to E2E_DIR/answer. It fails as grpcurl does.
call() {
	local method=$1 body=$2
	shift 2
	"$E2E_CACHE/grpcurl" -cacert "$E2E_DIR/bundle.pem" -format-error -import-path "$REPO/api" -import-path "$E2E_ROOT/grpc" -import-path "$(<"$E2E_DIR/istio-api")" \
		-proto kedge/v1/kedge.proto -proto security/v1alpha1/ca.proto -proto error_details.proto \
		"$@" -d "$body" "$LISTEN" "$method" >"$E2E_DIR/answer" 2>&1
}

# bearer NAME prints the header for a token of probe tokens.
bearer() { echo "authorization: Bearer $(<"$E2E_DIR/tokens/$1")"; }

# refusal CODE REASON METHOD JSON [FLAG…] demands a refusal with all its details: gRPC
# code, stable reason, domain, request id and a link to its explanation.
refusal() {
	local code=$1 reason=$2
	shift 2
	if call "$@"; then
		cat "$E2E_DIR/answer"
		fail "was not refused: $reason"
	fi
	expect "$E2E_DIR/answer" "^ +\"code\": $code,|^  \"code\": $code"
	expect "$E2E_DIR/answer" "\"reason\": \"$reason\""
	expect "$E2E_DIR/answer" '"domain": "kedge.dev"'
	expect "$E2E_DIR/answer" '"request_id": "[0-9a-f]{16}"'
	expect "$E2E_DIR/answer" "\"url\": \"https://.*/docs/errors.md#$reason\""
	expect "$REPO/docs/errors.md" "^## $reason\$"
	echo "$code $reason"
}

# csr [FLAG…] makes a P-256 key and prints a CSR in base64 DER; flags go to openssl req.
csr() { csr_with ec -pkeyopt ec_paramgen_curve:P-256 "$@"; }

# csr_with KIND [FLAG…] does so with a key of that kind; the subject is empty unless
# a flag gives one.
csr_with() {
	local subject=(-subj /)
	[[ " $* " != *" -subj "* ]] || subject=()
	openssl req -new -newkey "$@" -nodes -keyout "$E2E_DIR/csr.key" -outform der -out "$E2E_DIR/csr.der" "${subject[@]}" 2>/dev/null ||
		fail "openssl makes no such CSR: $*"
	base64 -w0 "$E2E_DIR/csr.der"
}

CA=kedge.v1.CertificateAuthority
ISTIO=istio.v1.auth.IstioCertificateService/CreateCertificate
