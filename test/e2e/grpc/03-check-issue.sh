# shellcheck source=call.sh
source "$E2E_ROOT/grpc/call.sh"

# A certificate by token, judged by openssl, and one by Istio's protocol.
request=$(csr)
call "$CA/Issue" "{\"csr\":\"$request\",\"ttl\":\"3600s\"}" -H "$(bearer good)"
expect "$E2E_DIR/answer" '"identity": "spiffe://cluster.local/ns/default/sa/default"'
sed -nE 's/^  "certificate": "(.*)",$/\1/p' "$E2E_DIR/answer" | base64 -d | openssl x509 -inform der -out "$E2E_DIR/leaf.pem"
grep -A1 '"chain"' "$E2E_DIR/answer" | tail -1 | tr -d ' ",' | base64 -d | openssl x509 -inform der -out "$E2E_DIR/chain.pem"
openssl verify -x509_strict -CAfile "$E2E_DIR/bundle.pem" -untrusted "$E2E_DIR/chain.pem" "$E2E_DIR/leaf.pem"
[[ "$(openssl pkey -in "$E2E_DIR/csr.key" -pubout)" == "$(openssl x509 -in "$E2E_DIR/leaf.pem" -noout -pubkey)" ]] || fail "the certificate has another key"

pem=$(base64 -d <<<"$request" | openssl req -inform der | sed ':a;N;$!ba;s/\n/\\n/g')
call "$ISTIO" "{\"csr\":\"$pem\\n\",\"validity_duration\":3600,\"metadata\":{\"CertSigner\":\"\"}}" -H "$(bearer good)" -H "clusterid: Kubernetes"
[[ $(grep -c 'BEGIN CERTIFICATE' "$E2E_DIR/answer") == 3 ]] || { cat "$E2E_DIR/answer"; fail "not three elements"; }
