# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# The matrix of docs/fips.md: what a FIPS server must accept and what it must not
# (SP 800-52 r2 §3.3, FIPS 140-3 IG 2.4.A), for each listener.
need openssl

# shakes PORT ANCHORS FLAG… tells whether a handshake succeeds.
shakes() {
	local port=$1 anchors=$2
	shift 2
	timeout 10 openssl s_client -connect "127.0.0.1:$port" -CAfile "$anchors" -verify_return_error -verify_ip 127.0.0.1 \
		-alpn h2 -brief "$@" >"$E2E_DIR/s_client.out" 2>&1 </dev/null
}

rows=0
# row VERDICT NAME FLAG… holds each listener to the verdict, and the control to "accepts".
row() {
	local verdict=$1 name=$2 port
	shift 2
	shakes "$(<"$E2E_DIR/control-port")" "$E2E_DIR/controls.pem" "$@" || { cat "$E2E_DIR/s_client.out"; fail "$name: the control refuses it, so this row proves nothing"; }
	for port in "$PORT" "$OPS_PORT"; do
		if shakes "$port" "$E2E_DIR/bundle.pem" "$@"; then
			[[ $verdict == accepts ]] || { cat "$E2E_DIR/s_client.out"; fail "$name is accepted on port $port"; }
		else
			[[ $verdict == refuses ]] || { cat "$E2E_DIR/s_client.out"; fail "$name is refused on port $port"; }
			grep -aq -e 'alert' -e 'unexpected eof' -e 'errno' "$E2E_DIR/s_client.out" || { cat "$E2E_DIR/s_client.out"; fail "$name failed, but not by the server's refusal"; }
		fi
	done
	rows=$((rows + 1))
	echo "$verdict  $name: $(grep -aE 'Protocol version|Ciphersuite|alert' "$E2E_DIR/s_client.out" | paste -sd' ')"
}

old=(-cipher ALL:@SECLEVEL=0)
row accepts "TLS 1.3 with the client's defaults" -tls1_3
row accepts "TLS 1.2 with the client's defaults" -tls1_2
row accepts "TLS 1.3 AES-128-GCM P-256" -tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256 -groups P-256
row accepts "TLS 1.3 AES-256-GCM P-384" -tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384 -groups P-384
row accepts "TLS 1.2 ECDHE-ECDSA-AES128-GCM P-256" -tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256 -groups P-256
row accepts "TLS 1.2 ECDHE-ECDSA-AES256-GCM P-384 first" -tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384 -groups P-384:P-256
row accepts "X25519 first but P-256 offered" -tls1_3 -groups X25519:P-256
row refuses "TLS 1.0" -tls1 "${old[@]}"
row refuses "TLS 1.1" -tls1_1 "${old[@]}"
row refuses "TLS 1.3 ChaCha20 only" -tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256
row refuses "TLS 1.2 ChaCha20 only" -tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305
row refuses "TLS 1.2 AES-128-CBC-SHA" -tls1_2 -cipher ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0
row refuses "TLS 1.2 AES-256-CBC-SHA384" -tls1_2 -cipher ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0
row refuses "TLS 1.2 AES-CCM" -tls1_2 -cipher ECDHE-ECDSA-AES128-CCM:@SECLEVEL=0
row refuses "TLS 1.2 without encryption" -tls1_2 -cipher ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0
row refuses "TLS 1.2 without a certificate" -tls1_2 -cipher AECDH-AES128-SHA:@SECLEVEL=0
row refuses "TLS 1.3 X25519 only" -tls1_3 -groups X25519
row refuses "TLS 1.2 X25519 only" -tls1_2 -groups X25519
row refuses "TLS 1.3 X448 only" -tls1_3 -groups X448
note "$rows rows, each on 2 listeners and on the control"
