package api_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/ca"
)

// pilotRetries are the codes that Istio's agent tries again by itself
// (istio pkg/security/retry.go).
var pilotRetries = map[codes.Code]bool{
	codes.Canceled: true, codes.DeadlineExceeded: true, codes.ResourceExhausted: true,
	codes.Aborted: true, codes.Internal: true, codes.Unavailable: true,
}

// wireCodes states the code of every reason, and whether the same request can
// succeed later without anybody mending it. Both are promises to clients.
var wireCodes = map[ca.Reason]struct {
	code  codes.Code
	helps bool
}{
	ca.ReasonInternal: {codes.Internal, true}, // a defect that one request meets may spare the next

	ca.ReasonCSRTooLarge:     {codes.InvalidArgument, false},
	ca.ReasonCSREncoding:     {codes.InvalidArgument, false},
	ca.ReasonCSRVersion:      {codes.InvalidArgument, false},
	ca.ReasonCSRSignature:    {codes.InvalidArgument, false},
	ca.ReasonCSRSigAlgorithm: {codes.InvalidArgument, false},
	ca.ReasonCSRSubject:      {codes.InvalidArgument, false},
	ca.ReasonCSRAttribute:    {codes.InvalidArgument, false},
	ca.ReasonCSRExtension:    {codes.InvalidArgument, false},
	ca.ReasonCSRCA:           {codes.InvalidArgument, false},
	ca.ReasonCSRUsage:        {codes.InvalidArgument, false},
	ca.ReasonCSRNames:        {codes.InvalidArgument, false},
	ca.ReasonCSRIdentity:     {codes.PermissionDenied, false},
	ca.ReasonTTL:             {codes.InvalidArgument, false},
	ca.ReasonProfile:         {codes.InvalidArgument, false},
	ca.ReasonRequest:         {codes.InvalidArgument, false},

	ca.ReasonKeyUnsupported: {codes.InvalidArgument, false},
	ca.ReasonKeyWeak:        {codes.InvalidArgument, false},
	ca.ReasonKeyBlocked:     {codes.PermissionDenied, false},
	ca.ReasonKeyOfCA:        {codes.PermissionDenied, false},
	ca.ReasonKeyReused:      {codes.PermissionDenied, false},

	ca.ReasonNoCredentials:      {codes.Unauthenticated, false},
	ca.ReasonCredentialsDiffer:  {codes.Unauthenticated, false},
	ca.ReasonTokenMalformed:     {codes.Unauthenticated, false},
	ca.ReasonTokenTooLarge:      {codes.Unauthenticated, false},
	ca.ReasonTokenAlgorithm:     {codes.Unauthenticated, false},
	ca.ReasonTokenHeader:        {codes.Unauthenticated, false},
	ca.ReasonTokenKeyUnknown:    {codes.Unauthenticated, false},
	ca.ReasonTokenSignature:     {codes.Unauthenticated, false},
	ca.ReasonTokenIssuer:        {codes.Unauthenticated, false},
	ca.ReasonTokenAudience:      {codes.Unauthenticated, false},
	ca.ReasonTokenExpired:       {codes.Unauthenticated, false},
	ca.ReasonTokenNotYet:        {codes.Unauthenticated, false},
	ca.ReasonTokenLifetime:      {codes.Unauthenticated, false},
	ca.ReasonTokenSubject:       {codes.Unauthenticated, false},
	ca.ReasonTokenUnbound:       {codes.Unauthenticated, false},
	ca.ReasonTokenUsed:          {codes.Unauthenticated, false},
	ca.ReasonClusterUnknown:     {codes.Unauthenticated, false},
	ca.ReasonKeysUnavailable:    {codes.Unavailable, true}, // an outage is no fault of the token
	ca.ReasonCertificateInvalid: {codes.Unauthenticated, false},
	ca.ReasonCertificateExpired: {codes.Unauthenticated, false},
	ca.ReasonCertificateNames:   {codes.Unauthenticated, false},

	ca.ReasonPolicy:        {codes.PermissionDenied, false},
	ca.ReasonImpersonation: {codes.PermissionDenied, false},
	ca.ReasonMethodUnknown: {codes.Unimplemented, false},

	ca.ReasonIdentityQuota: {codes.ResourceExhausted, true},
	ca.ReasonOverloaded:    {codes.ResourceExhausted, true},

	ca.ReasonNotReady:         {codes.Unavailable, true},
	ca.ReasonAuthorityExpired: {codes.Unavailable, true},
	ca.ReasonFIPS:             {codes.Unavailable, true},
	ca.ReasonRecordFailed:     {codes.Unavailable, true},
	ca.ReasonSigningFailed:    {codes.Unavailable, true},
	ca.ReasonRootUnavailable:  {codes.Unavailable, true},
	ca.ReasonHalted:           {codes.Unavailable, true},
	ca.ReasonDraining:         {codes.Unavailable, true},

	ca.ReasonRootUnreachable: {codes.Unavailable, true},
	ca.ReasonRootTimeout:     {codes.Unavailable, true},
	ca.ReasonRootTLS:         {codes.Unavailable, true},
	ca.ReasonRootSealed:      {codes.Unavailable, true},
	ca.ReasonRootStandby:     {codes.Unavailable, true},
	ca.ReasonRootThrottled:   {codes.Unavailable, true},
	ca.ReasonRootLogin:       {codes.Unavailable, true},
	ca.ReasonRootDenied:      {codes.Unavailable, true},
	ca.ReasonRootMissing:     {codes.Unavailable, true},
	ca.ReasonRootRefused:     {codes.Unavailable, true},
	ca.ReasonRootRedirected:  {codes.Unavailable, true},
	ca.ReasonRootAnswer:      {codes.Unavailable, true},
	ca.ReasonRootMismatch:    {codes.Unavailable, true},
	ca.ReasonRootKey:         {codes.Unavailable, true},
	ca.ReasonRootFIPS:        {codes.Unavailable, true},

	ca.ReasonBundleMalformed: {codes.InvalidArgument, false},
	ca.ReasonBundleForeign:   {codes.PermissionDenied, false},
	ca.ReasonBundleReplayed:  {codes.Aborted, true},
	ca.ReasonBundleGap:       {codes.Aborted, true},
	ca.ReasonBundleForked:    {codes.PermissionDenied, false},
	ca.ReasonBundleSignature: {codes.PermissionDenied, false},

	ca.ReasonZoneName:         {codes.InvalidArgument, false},
	ca.ReasonZoneToken:        {codes.Unauthenticated, false},
	ca.ReasonZoneTokenUsed:    {codes.Unauthenticated, false},
	ca.ReasonZoneTokenExpired: {codes.Unauthenticated, false},
	ca.ReasonZoneTaken:        {codes.PermissionDenied, false},
	ca.ReasonZoneUnknown:      {codes.Unauthenticated, false},
	ca.ReasonZoneRemoved:      {codes.PermissionDenied, false},
	ca.ReasonZoneAnchor:       {codes.Aborted, true},
	ca.ReasonPrimaryAway:      {codes.Unavailable, true},
	ca.ReasonPrimaryUntrusted: {codes.Unavailable, true},
	ca.ReasonNoPrimary:        {codes.Unavailable, true},

	ca.ReasonNotFound: {codes.NotFound, false},
	ca.ReasonStale:    {codes.Aborted, true},
}

