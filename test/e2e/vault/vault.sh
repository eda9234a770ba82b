# What the steps of the suites vault and outage share: a real Vault with a root for
# each mode, pki and transit, and a Kedge for each under E2E_DIR/MODE.
# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

MODES=(pki transit)
ROOT_NAME=kedge-root # of the issuer, and of the key
VAULT_DIR=$E2E_DIR/vault

# vault runs Vault's own command with the root token, or with VAULT_TOKEN.
vault() {
	env -i HOME="$VAULT_DIR" PATH="$PATH" VAULT_ADDR="$(vault_address)" VAULT_CACERT="$VAULT_DIR/ca.pem" \
		VAULT_TOKEN="${VAULT_TOKEN:-$(cat "$VAULT_DIR/root-token" 2>/dev/null || true)}" "$(<"$VAULT_DIR/binary")" "$@"
}

vault_address() { echo "https://$(<"$VAULT_DIR/address")"; }

# vault_health prints the status of sys/health: 200 active, 501 not initialised, 503
# sealed, 000 no answer.
vault_health() {
	curl -sS --noproxy '*' --max-time 2 --cacert "$VAULT_DIR/ca.pem" -o /dev/null -w '%{http_code}' "$(vault_address)/v1/sys/health" 2>/dev/null || true
}

# wait_vault waits for a status.
wait_vault() {
	local start=$SECONDS
	until [[ $(vault_health) == "$1" ]]; do
		((SECONDS - start <= 60)) || { tail -20 "$VAULT_DIR/vault.log"; fail "the health of Vault is $(vault_health), not $1"; }
		sleep 0.1
	done
}

# make_vault makes a certificate and a configuration, starts Vault, initialises it
# with one key share and unseals it. Everything that it is asked is in audit.log.
make_vault() {
	need curl openssl
	mkdir -p "$VAULT_DIR/data"
	"$REPO/test/tools/server" vault >"$VAULT_DIR/binary"
	local cluster
	echo "127.0.0.1:$(free_port)" >"$VAULT_DIR/address"
	cluster=127.0.0.1:$(free_port)
	vault_certificate
	cat >"$VAULT_DIR/vault.hcl" <<-HCL
		storage "raft" {
		  path                   = "$VAULT_DIR/data"
		  node_id                = "one"
		  performance_multiplier = 1
		}
		listener "tcp" {
		  address         = "$(<"$VAULT_DIR/address")"
		  cluster_address = "$cluster"
		  tls_cert_file   = "$VAULT_DIR/server.pem"
		  tls_key_file    = "$VAULT_DIR/server.key"
		}
		api_addr      = "$(vault_address)"
		cluster_addr  = "https://$cluster"
		disable_mlock = true
	HCL
	start_vault 501
	vault operator init -key-shares=1 -key-threshold=1 >"$VAULT_DIR/init"
	sed -n 's/^Unseal Key 1: //p' "$VAULT_DIR/init" >"$VAULT_DIR/unseal-key"
	sed -n 's/^Initial Root Token: //p' "$VAULT_DIR/init" >"$VAULT_DIR/root-token"
	unseal_vault
	vault audit enable file file_path="$VAULT_DIR/audit.log"
}

# vault_certificate makes the authority of Vault's own certificate, and that.
vault_certificate() {
	(
		cd "$VAULT_DIR"
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -subj "/CN=authority of vault" -days 2 -out ca.pem
		openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -subj /CN=vault -out server.csr
		openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out server.pem \
			-extfile <(echo 'subjectAltName=IP:127.0.0.1,DNS:localhost')
	) 2>"$VAULT_DIR/openssl.log"
}

# start_vault starts the server and waits for a status, by default that it is sealed.
start_vault() {
	setsid env -i HOME="$VAULT_DIR" PATH="$PATH" "$(<"$VAULT_DIR/binary")" server -config "$VAULT_DIR/vault.hcl" >>"$VAULT_DIR/vault.log" 2>&1 </dev/null &
	echo $! >"$E2E_DIR/vault.pid"
	wait_vault "${1:-503}"
}

seal_vault() { vault operator seal; wait_vault 503; }

unseal_vault() { vault operator unseal "$(<"$VAULT_DIR/unseal-key")" >/dev/null; wait_vault 200; }

stop_vault() { stop_server "$E2E_DIR/vault.pid"; wait_vault 000; }

# pause_vault freezes the process: it accepts connections and answers nothing.
pause_vault() { kill -STOP "$(<"$E2E_DIR/vault.pid")"; wait_vault 000; }

resume_vault() { kill -CONT "$(<"$E2E_DIR/vault.pid")"; wait_vault 200; }

# make_role MODE makes the AppRole kedge-MODE. Its tokens have exactly the policy that
# ca vault policy prints, without Vault's default one.
make_role() {
	"$KEDGE_BIN" vault policy --mode "$1" --name "$ROOT_NAME" >"$E2E_DIR/$1/policy.hcl"
	vault policy write "kedge-$1" "$E2E_DIR/$1/policy.hcl"
	vault write "auth/approle/role/kedge-$1" token_policies="kedge-$1" token_no_default_policy=true \
		token_ttl="${TOKEN_TTL:-1h}" token_max_ttl="${TOKEN_TTL:-24h}"
	vault read -field=role_id "auth/approle/role/kedge-$1/role-id" >"$E2E_DIR/$1/role-id"
	(umask 077 && vault write -f -field=secret_id "auth/approle/role/kedge-$1/secret-id" >"$E2E_DIR/$1/secret-id")
}

