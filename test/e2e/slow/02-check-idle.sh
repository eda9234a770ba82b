# shellcheck source=watch.sh
source "$E2E_ROOT/slow/watch.sh"

# A thousand proxies between two renewals, as a mesh has them: they stay, they are
# cheap, and the next one is served at once.
before=$(rss)
clients idle idle --clients 1000
await idle 'connected 1000' 120
after=$(rss)
served=$(others_are_served)
note "1000 idle connections: RSS $before MB before, $after MB with them; another certificate in $served"
((after <= 96)) || fail "RSS is $after MB"
sleep 5
[[ $(sockets) -ge 1000 ]] || fail "only $(sockets) connections are left"
stop_server "$E2E_DIR/idle.pid"
cat "$E2E_DIR/idle.out"
expect "$E2E_DIR/idle.out" '^lost 0$'
