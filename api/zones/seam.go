package zones

import (
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
)

type Have struct {
	Zone     rotation.Zone
	Replica  string
	Sequence uint64
	Epoch    uint64
	Halted   string
}

type Directive struct {
	Bundles []bundle.Signed
	Command ca.Command
	Halted  string
	Plan    string
}

type JoinRequest struct {
	Token   string
	Replica string
	KeyHash [32]byte
	Version string
}

type JoinAnswer struct {
	Zone    rotation.Zone
	Bundles []bundle.Signed
}

type Report struct {
	Zone       rotation.Zone
	Replica    string
	Plan       string
	Epoch      uint64
	Signer     ca.AnchorID
	Sequence   uint64
	BundleHash string
	Coverage   map[ca.VerifierClass]ca.Coverage
	Live       map[ca.AnchorID]int
	HighWater  map[ca.AnchorID]time.Time
	Lease      time.Time
	Clock      time.Time
	Version    string
	Halted     string
	Canary     map[ca.AnchorID]string
	Received   time.Time
}
