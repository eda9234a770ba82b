# shellcheck source=clock.sh
source "$E2E_ROOT/expired/clock.sh"

# The operator gets in by the local socket, and is told what is wrong and what to do.
code=0
operator check || code=$?
cat "$E2E_DIR/operator.out"
[[ $code == 1 ]] || fail "ca check ended with $code"
expect "$E2E_DIR/operator.out" '√ server-running'
expect "$E2E_DIR/operator.out" '× ready'
expect "$E2E_DIR/operator.out" '× anchor-life'
expect "$E2E_DIR/operator.out" '× intermediate-life'
expect "$E2E_DIR/operator.out" 'ca repair'
operator audit verify
operator audit events
if command -v curl >/dev/null; then
	[[ $(curl -sS --noproxy '*' -o /dev/null -w '%{http_code}' "http://127.0.0.1:$OPS_PORT/readyz") == 503 ]] || fail "/readyz is not 503"
	[[ $(curl -sS --noproxy '*' -o /dev/null -w '%{http_code}' "http://127.0.0.1:$OPS_PORT/healthz") == 200 ]] || fail "/healthz is not 200"
fi
