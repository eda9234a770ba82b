# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# The rest of what an operator types first.
admin check | tee "$E2E_DIR/check.out"
absent "$E2E_DIR/check.out" '×'
expect "$E2E_DIR/check.out" '√ ready'
"$KEDGE_BIN" version
"$KEDGE_BIN" completion bash >"$E2E_DIR/completion"
bash -n "$E2E_DIR/completion"
metrics=$(sed -nE 's/.*metrics (http:[^ ]+).*/\1/p' "$E2E_DIR/dev.out")
need curl
curl -fsS --noproxy '*' "$metrics" >"$E2E_DIR/metrics"
expect "$E2E_DIR/metrics" '^kedge_issued_total\{.*\} [1-9]'
expect "$E2E_DIR/metrics" '^kedge_refused_total\{.*reason="token_signature".*\} 1'
curl -fsS --noproxy '*' "${metrics%/metrics}/readyz"
