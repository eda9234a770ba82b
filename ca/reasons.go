package ca

import "slices"

// The reasons, in the order in which a request meets the checks.
const (
	ReasonInternal Reason = "internal"

	ReasonCSRTooLarge     Reason = "csr_too_large"
	ReasonCSREncoding     Reason = "csr_encoding"
	ReasonCSRVersion      Reason = "csr_version"
	ReasonCSRSignature    Reason = "csr_signature"
	ReasonCSRSigAlgorithm Reason = "csr_signature_algorithm"
	ReasonCSRSubject      Reason = "csr_subject"
	ReasonCSRAttribute    Reason = "csr_attribute"
	ReasonCSRExtension    Reason = "csr_extension"
	ReasonCSRCA           Reason = "csr_asks_for_ca"
	ReasonCSRUsage        Reason = "csr_usage"
	ReasonCSRNames        Reason = "csr_names"
	ReasonCSRIdentity     Reason = "csr_identity"
	ReasonTTL             Reason = "ttl_invalid"
	ReasonProfile         Reason = "profile_unknown"
	ReasonRequest         Reason = "request_malformed"

	ReasonKeyUnsupported Reason = "key_unsupported"
	ReasonKeyWeak        Reason = "key_weak"
	ReasonKeyBlocked     Reason = "key_blocked"
	ReasonKeyOfCA        Reason = "key_of_ca"
	ReasonKeyReused      Reason = "key_of_other_identity"

	ReasonNoCredentials      Reason = "credentials_missing"
	ReasonCredentialsDiffer  Reason = "credentials_differ"
	ReasonTokenMalformed     Reason = "token_malformed"
	ReasonTokenTooLarge      Reason = "token_too_large"
	ReasonTokenAlgorithm     Reason = "token_algorithm"
	ReasonTokenHeader        Reason = "token_header"
	ReasonTokenKeyUnknown    Reason = "token_key_unknown"
	ReasonTokenSignature     Reason = "token_signature"
	ReasonTokenIssuer        Reason = "token_issuer"
	ReasonTokenAudience      Reason = "token_audience"
	ReasonTokenExpired       Reason = "token_expired"
	ReasonTokenNotYet        Reason = "token_not_yet_valid"
	ReasonTokenLifetime      Reason = "token_lifetime"
	ReasonTokenSubject       Reason = "token_subject"
	ReasonTokenUnbound       Reason = "token_unbound"
	ReasonTokenUsed          Reason = "token_used"
	ReasonClusterUnknown     Reason = "cluster_unknown"
	ReasonKeysUnavailable    Reason = "token_keys_unavailable"
	ReasonCertificateInvalid Reason = "certificate_invalid"
	ReasonCertificateExpired Reason = "certificate_expired"
	ReasonCertificateNames   Reason = "certificate_names"

	ReasonPolicy        Reason = "policy_denied"
	ReasonImpersonation Reason = "impersonation_denied"
	ReasonMethodUnknown Reason = "method_unknown"

	ReasonIdentityQuota Reason = "identity_quota"
	ReasonOverloaded    Reason = "overloaded"

	ReasonNotReady         Reason = "not_ready"
	ReasonAuthorityExpired Reason = "authority_expired"
	ReasonFIPS             Reason = "fips_error"
	ReasonRecordFailed     Reason = "record_failed"
	ReasonSigningFailed    Reason = "signing_failed"
	ReasonRootUnavailable  Reason = "root_unavailable"
	ReasonHalted           Reason = "halted"
	ReasonDraining         Reason = "draining"

	ReasonRootUnreachable Reason = "root_unreachable"
	ReasonRootTimeout     Reason = "root_timeout"
	ReasonRootTLS         Reason = "root_tls"
	ReasonRootSealed      Reason = "root_sealed"
	ReasonRootStandby     Reason = "root_standby"
	ReasonRootThrottled   Reason = "root_throttled"
	ReasonRootLogin       Reason = "root_login"
	ReasonRootDenied      Reason = "root_denied"
	ReasonRootMissing     Reason = "root_missing"
	ReasonRootRefused     Reason = "root_refused"
	ReasonRootRedirected  Reason = "root_redirected"
	ReasonRootAnswer      Reason = "root_answer"
	ReasonRootMismatch    Reason = "root_mismatch"
	ReasonRootKey         Reason = "root_key"
	ReasonRootFIPS        Reason = "root_not_fips"

	ReasonBundleMalformed Reason = "bundle_malformed"
	ReasonBundleForeign   Reason = "bundle_foreign"
	ReasonBundleReplayed  Reason = "bundle_replayed"
	ReasonBundleGap       Reason = "bundle_gap"
	ReasonBundleForked    Reason = "bundle_forked"
	ReasonBundleSignature Reason = "bundle_signature"

	ReasonZoneName         Reason = "zone_name"
	ReasonZoneToken        Reason = "zone_token_unknown"
	ReasonZoneTokenUsed    Reason = "zone_token_used"
	ReasonZoneTokenExpired Reason = "zone_token_expired"
	ReasonZoneTaken        Reason = "zone_replica_taken"
	ReasonZoneUnknown      Reason = "zone_unknown"
	ReasonZoneRemoved      Reason = "zone_removed"
	ReasonZoneAnchor       Reason = "zone_anchor"
	ReasonPrimaryAway      Reason = "primary_unreachable"
	ReasonPrimaryUntrusted Reason = "primary_untrusted"
	ReasonNoPrimary        Reason = "not_the_primary"

	ReasonNotFound Reason = "not_found"
	ReasonStale    Reason = "stale"
)

