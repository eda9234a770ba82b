# shellcheck source=upstream.sh
source "$E2E_ROOT/upstream/upstream.sh"

# A token, and a root whose key is made in it and cannot leave it.
need softhsm2-util pkcs11-tool openssl
module=/usr/lib/softhsm/libsofthsm2.so
[[ -e $module ]] || skip "$module is not installed (Debian: apt-get install softhsm2)"
(
	cd "$REPO/cmd/ca-upstream"
	unset GOFIPS140
	GOFLAGS=-mod=readonly GOEXPERIMENT=boringcrypto CGO_ENABLED=1 nice -n 10 go build -trimpath -ldflags '-s -w' -o "$UPSTREAM" .
)
mkdir -p "$E2E_DIR/tokens"
echo "directories.tokendir = $E2E_DIR/tokens" >"$SOFTHSM2_CONF"
softhsm2-util --init-token --free --label kedge --pin 13572468 --so-pin 24681357
(umask 077 && mkdir -p "$E2E_DIR/run")
# The URI has the PIN's file, not the PIN.
(umask 077 && echo -n 13572468 >"$E2E_DIR/pin")
cat >"$E2E_DIR/upstream.yaml" <<-YAML
	trust_domain: cluster.local
	socket: $SOCKET
	kms:
	  uri: "pkcs11:module-path=$module;token=kedge?pin-source=$E2E_DIR/pin"
	  root_key: "pkcs11:id=01;object=kedge-root"
	  root_certificate: $E2E_DIR/root.pem
YAML
"$UPSTREAM" root --config "$E2E_DIR/upstream.yaml" --create
refused "$UPSTREAM" root --config "$E2E_DIR/upstream.yaml" --create
openssl verify -CAfile "$E2E_DIR/root.pem" "$E2E_DIR/root.pem"
pkcs11-tool --module "$module" --token-label kedge --login --pin 13572468 --list-objects --type privkey | tee "$E2E_DIR/objects"
expect "$E2E_DIR/objects" 'never extractable'
"$UPSTREAM" fips | tee "$E2E_DIR/fips"
expect "$E2E_DIR/fips" 'outside the module +github.com/smallstep/certificates'