func TestEveryReasonHasItsCodeInEveryProtocol(t *testing.T) {
	require.Len(t, wireCodes, len(ca.Reasons()), "a reason is new or gone: state its code")
	for _, reason := range ca.Reasons() {
		want, ok := wireCodes[reason]
		require.True(t, ok, reason)
		for _, protocol := range []api.Protocol{api.ProtocolKedge, api.ProtocolIstio, api.ProtocolAdmin} {
			require.Equal(t, want.code, api.Code(protocol, reason), "%s by %s", reason, protocol)
		}
	}
}

// linkerdCodes are the reasons whose code in Linkerd's protocol differs from that in
// the others: what its own issuer answers to the same fault
// (linkerd2 pkg/identity/service.go).
var linkerdCodes = map[ca.Reason]codes.Code{
	ca.ReasonCSRSubject: codes.FailedPrecondition, ca.ReasonCSRNames: codes.FailedPrecondition, ca.ReasonCSRIdentity: codes.FailedPrecondition,
	ca.ReasonKeyBlocked: codes.FailedPrecondition, ca.ReasonKeyOfCA: codes.FailedPrecondition, ca.ReasonKeyReused: codes.FailedPrecondition,
	ca.ReasonPolicy: codes.FailedPrecondition, ca.ReasonImpersonation: codes.FailedPrecondition,
	ca.ReasonBundleForeign: codes.FailedPrecondition, ca.ReasonBundleForked: codes.FailedPrecondition, ca.ReasonBundleSignature: codes.FailedPrecondition,
	ca.ReasonTokenIssuer: codes.FailedPrecondition, ca.ReasonClusterUnknown: codes.FailedPrecondition,
	ca.ReasonZoneTaken: codes.FailedPrecondition, ca.ReasonZoneRemoved: codes.FailedPrecondition,

	ca.ReasonZoneToken: codes.InvalidArgument, ca.ReasonZoneTokenUsed: codes.InvalidArgument,
	ca.ReasonZoneTokenExpired: codes.InvalidArgument, ca.ReasonZoneUnknown: codes.InvalidArgument,
	ca.ReasonNoCredentials: codes.InvalidArgument, ca.ReasonCredentialsDiffer: codes.InvalidArgument,
	ca.ReasonTokenMalformed: codes.InvalidArgument, ca.ReasonTokenTooLarge: codes.InvalidArgument,
	ca.ReasonTokenAlgorithm: codes.InvalidArgument, ca.ReasonTokenHeader: codes.InvalidArgument,
	ca.ReasonTokenKeyUnknown: codes.InvalidArgument, ca.ReasonTokenSignature: codes.InvalidArgument,
	ca.ReasonTokenAudience: codes.InvalidArgument, ca.ReasonTokenExpired: codes.InvalidArgument,
	ca.ReasonTokenNotYet: codes.InvalidArgument, ca.ReasonTokenLifetime: codes.InvalidArgument,
	ca.ReasonTokenSubject: codes.InvalidArgument, ca.ReasonTokenUnbound: codes.InvalidArgument, ca.ReasonTokenUsed: codes.InvalidArgument,
	ca.ReasonCertificateInvalid: codes.InvalidArgument, ca.ReasonCertificateExpired: codes.InvalidArgument, ca.ReasonCertificateNames: codes.InvalidArgument,
}

