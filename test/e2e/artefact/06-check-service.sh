# shellcheck source=backend.sh
source "$E2E_ROOT/artefact/backend.sh"

# Each backend as server, with both as client.
serves boring native
serves native boring
