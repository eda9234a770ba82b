# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# A :path that is not exactly a method's reaches no method (CVE-2026-33186), and the
# admin service is on no network port.
"$(probe)" paths --server "$LISTEN" --bundle "$E2E_DIR/dev/bundle.pem" | tee "$E2E_DIR/paths.out"
note "$(wc -l <"$E2E_DIR/paths.out") paths"
