# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# Istio's client, built from its own module; the first build compiles a thousand packages.
test_tool istio
