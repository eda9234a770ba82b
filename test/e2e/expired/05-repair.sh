# shellcheck source=clock.sh
source "$E2E_ROOT/expired/clock.sh"

# The repair says what it would do, does nothing without consent to a new root, then
# mends the authority without a restart.
operator repair --dry-run
cat "$E2E_DIR/operator.out"
expect "$E2E_DIR/operator.out" 'active anchor expired'
cmp "$E2E_DIR/data/root/root.pem" <(head -c "$(stat -c %s "$E2E_DIR/data/root/root.pem")" "$E2E_DIR/old-bundle.pem") || fail "a dry run changed the root"
refused operator repair
operator repair --yes || { cat "$E2E_DIR/operator.out"; fail "the repair failed"; }
cat "$E2E_DIR/operator.out"
openssl x509 -in "$E2E_DIR/data/root/root.pem" -noout -checkend 0
operator check || { cat "$E2E_DIR/operator.out"; fail "ca check still fails after the repair"; }
cat "$E2E_DIR/operator.out"
