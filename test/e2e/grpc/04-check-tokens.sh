# shellcheck source=call.sh
source "$E2E_ROOT/grpc/call.sh"

# Who is calling: every token that must not do, in both protocols, with its reason.
request=$(csr)
body="{\"csr\":\"$request\"}"
pem=$(base64 -d <<<"$request" | openssl req -inform der | sed ':a;N;$!ba;s/\n/\\n/g')
for method in "$CA/Issue" "$ISTIO"; do
	[[ $method == "$ISTIO" ]] && body="{\"csr\":\"$pem\\n\"}"
	refusal 16 credentials_missing "$method" "$body"
	refusal 16 token_audience "$method" "$body" -H "$(bearer wrong-audience)"
	refusal 16 token_expired "$method" "$body" -H "$(bearer expired)"
	refusal 16 token_not_yet_valid "$method" "$body" -H "$(bearer not-yet-valid)"
	refusal 16 token_key_unknown "$method" "$body" -H "$(bearer unknown-key)"
	refusal 16 token_malformed "$method" "$body" -H "authorization: Bearer x"
	refusal 16 token_malformed "$method" "$body" -H "authorization: Bearer $(printf '.%.0s' $(seq 1000))"
	refusal 16 token_signature "$method" "$body" -H "$(bearer good | sed 's/.\{6\}$/AAAAAA/')"
	refusal 16 cluster_unknown "$method" "$body" -H "$(bearer good)" -H "clusterid: elsewhere"
	# Forwarded identities are nobody's business here (XFCC, and the like).
	refusal 16 credentials_missing "$method" "$body" -H 'x-forwarded-client-cert: URI=spiffe://cluster.local/ns/default/sa/default'
done
refusal 16 credentials_missing "$CA/Renew" "{\"csr\":\"$request\"}" -H "$(bearer good)"
