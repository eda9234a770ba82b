# shellcheck source=call.sh
source "$E2E_ROOT/grpc/call.sh"

# What is asked for: CSRs, lifetimes and profiles that must not do.
good=$(bearer good)
issue() { call "$CA/Issue" "$1" -H "$good"; }
deny() {
	local code=$1 reason=$2 request
	shift 2
	request=$(csr "$@")
	refusal "$code" "$reason" "$CA/Issue" "{\"csr\":\"$request\"}" -H "$good"
}
own=URI:spiffe://cluster.local/ns/default/sa/default
issue "{\"csr\":\"$(csr -addext "subjectAltName=critical,$own")\"}" || { cat "$E2E_DIR/answer"; fail "a CSR for the own name was refused"; }
deny 7 csr_identity -addext "subjectAltName=URI:spiffe://cluster.local/ns/kube-system/sa/admin"
deny 7 csr_identity -addext "subjectAltName=URI:spiffe://example.org/ns/default/sa/default"
deny 3 csr_names -addext "subjectAltName=$own,URI:spiffe://cluster.local/ns/kube-system/sa/admin"
deny 3 csr_names -addext "subjectAltName=$own,DNS:payments.prod.svc"
deny 3 csr_names -addext "subjectAltName=$own,IP:0.0.0.0"
deny 3 csr_names -addext "subjectAltName=email:a@cluster.local"
deny 7 csr_identity -addext "subjectAltName=URI:https://cluster.local/ns/default/sa/default"
deny 3 csr_asks_for_ca -addext basicConstraints=critical,CA:TRUE
deny 3 csr_asks_for_ca -addext keyUsage=keyCertSign
deny 3 csr_usage -addext keyUsage=dataEncipherment
deny 3 csr_usage -addext extendedKeyUsage=OCSPSigning
deny 3 csr_extension -addext nameConstraints=permitted\;DNS:cluster.local
deny 3 csr_subject -subj /CN=admin
deny 3 csr_signature_algorithm -sha1
for kind in "ec -pkeyopt ec_paramgen_curve:P-521" "ec -pkeyopt ec_paramgen_curve:P-224" rsa:1024 rsa:2560 ed25519; do
	# shellcheck disable=SC2086 # the flags are words
	request=$(csr_with $kind)
	refusal 3 key_unsupported "$CA/Issue" "{\"csr\":\"$request\"}" -H "$good"
done
for kind in "ec -pkeyopt ec_paramgen_curve:secp256k1" "ec -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit"; do
	# shellcheck disable=SC2086 # the flags are words
	request=$(csr_with $kind)
	refusal 3 csr_encoding "$CA/Issue" "{\"csr\":\"$request\"}" -H "$good"
done
request=$(csr_with rsa:2048 -pkeyopt rsa_keygen_pubexp:3)
refusal 3 key_unsupported "$CA/Issue" "{\"csr\":\"$request\"}" -H "$good"
refusal 3 csr_encoding "$CA/Issue" '{"csr":"AAAA"}' -H "$good"
refusal 3 csr_encoding "$CA/Issue" '{}' -H "$good"
refusal 3 csr_too_large "$CA/Issue" "{\"csr\":\"$(head -c 5000 /dev/zero | base64 -w0)\"}" -H "$good"
# Above 64 KiB a message is not read at all; the gRPC library answers for itself.
for size in 100000 4000000; do
	head -c "$size" /dev/zero | base64 -w0 | sed 's/^/{"csr":"/; s/$/"}/' >"$E2E_DIR/huge"
	if call "$CA/Issue" @ -H "$good" <"$E2E_DIR/huge"; then fail "$size bytes were taken for a CSR"; fi
	expect "$E2E_DIR/answer" '"code": 8'
done
valid=$(csr)
refusal 3 ttl_invalid "$CA/Issue" "{\"csr\":\"$valid\",\"ttl\":\"-1s\"}" -H "$good"
refusal 3 ttl_invalid "$CA/Issue" "{\"csr\":\"$valid\",\"ttl\":\"0.000000001s\"}" -H "$good"
refusal 3 ttl_invalid "$CA/Issue" "{\"csr\":\"$valid\",\"ttl\":\"60s\"}" -H "$good"
refusal 3 profile_unknown "$CA/Issue" "{\"csr\":\"$valid\",\"profile\":\"root\"}" -H "$good"
# The same key for another workload: possession is not ownership.
issue "{\"csr\":\"$valid\"}" || fail "the good request was refused"
refusal 7 key_of_other_identity "$CA/Issue" "{\"csr\":\"$valid\"}" -H "$(bearer other-workload)"
pem=$(base64 -d <<<"$valid" | openssl req -inform der | sed ':a;N;$!ba;s/\n/\\n/g')
refusal 7 impersonation_denied "$ISTIO" "{\"csr\":\"$pem\\n\",\"metadata\":{\"ImpersonatedIdentity\":\"spiffe://cluster.local/ns/prod/sa/payments\"}}" -H "$good"
