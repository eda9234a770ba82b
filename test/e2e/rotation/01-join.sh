# shellcheck source=rotation.sh
source "$E2E_ROOT/rotation/rotation.sh"

# The programs, whose time runs fast; the networks; a primary; two zones of two replicas,
# which join by tokens.
need openssl ip
echo "$EPOCHSECONDS" >"$E2E_DIR/epoch"
mkdir -p "$BIN"
"$REPO/test/tools/fasttime/build" "$CA" ./cmd/ca
"$REPO/test/tools/fasttime/build" "$BIN/pingpong" ./examples/pingpong
"$REPO/test/tools/fasttime/build" "$BIN/probe" ./test/e2e/probe
make_networks
(fast cli && "$BIN/probe" tokens --dir "$E2E_DIR/tokens")

mkdir -p "$E2E_DIR/primary-a"
first=$(new_root)
cp -r "$ROOTS/$first" "$E2E_DIR/primary-a/data"
cp -r "$ROOTS/$first/secrets" "$E2E_DIR/primary-a/secrets"
# Its standby is the second root.
mkdir -p "$ROOTS/2"
cp -r "$ROOTS/1/standby" "$ROOTS/2/root"
cp -r "$ROOTS/1/secrets" "$ROOTS/2/secrets"
cp "$ROOTS/1/secrets/standby-passphrase" "$ROOTS/2/secrets/root-passphrase"
configure_primary primary-a 1 2
(fast cli && "$CA" config validate "$E2E_DIR/primary-a/ca.yaml")
serve primary-a
for name in eu-a eu-b us-a us-b; do
	zone_replica "$name"
	serve "$name"
done
within 90 signs_under "$(anchor 1)"
ca zones list
