# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

start_dev
note "h2spec $("$(tool h2spec h2 github.com/summerwind/h2spec/cmd/h2spec)" --version | head -1)"
probe >/dev/null
