# shellcheck source=watch.sh
source "$E2E_ROOT/slow/watch.sh"

# Peers that vanish without a word, like a node that loses its power: here their
# process is stopped, so that nothing answers the server's pings. Their connections
# go after keepalive (60 s and 20 s), and nobody waits for them.
clients vanished idle --clients 100
await vanished 'connected 100' 60
kill -STOP "$(<"$E2E_DIR/vanished.pid")"
start=$SECONDS
others_are_served
while (($(sockets) > 10)); do
	((SECONDS - start < 150)) || fail "$(sockets) connections of vanished peers are left after 150 s"
	sleep 1
done
note "100 vanished peers were dropped within $((SECONDS - start)) s"
kill -KILL "$(<"$E2E_DIR/vanished.pid")"
rm "$E2E_DIR/vanished.pid"
