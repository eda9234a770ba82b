# shellcheck source=watch.sh
source "$E2E_ROOT/slow/watch.sh"

# Clients that connect and say nothing, and clients whose ClientHello comes a byte a
# second: more of them than handshakes are allowed at once. They are hung up on after
# the handshake's time, and meanwhile others are served.
clients silent slow --kind silent --clients 300
clients dripping slow --kind handshake --clients 300
await silent 'started 300' 20
await dripping 'started 300' 20
sleep 1
served=$(others_are_served)
note "600 unfinished handshakes: another certificate in $served"
await silent 'closed 300' 30
await dripping 'closed 300' 30
stop_server "$E2E_DIR/silent.pid"
stop_server "$E2E_DIR/dripping.pid"
