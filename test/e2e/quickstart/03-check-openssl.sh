# shellcheck source=../steps.sh
source "$E2E_ROOT/steps.sh"

# OpenSSL, which knows nothing of Kedge, accepts the certificate and finds in it
# what docs/certificate-spec.md says.
need openssl
cd "$E2E_DIR/my-workload"
openssl verify -x509_strict -CAfile bundle.pem -untrusted tls.crt tls.crt
for purpose in sslserver sslclient; do
	openssl verify -purpose "$purpose" -CAfile bundle.pem -untrusted tls.crt tls.crt
done
refused openssl verify -CAfile /dev/null -untrusted tls.crt tls.crt
refused openssl verify -purpose smimesign -x509_strict -CAfile bundle.pem -untrusted tls.crt tls.crt
[[ "$(openssl pkey -in tls.key -pubout)" == "$(openssl x509 -in tls.crt -noout -pubkey)" ]] || fail "key and certificate do not belong together"
openssl x509 -in tls.crt -noout -text >"$E2E_DIR/leaf.txt"
cat "$E2E_DIR/leaf.txt"
expect "$E2E_DIR/leaf.txt" 'Version: 3'
expect "$E2E_DIR/leaf.txt" 'Signature Algorithm: ecdsa-with-SHA256'
expect "$E2E_DIR/leaf.txt" 'Subject: *$'
expect "$E2E_DIR/leaf.txt" 'Subject Alternative Name: critical'
expect "$E2E_DIR/leaf.txt" '^ *URI:spiffe://cluster.local/ns/default/sa/default$'
expect "$E2E_DIR/leaf.txt" 'CA:FALSE'
expect "$E2E_DIR/leaf.txt" 'TLS Web Server Authentication, TLS Web Client Authentication'
absent "$E2E_DIR/leaf.txt" 'DNS:|IP Address:|email:|Subject: .'
