# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# Every kind of key that ca issue makes is an SVID for go-spiffe as well.
for kind in ecdsa-p384 rsa-2048 rsa-3072; do
	issue "$E2E_DIR/$kind" --key-type "$kind"
	KEDGE_ISSUED=$E2E_DIR/$kind KEDGE_OTHER=$E2E_DIR/other-issued "$(test_tool spiffe)"
done
