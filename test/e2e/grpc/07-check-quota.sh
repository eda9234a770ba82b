# shellcheck source=call.sh
source "$E2E_ROOT/grpc/call.sh"

# An identity that asks too often is told when to come back; another is not affected.
stop_server "$E2E_DIR/serve.pid"
write_config "ops: {listen: 127.0.0.1:$OPS_PORT}" "limits: {identityRate: 0.001, identityBurst: 2}"
serve
request="{\"csr\":\"$(csr)\"}"
for _ in 1 2; do call "$CA/Issue" "$request" -H "$(bearer good)" || { cat "$E2E_DIR/answer"; fail "refused within the quota"; }; done
refusal 8 identity_quota "$CA/Issue" "$request" -H "$(bearer good)"
expect "$E2E_DIR/answer" '"retryDelay": "[0-9.]+s"'
call "$CA/Issue" "{\"csr\":\"$(csr)\"}" -H "$(bearer other-workload)" || { cat "$E2E_DIR/answer"; fail "another identity was refused"; }
