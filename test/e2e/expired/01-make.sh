# shellcheck source=clock.sh
source "$E2E_ROOT/expired/clock.sh"

# An authority made eleven years ago: root, standby and intermediate have expired.
make_authority_at $((-11 * YEARS))
cp "$E2E_DIR/bundle.pem" "$E2E_DIR/old-bundle.pem"
for slot in root standby; do
	openssl x509 -in "$E2E_DIR/data/$slot/root.pem" -noout -enddate
	refused openssl x509 -in "$E2E_DIR/data/$slot/root.pem" -noout -checkend 0
done
