# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# The command that ca dev prints, as it prints it.
command=$(sed -n 's/^get a certificate: //p' "$E2E_DIR/dev.out")
[[ -n "$command" ]] || fail "ca dev printed no next command"
(cd "$E2E_DIR" && eval "$command") | tee "$E2E_DIR/issue.out"
expect "$E2E_DIR/issue.out" 'spiffe://cluster.local/ns/default/sa/default'
cd "$E2E_DIR/my-workload"
[[ $(stat -c %a tls.key) == 600 ]] || fail "the key can be read by others"
cmp bundle.pem "$E2E_DIR/dev/bundle.pem" || fail "the bundle received is not the one of the server"
