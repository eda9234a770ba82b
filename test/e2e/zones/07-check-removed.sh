# shellcheck source=zones.sh
source "$E2E_ROOT/zones/zones.sh"

# A replica that was removed hears so by name, gets no intermediate, and issues from the
# one that it has; with a new directory and token its name joins again.
zone_config three eu-1
new_token three eu-1
serve_replica three
refused "$KEDGE_BIN" zones remove eu-1 three --reason "disk lost"
expect "$E2E_DIR/refused.out" 'type the name of the trust domain'
"$KEDGE_BIN" zones remove eu-1 three --reason "disk lost" --yes | tee "$E2E_DIR/removed"
expect "$E2E_DIR/removed" 'may issue until'
eventually 30 log_has three 'following the primary failed.*zone_removed'
refused on three intermediate renew
expect "$E2E_DIR/refused.out" '^code: zone_removed$'
workload three "$E2E_DIR/removed-leaf"
stop_server "$E2E_DIR/three.pid"
mv "$E2E_DIR/three/data" "$E2E_DIR/three/old-data"
new_token three eu-1
serve_replica three
workload three "$E2E_DIR/new-leaf"
# Only the primary answers for zones.
refused on three zones list
expect "$E2E_DIR/refused.out" '^code: not_the_primary$'
# A whole zone, and a stranger's key afterwards.
"$KEDGE_BIN" zones remove eu-1 --reason "region closed" --yes
eventually 30 log_has two 'following the primary failed.*zone_removed'
"$KEDGE_BIN" audit events -o json | tee "$E2E_DIR/events" >/dev/null
expect "$E2E_DIR/events" '"action":"zone.remove".*"because":"region closed"'
expect "$E2E_DIR/events" '"action":"zone.join".*"replica":"three"'
expect "$E2E_DIR/events" '"actor":"uid:[0-9]+","action":"zone.token"'
