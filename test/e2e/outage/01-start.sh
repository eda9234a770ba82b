# shellcheck source=outage.sh
source "$E2E_ROOT/outage/outage.sh"

# Vault with both modes, a Kedge for each, and a load of certificates on each.
make_vault
vault secrets enable -max-lease-ttl=87600h pki
vault secrets enable transit
vault auth enable approle
set_clock 0
ca=$(clocked)
load=$(tool outage-load . ./test/e2e/outage/load)
for mode in "${MODES[@]}"; do
	mkdir -p "$E2E_DIR/$mode/tokens"
	make_role "$mode"
	setup_token "$mode"
	make_vault_authority "$mode"
	echo "intermediate: {lifetime: 48h}" >>"$E2E_DIR/$mode/ca.yaml"
	start_server "load-$mode" "$load" --server "$(<"$E2E_DIR/$mode/listen")" --bundle "$E2E_DIR/$mode/tokens/bundle.pem" \
		--dir "$E2E_DIR/$mode/tokens" --clock "$E2E_CLOCK" --rate "$RATE"
	until [[ -s "$E2E_DIR/$mode/tokens/jwks.json" ]]; do sleep 0.05; done
	serve_mode "$mode" "$ca"
	anchor "$mode" >"$E2E_DIR/$mode/bundle.pem"
	mv "$E2E_DIR/$mode/bundle.pem" "$E2E_DIR/$mode/tokens/bundle.pem" # the load begins
	until [[ -s "$E2E_DIR/$mode/tokens/stats" ]] && (($(stat_of "$mode" 1) > 0)); do
		alive "$(<"$E2E_DIR/load-$mode.pid")" || { cat "$E2E_DIR/load-$mode.err"; fail "the load ended"; }
		sleep 0.05
	done
done
