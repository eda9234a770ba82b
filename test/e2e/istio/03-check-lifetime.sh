# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

istio_test TestLifetime
