# shellcheck source=linkerd.sh
source "$E2E_ROOT/linkerd/linkerd.sh"

# The rules of the proxy hold, without ALPN and with; OpenSSL reads the same names.
need openssl
certify web default.default linkerd
certify alpn default.default linkerd --kind alpn
openssl x509 -in "$E2E_DIR/pod-web/tls.crt" -noout -ext subjectAltName,extendedKeyUsage,keyUsage -subject >"$E2E_DIR/leaf.out"
expect "$E2E_DIR/leaf.out" "DNS:default\.default\.$DOMAIN, URI:spiffe://cluster\.local/ns/default/sa/default"
expect "$E2E_DIR/leaf.out" 'subject=$'
expect "$E2E_DIR/leaf.out" 'TLS Web Server Authentication, TLS Web Client Authentication'
[[ $(pem_count "$E2E_DIR/pod-web/tls.crt") == 2 ]] || fail "leaf and intermediate, and no root"
for purpose in sslserver sslclient; do
	openssl verify -x509_strict -purpose $purpose -verify_hostname "default.default.$DOMAIN" \
		-CAfile "$E2E_DIR/bundle.pem" -untrusted "$E2E_DIR/pod-web/tls.crt" "$E2E_DIR/pod-web/tls.crt"
done
# The common name of its CSR is longer than a common name may be.
long=$(printf 'a%.0s' $(seq 63))
certify long "$long.default" linkerd-long
openssl req -inform der -in "$E2E_DIR/pod-long/csr.der" -noout -subject | grep -q "$long\.default\.$DOMAIN"
