# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

make_authority
serve
pid=$(<"$E2E_DIR/serve.pid")
note "RSS after the start $(awk '/^VmRSS/{print int($2/1024)}' "/proc/$pid/status") MB"
