# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# Killed while it renews its intermediate: the next start has one that works, whichever
# it is, and keys that nobody needs do not pile up.
grpcurl=$(tool grpcurl h2 github.com/fullstorydev/grpcurl/cmd/grpcurl)
renew() {
	"$grpcurl" -plaintext -unix -max-time 20 -import-path "$REPO/api" -proto kedge/v1/admin.proto "$E2E_DIR/admin.sock" kedge.v1.Admin/RenewIntermediate
}
start=$EPOCHREALTIME
renew # how long a whole one takes bounds the moments of the kills
limit=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN{printf "%d", (b-a)*1000}')
for _ in $(seq 10); do
	renew >"$E2E_DIR/renewal.out" 2>&1 &
	sleep "$(awk -v n="$RANDOM" -v limit="$limit" 'BEGIN{printf "%.3f", n/32768*limit/1000}')"
	pid=$(<"$E2E_DIR/serve.pid")
	kill -KILL "$pid"
	wait
	while alive "$pid"; do sleep 0.01; done
	serve
	"$KEDGE_BIN" issue --server "$LISTEN" --bundle "$E2E_DIR/bundle.pem" --token-file "$E2E_DIR/tokens/good" --out "$E2E_DIR/renewal"
	"$KEDGE_BIN" verify "$E2E_DIR/renewal/tls.crt" --bundle "$E2E_DIR/bundle.pem" >/dev/null
	"$KEDGE_BIN" renew --server "$LISTEN" --bundle "$E2E_DIR/bundle.pem" --dir "$E2E_DIR/before" >/dev/null
done
renew
note "a renewal takes $limit ms; $(find "$E2E_DIR/data/keys" -name '*.key' | wc -l) keys after 10 kills; those of retired intermediates stay until their last leaf has died"
"$KEDGE_BIN" audit verify --admin-socket "$E2E_DIR/admin.sock"
