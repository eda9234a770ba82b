# shellcheck source=call.sh
source "$E2E_ROOT/grpc/call.sh"

need openssl
tool grpcurl h2 github.com/fullstorydev/grpcurl/cmd/grpcurl
(cd "$REPO" && go list -m -f '{{.Dir}}' istio.io/api) >"$E2E_DIR/istio-api"
make_authority
serve
