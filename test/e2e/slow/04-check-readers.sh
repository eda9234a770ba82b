# shellcheck source=watch.sh
source "$E2E_ROOT/slow/watch.sh"

# Clients that read, and clients that write, a byte a second, some within TLS.
clients readers slow --kind reader --clients 200
clients writers slow --kind writer --clients 200
await readers 'started 200' 20
await writers 'started 200' 20
sleep 3
for _ in 1 2 3; do served=$(others_are_served); done
note "400 slow readers and writers: RSS $(rss) MB; another certificate in $served"
(($(rss) <= 160)) || fail "RSS is $(rss) MB"
stop_server "$E2E_DIR/readers.pid"
stop_server "$E2E_DIR/writers.pid"
