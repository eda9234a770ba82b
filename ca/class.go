package ca

import "time"

// VerifierClass says how a verifier learns of a new trust bundle, and so what can be
// known of it. It is stable: it stands in reports and in documents.
type VerifierClass string

// The classes.
const (
	ClassRenewal   VerifierClass = "renewal"   // with every certificate: Istio, ztunnel, kedge.v1
	ClassPush      VerifierClass = "push"      // by an acknowledged push: Envoy's SDS
	ClassStream    VerifierClass = "stream"    // on an open stream: SPIFFE Workload API
	ClassRestart   VerifierClass = "restart"   // when its process starts: Linkerd
	ClassPublished VerifierClass = "published" // from an object that is read back; says nothing of its readers
	ClassFederated VerifierClass = "federated" // by its own fetches from the bundle endpoint
)

// Coverage is what is known of the verifiers of one class.
type Coverage struct {
	// Sequence is a bundle that every one of them is known to hold, or a later one; 0
	// when nothing is known of one of them at least.
	Sequence uint64 `json:"sequence"`
	// Live is the number of unexpired leaves. A holder that has renewed counts with
	// each leaf until it is known to have the later one, or the earlier ends.
	Live int `json:"live"`
	// Behind is how many of Live are not known to hold the bundle that the replica holds.
	Behind int `json:"behind"`
	// Oldest is when the last of those behind will have expired, at the latest. Zero when
	// none is behind, or when waiting alone proves nothing (ClassRestart).
	Oldest time.Time `json:"oldest,omitzero"`
}

// Outstanding is what a replica knows, from what it has issued, of the leaves that
// have not expired and of the verifiers that hold them.
type Outstanding struct {
	Coverage  map[VerifierClass]Coverage `json:"coverage"`
	Live      map[AnchorID]int           `json:"live"`       // unexpired leaves under each anchor
	HighWater map[AnchorID]time.Time     `json:"high_water"` // when the last leaf under each ends; none whose last has ended
}
