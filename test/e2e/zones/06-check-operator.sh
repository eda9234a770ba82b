# shellcheck source=zones.sh
source "$E2E_ROOT/zones/zones.sh"

# What an operator sees at either side.
need curl
curl -s "http://127.0.0.1:$(port primary-ops)/metrics" >"$E2E_DIR/metrics"
expect "$E2E_DIR/metrics" '^kedge_bundle_sequence 1$'
expect "$E2E_DIR/metrics" '^kedge_zone_last_contact_timestamp_seconds\{replica="two",zone="eu-1"\} '
curl -s "http://127.0.0.1:$(port one-ops)/metrics" >"$E2E_DIR/metrics"
expect "$E2E_DIR/metrics" '^kedge_primary_last_contact_timestamp_seconds '
expect "$E2E_DIR/metrics" '^kedge_command_epoch 0$'