type reasonInfo struct {
	class  Class
	public string
}

// reasons is the one list of refusals: class and the sentence for the client.
var reasons = map[Reason]reasonInfo{
	ReasonInternal: {Internal, "The certificate authority failed; its log has the details."},

	ReasonCSRTooLarge:     {Malformed, "The CSR is larger than a CSR for a workload can be."},
	ReasonCSREncoding:     {Malformed, "The CSR is not one well-formed PKCS#10 request."},
	ReasonCSRVersion:      {Malformed, "The CSR's version is not 0."},
	ReasonCSRSignature:    {Malformed, "The CSR's signature does not prove possession of its key."},
	ReasonCSRSigAlgorithm: {Malformed, "The CSR is signed with an algorithm that is not approved."},
	ReasonCSRSubject:      {Malformed, "The CSR names a subject; leave it empty, the identity comes from the credentials."},
	ReasonCSRAttribute:    {Malformed, "The CSR carries an attribute other than one extension request."},
	ReasonCSRExtension:    {Malformed, "The CSR asks for an extension that workloads do not get."},
	ReasonCSRCA:           {Malformed, "The CSR asks for the right to sign certificates."},
	ReasonCSRUsage:        {Malformed, "The CSR asks for a key usage that workloads do not get."},
	ReasonCSRNames:        {Malformed, "The CSR must ask for no name or for exactly one SPIFFE ID; in Linkerd's protocol, for exactly the DNS name of the request."},
	ReasonCSRIdentity:     {Denied, "The CSR asks for a name that is not the caller's own."},
	ReasonTTL:             {Malformed, "The requested lifetime is not usable."},
	ReasonProfile:         {Malformed, "There is no certificate profile of that name."},
	ReasonRequest:         {Malformed, "The request is incomplete or has an unknown field value."},

	ReasonKeyUnsupported: {Malformed, "The key's type or size is not approved; use ECDSA P-256, P-384 or RSA 2048, 3072, 4096."},
	ReasonKeyWeak:        {Malformed, "The key is weak; generate a new one with a current library."},
	ReasonKeyBlocked:     {Denied, "The key is on the block list; generate a new one."},
	ReasonKeyOfCA:        {Denied, "The key belongs to a certificate authority; generate a new one."},
	ReasonKeyReused:      {Denied, "The key already belongs to another identity; generate a new one."},

	ReasonNoCredentials:      {Unauthenticated, "Send a token or a client certificate."},
	ReasonCredentialsDiffer:  {Unauthenticated, "The token and the client certificate name different identities."},
	ReasonTokenMalformed:     {Unauthenticated, "The token cannot be read."},
	ReasonTokenTooLarge:      {Unauthenticated, "The token is larger than a token can be."},
	ReasonTokenAlgorithm:     {Unauthenticated, "The token is signed with an algorithm that is not allowed."},
	ReasonTokenHeader:        {Unauthenticated, "The token's header is not acceptable."},
	ReasonTokenKeyUnknown:    {Unauthenticated, "The token is signed with an unknown key."},
	ReasonTokenSignature:     {Unauthenticated, "The token's signature is wrong."},
	ReasonTokenIssuer:        {Unauthenticated, "The token comes from an unknown issuer."},
	ReasonTokenAudience:      {Unauthenticated, "The token is for another audience."},
	ReasonTokenExpired:       {Unauthenticated, "The token has expired."},
	ReasonTokenNotYet:        {Unauthenticated, "The token is not valid yet."},
	ReasonTokenLifetime:      {Unauthenticated, "The token lives longer than is allowed."},
	ReasonTokenSubject:       {Unauthenticated, "The token's subject is not a workload of this trust domain."},
	ReasonTokenUnbound:       {Unauthenticated, "The token is not bound to the object that is required."},
	ReasonTokenUsed:          {Unauthenticated, "The token was used before."},
	ReasonClusterUnknown:     {Unauthenticated, "The cluster is not known."},
	ReasonKeysUnavailable:    {Unavailable, "The keys that verify tokens cannot be had just now; retry."},
	ReasonCertificateInvalid: {Unauthenticated, "The client certificate is not from this trust domain."},
	ReasonCertificateExpired: {Unauthenticated, "The client certificate has expired."},
	ReasonCertificateNames:   {Unauthenticated, "The client certificate must name exactly one SPIFFE ID of this trust domain."},

	ReasonPolicy:        {Denied, "Policy does not grant this certificate to this caller."},
	ReasonImpersonation: {Denied, "Asking for another workload's certificate is not enabled."},
	ReasonMethodUnknown: {Denied, "There is no such method."},

	ReasonIdentityQuota: {Exhausted, "This identity asks too often; retry after the time given."},
	ReasonOverloaded:    {Exhausted, "The certificate authority is busy; retry after the time given."},

	ReasonNotReady:         {Unavailable, "The certificate authority is not ready; retry."},
	ReasonAuthorityExpired: {Unavailable, "The authority's own certificate has too little life left; an operator is needed."},
	ReasonFIPS:             {Unavailable, "The cryptographic module is in its error state; an operator is needed."},
	ReasonRecordFailed:     {Unavailable, "The issuance could not be recorded; retry."},
	ReasonSigningFailed:    {Unavailable, "Signing failed; retry."},
	ReasonRootUnavailable:  {Unavailable, "The root cannot be reached; retry."},
	ReasonHalted:           {Unavailable, "An operator has halted issuance."},
	ReasonDraining:         {Unavailable, "This server is stopping; connect again."},

	ReasonRootUnreachable: {Unavailable, "No connection to the root's server could be made."},
	ReasonRootTimeout:     {Unavailable, "The root's server did not answer in time."},
	ReasonRootTLS:         {Unavailable, "The certificate of the root's server is not under the pinned authority."},
	ReasonRootSealed:      {Unavailable, "The root's server is sealed."},
	ReasonRootStandby:     {Unavailable, "The root's server is a standby and does not answer itself."},
	ReasonRootThrottled:   {Unavailable, "The root's server limits the rate of requests."},
	ReasonRootLogin:       {Unavailable, "The root's server does not accept the login."},
	ReasonRootDenied:      {Unavailable, "The root's server does not permit the request."},
	ReasonRootMissing:     {Unavailable, "The root's server has no such mount, issuer or key."},
	ReasonRootRefused:     {Unavailable, "The root's server refused the request as it is."},
	ReasonRootRedirected:  {Unavailable, "The root's server redirects; redirects are not followed."},
	ReasonRootAnswer:      {Unavailable, "The root's server gave an answer that cannot be used."},
	ReasonRootMismatch:    {Unavailable, "The root signed something other than what was asked for."},
	ReasonRootFIPS:        {Unavailable, "The root's server does not say that it is a FIPS build, and one is required."},
	ReasonRootKey:         {Unavailable, "The key at the root's server is not the one that is pinned, or is not safe."},

	ReasonBundleMalformed: {Malformed, "The trust bundle is not one well-formed bundle."},
	ReasonBundleForeign:   {Denied, "The trust bundle is of another trust domain."},
	ReasonBundleReplayed:  {Conflict, "The trust bundle is older than the one that is held."},
	ReasonBundleGap:       {Conflict, "The trust bundle does not follow the one that is held; ask for those between."},
	ReasonBundleForked:    {Denied, "The trust bundle is of another history than the one that is held."},
	ReasonBundleSignature: {Denied, "Too few of the keys that sign bundles have signed the trust bundle."},

	ReasonZoneName:         {Malformed, "The name of a zone or a replica has 1 to 63 characters of a-z, 0-9 and hyphens."},
	ReasonZoneToken:        {Unauthenticated, "There is no such join token for a zone."},
	ReasonZoneTokenUsed:    {Unauthenticated, "The join token was used by another replica already."},
	ReasonZoneTokenExpired: {Unauthenticated, "The join token has expired."},
	ReasonZoneTaken:        {Denied, "Another replica of the zone has this name."},
	ReasonZoneUnknown:      {Unauthenticated, "The primary knows no replica with this key; join again."},
	ReasonZoneRemoved:      {Denied, "The zone or the replica was removed."},
	ReasonZoneAnchor:       {Conflict, "The zone was not told to sign under this anchor."},
	ReasonPrimaryAway:      {Unavailable, "The primary cannot be reached; the zone goes on with what it holds."},
	ReasonPrimaryUntrusted: {Unavailable, "The primary's certificate is under no anchor that is held, or names somebody else."},
	ReasonNoPrimary:        {Unavailable, "This server is no primary."},

	ReasonNotFound: {NotFound, "There is no such object."},
	ReasonStale:    {Conflict, "The state has changed; load it again."},
}

// Reasons lists every reason in alphabetical order, for the tests that hold the
// documentation and the wire tables to this list.
func Reasons() []Reason {
	all := make([]Reason, 0, len(reasons))
	for r := range reasons {
		all = append(all, r)
	}
	slices.Sort(all)
	return all
}
