# shellcheck source=vault.sh
source "$E2E_ROOT/vault/vault.sh"

# Certificates stand under the root that Vault holds, by OpenSSL, and Vault is not
# asked for them.
for mode in "${MODES[@]}"; do
	asked=$(metric "$mode" kedge_vault_requests_total 'operation="sign')
	for n in $(seq 5); do
		"$KEDGE_BIN" issue --server "$(<"$E2E_DIR/$mode/listen")" --bundle "$E2E_DIR/$mode/bundle.pem" \
			--token-file "$E2E_DIR/$mode/tokens/good" --out "$E2E_DIR/$mode/leaf-$n"
	done
	leaf=$E2E_DIR/$mode/leaf-1/tls.crt
	openssl verify -x509_strict -CAfile "$E2E_DIR/$mode/bundle.pem" -untrusted "$leaf" "$leaf"
	other=$([[ $mode == pki ]] && echo transit || echo pki)
	refused openssl verify -CAfile "$E2E_DIR/$other/bundle.pem" -untrusted "$leaf" "$leaf"
	openssl x509 -in "$leaf" -noout -ext subjectAltName | grep 'URI:spiffe://cluster.local/ns/default/sa/default'
	[[ $(metric "$mode" kedge_vault_requests_total 'operation="sign') == "$asked" ]] || fail "Vault was asked for a certificate of a workload"
	"$KEDGE_BIN" vault preflight --config "$E2E_DIR/$mode/ca.yaml" >"$E2E_DIR/preflight.out" # beside a server that runs
	expect "$E2E_DIR/preflight.out" '√ root-bundle'
done
