# shellcheck source=backend.sh
source "$E2E_ROOT/artefact/backend.sh"

build boring
