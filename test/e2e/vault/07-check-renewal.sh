# shellcheck source=vault.sh
source "$E2E_ROOT/vault/vault.sh"

# The intermediate is renewed through Vault when its time comes.
for mode in "${MODES[@]}"; do stop_server "$E2E_DIR/serve-$mode.pid"; done
set_clock 0
ca=$(clocked)
for mode in "${MODES[@]}"; do
	serve_mode "$mode" "$ca"
	begin=$(metric "$mode" kedge_certificate_not_after_timestamp_seconds 'role="intermediate"')
	asked=$(grep -c '"type":"response"' "$VAULT_DIR/audit.log")
	set_clock 90 # half of the seven days of an intermediate, and some
	start=$SECONDS
	until grep -q '"msg":"new intermediate in force"' "$E2E_DIR/serve-$mode.err"; do
		((SECONDS - start <= 30)) || { tail -5 "$E2E_DIR/serve-$mode.err"; fail "the intermediate of $mode was not renewed"; }
		sleep 0.2
	done
	tail -n "+$((asked + 1))" <(grep '"type":"response"' "$VAULT_DIR/audit.log") >"$E2E_DIR/asked"
	case $mode in
	pki) expect "$E2E_DIR/asked" '"path":"pki/issuer/kedge-root/sign-intermediate"' ;;
	transit) expect "$E2E_DIR/asked" '"path":"transit/sign/kedge-root/sha2-256"' ;;
	esac
	[[ $(metric "$mode" kedge_certificate_not_after_timestamp_seconds 'role="intermediate"') != "$begin" ]] || fail "the metrics show no new intermediate"
	start=$SECONDS
	until openssl s_client -connect "$(<"$E2E_DIR/$mode/listen")" -showcerts </dev/null >"$E2E_DIR/shown" 2>/dev/null &&
		openssl x509 -in "$E2E_DIR/shown" -noout -checkend $((90 * 3600)) >/dev/null; do
		((SECONDS - start <= 30)) || fail "the server of $mode has no certificate of today"
		sleep 0.2
	done
	openssl verify -attime $((EPOCHSECONDS + 90 * 3600)) -CAfile "$E2E_DIR/$mode/bundle.pem" -untrusted "$E2E_DIR/shown" "$E2E_DIR/shown"
	stop_server "$E2E_DIR/serve-$mode.pid"
	set_clock 0
done