# setup_token MODE writes a token that ends soon, with the policy for ca init.
setup_token() {
	"$KEDGE_BIN" vault policy --mode "$1" --name "$ROOT_NAME" --setup | vault policy write "setup-$1" -
	(umask 077 && vault token create -policy="setup-$1" -no-default-policy -ttl=10m -field=token >"$E2E_DIR/$1/setup-token")
}

# make_vault_authority MODE makes a root in Vault and an authority under it, which
# reaches Vault at SERVERS_VAULT where that is set. Flags of ca init may follow.
make_vault_authority() {
	local dir=$E2E_DIR/$1
	echo "127.0.0.1:$(free_port)" >"$dir/listen"
	free_port >"$dir/ops-port"
	"$KEDGE_BIN" init --trust-domain cluster.local --data-dir "$dir/data" --config "$dir/ca.yaml" \
		--generate-passphrases "$dir/secrets" --listen "$(<"$dir/listen")" --server-name localhost --server-name 127.0.0.1 \
		--root "vault-$1" --root-name "$ROOT_NAME" --vault-address "${SERVERS_VAULT:-$(vault_address)}" --vault-ca-file "$VAULT_DIR/ca.pem" \
		--vault-role-id "$(<"$dir/role-id")" --vault-secret-id-file "$dir/secret-id" \
		--vault-setup-token-file "$dir/setup-token" "${@:2}"
	# The section authn is the last one.
	cat >>"$dir/ca.yaml" <<-YAML
		  kubernetes:
		    - cluster: Kubernetes
		      default: true
		      issuer: https://dev.kedge.invalid
		      audiences: [istio-ca]
		      jwks: {file: $dir/tokens/jwks.json}
		ops: {listen: 127.0.0.1:$(<"$dir/ops-port")}
	YAML
	"$KEDGE_BIN" config validate "$dir/ca.yaml"
}

# anchor MODE prints the root that Vault holds.
anchor() {
	case $1 in
	pki) vault read -field=certificate "pki/issuer/$ROOT_NAME" && echo ;;
	transit) cat "$E2E_DIR/transit/data/root/root.pem" ;;
	esac
}

# serve_mode MODE [BINARY] starts ca serve for a mode and waits until it serves.
serve_mode() {
	start_server "serve-$1" "${2:-$KEDGE_BIN}" serve --config "$E2E_DIR/$1/ca.yaml"
	wait_ready "serve-$1" "$(<"$E2E_DIR/$1/listen")"
}

# metric MODE NAME [LABEL] prints the sum of the samples of /metrics whose names begin
# so and that have the label; 0 without any.
metric() {
	local label=${3:-}
	curl -sS --noproxy '*' "http://127.0.0.1:$(<"$E2E_DIR/$1/ops-port")/metrics" |
		name=$2 label=$label awk 'index($0, ENVIRON["name"]) == 1 && (ENVIRON["label"] == "" || index($0, ENVIRON["label"])) {sum += $NF} END {printf "%.0f\n", sum}'
}

# clocked prints the path of a ca whose clock is ahead by the hours in the file that
# E2E_CLOCK names. It is the same program with one line changed at build time, in
# main.go, where the clock enters: the intermediate lives for days, so nothing else
# makes a renewal due within a test. The clock of Vault is not changed.
clocked() {
	local copy=$E2E_CACHE/clocked-main.go
	sed 's/now: time\.Now,/now: clockedNow,/' "$REPO/cmd/ca/main.go" >"$copy"
	! cmp -s "$copy" "$REPO/cmd/ca/main.go" || fail "cmd/ca/main.go does not take its clock where this suite changes it"
	cat >>"$copy" <<-'GO'

		func clockedNow() time.Time {
			raw, err := os.ReadFile(os.Getenv("E2E_CLOCK"))
			if err != nil {
				panic(err)
			}
			ahead, err := time.ParseDuration(string(raw[:len(raw)-1]) + "h")
			if err != nil {
				panic(err)
			}
			return time.Now().Add(ahead)
		}
	GO
	echo "{\"Replace\":{\"$REPO/cmd/ca/main.go\":\"$copy\"}}" >"$E2E_CACHE/clocked.json"
	(
		cd "$REPO"
		unset GOFIPS140
		export GOFLAGS=-mod=readonly GOEXPERIMENT=boringcrypto CGO_ENABLED=1
		nice -n 10 go build -overlay "$E2E_CACHE/clocked.json" -o "$E2E_CACHE/ca-clocked" ./cmd/ca >&2
	)
	echo "$E2E_CACHE/ca-clocked"
}

export E2E_CLOCK=$E2E_DIR/clock

# set_clock HOURS sets it, whole: a reader never sees a part.
set_clock() {
	echo "$1" >"$E2E_CLOCK.next"
	mv "$E2E_CLOCK.next" "$E2E_CLOCK"
}