func TestEveryReasonHasItsCodeInLinkerdsProtocol(t *testing.T) {
	for _, reason := range ca.Reasons() {
		want, differs := linkerdCodes[reason]
		if !differs {
			want = wireCodes[reason].code
		}
		require.Equal(t, want, api.Code(api.ProtocolLinkerd, reason), reason)
		require.NotContains(t, []codes.Code{codes.Unauthenticated, codes.PermissionDenied}, want, reason)
	}
}

func TestPilotAgentRetriesExactlyWhatARetryCanMend(t *testing.T) {
	for reason, want := range wireCodes {
		require.Equal(t, want.helps, pilotRetries[api.Code(api.ProtocolIstio, reason)], reason)
	}
}

// TestAnUnknownReasonIsInternal: a reason that nobody declared reveals nothing.
func TestAnUnknownReasonIsInternal(t *testing.T) {
	require.Equal(t, codes.Internal, api.Code(api.ProtocolKedge, "made_up"))
	require.Equal(t, ca.ReasonInternal.Public(), ca.Reason("made_up").Public())
}

func TestARetryTimeIsGivenWhereARetryHelpsAndOnlyThere(t *testing.T) {
	for _, reason := range ca.Reasons() {
		after := api.RetryAfter(ca.Refuse(reason, "x"))
		switch reason.Class() {
		case ca.Exhausted, ca.Unavailable:
			require.GreaterOrEqual(t, after, time.Second, reason)
			require.Less(t, after, 2*time.Second, reason)
		default:
			require.Zero(t, after, reason)
		}
	}
}

// TestRetryTimesDiffer: those who were refused together must not come back together.
func TestRetryTimesDiffer(t *testing.T) {
	seen := make(map[time.Duration]bool)
	for range 64 {
		seen[api.RetryAfter(ca.Refuse(ca.ReasonOverloaded, "x"))] = true
	}
	require.Greater(t, len(seen), 32)
}

// TestEveryHelpLinkHasItsAnchor holds the links on the wire to docs/errors.md.
func TestEveryHelpLinkHasItsAnchor(t *testing.T) {
	doc, err := os.ReadFile("../docs/errors.md")
	require.NoError(t, err)
	for _, reason := range ca.Reasons() {
		require.Contains(t, string(doc), "\n## "+string(reason)+"\n", reason)
	}
}
