package rotationtest

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/primary"
)

// Config is a world. Zero fields have defaults.
type Config struct {
	Seed      uint64 // of everything that is left to chance
	Primaries int    // processes of the primary; 0 means 1
	Zones     int    // beside the primary's own; 0 means 3
	Replicas  int    // of each zone; 0 means 2
	Workloads int    // of each zone, the primary's included; 0 means 1
	Sequence  uint64 // of the bundle before the chain begins; 0 means 1
	Step      time.Duration
	Leases    bool // every process of the primary believes to lead
	Settings  primary.Settings
	Link      Link // faults of every link between a replica and the primary
	// Skew is how far clocks are off: that of the first process of the primary is right,
	// the others are behind, right or ahead in turn, and so are those of the workloads.
	Skew time.Duration
	// Handshakes has all workloads call each other over TLS whenever the world is checked.
	Handshakes bool
}

// LeafTTL is how long the workloads' certificates live.
const LeafTTL = 2 * time.Hour

// Skew is how far a clock may be from the others.
const Skew = 5 * time.Minute

// World is a trust domain. It is for one goroutine.
type World struct {
	T         testing.TB
	Clock     *catest.Clock
	Docs      *catest.Documents
	Domain    ca.TrustDomain
	FIPS      fips.Policy
	Primaries []*Process
	Zones     map[rotation.Zone][]*Process
	Workloads []*Workload
	Events    *catest.Events // of all processes
	OnCheck   func()         // is asked at each check, for what a test wants to hold as well

	Handshakes, Failed int // how many were made, how many of them failed
	Faults             Faults

	config   Config
	chance   chance
	roots    map[ca.AnchorID]*root
	policy   *ca.Policy
	fuse     *fuse
	acting   *Process
	verified map[string]error // chains that were checked, by leaf and bundle
	seen     map[*Process]uint64
	// An emergency that a test has told of.
	distrusted ca.AnchorID
	deadline   time.Time
	out        map[rotation.Zone]bool // zones that are excluded or removed: their verifiers do not count
	clocks     int                    // how many were given out
}

// PrimaryZone is the zone of the primary's own replicas.
const PrimaryZone = rotation.Zone("primary")

// Faults counts what has gone wrong, as it was asked to.
type Faults struct{ Crashes, Lost, Delayed, Repeated, Reordered int }

// All is their sum.
func (f Faults) All() int { return f.Crashes + f.Lost + f.Delayed + f.Repeated + f.Reordered }

// New makes a world whose primary has begun its chain and whose zones have joined.
func New(t testing.TB, c Config) *World {
	t.Helper()
	setDefault(&c.Primaries, 1)
	setDefault(&c.Zones, 3)
	setDefault(&c.Replicas, 2)
	setDefault(&c.Workloads, 1)
	setDefault(&c.Sequence, 1)
	setDefault(&c.Step, 10*time.Minute)
	setDefault(&c.Settings.LeafTTL, LeafTTL)
	setDefault(&c.Settings.Skew, Skew)
	setDefault(&c.Settings.Silent, 6*c.Step)
	setDefault(&c.Settings.Mode, rotation.ModeAuto)
	w := &World{
		T: t, Clock: catest.NewClock(), Docs: &catest.Documents{}, Zones: make(map[rotation.Zone][]*Process), Events: &catest.Events{},
		config: c, chance: chance{c.Seed}, roots: make(map[ca.AnchorID]*root), verified: make(map[string]error), seen: make(map[*Process]uint64), out: make(map[rotation.Zone]bool),
	}
	w.fuse = &fuse{w: w}
	w.Docs.Fault = w.fuse.burnDocuments
	var err error
	w.Domain, err = ca.ParseTrustDomain("cluster.local")
	require.NoError(t, err)
	w.FIPS, err = fips.PolicyByName("fips")
	require.NoError(t, err)
	profile, err := ca.NewProfile(ca.ProfileConfig{Name: "workload", DefaultTTL: LeafTTL, MaxTTL: LeafTTL})
	require.NoError(t, err)
	w.policy, err = ca.NewPolicy(ca.PolicyConfig{
		TrustDomain: w.Domain, Profiles: []*ca.Profile{profile}, Rules: []ca.RuleConfig{{Name: "every workload", Profile: "workload"}},
	})
	require.NoError(t, err)
	first := []ca.Anchor{{Certificate: w.roots[w.NewRoot()].cert, Slot: ca.SlotActive}}
	for i := range c.Primaries {
		w.AddPrimary(fmt.Sprintf("p%d", i), first)
	}
	for z := range c.Zones {
		name := rotation.Zone(fmt.Sprintf("zone-%d", z))
		for i := range c.Replicas {
			w.Join(name, fmt.Sprintf("r%d", i))
		}
	}
	w.Settle()
	for zone := range w.Zones {
		for range c.Workloads {
			w.AddWorkload(zone)
		}
	}
	w.Check()
	return w
}

func setDefault[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// skew is the error of the next clock.
func (w *World) skew() time.Duration {
	n := w.clocks % 3
	w.clocks++
	return time.Duration((n+1)%3-1) * w.config.Skew
}

// root signs under an anchor whose key is in memory.
type root struct {
	w    *World
	cert *x509.Certificate
	key  crypto.Signer
}

// Anchor implements ca.Root.
func (r *root) Anchor(context.Context) (*x509.Certificate, error) { return r.cert, nil }

// SignIntermediate implements ca.Root.
func (r *root) SignIntermediate(_ context.Context, csr []byte, p ca.IntermediateRequest) ([]*x509.Certificate, error) {
	cert, err := ca.SignIntermediate(ca.IntermediateSigning{Anchor: r.cert, AnchorSigner: r.key, CSR: csr, Policy: r.w.FIPS, Request: p})
	return []*x509.Certificate{cert}, err
}

// NewRoot makes a root that the primary can find, under an anchor that is in no
// bundle yet.
func (w *World) NewRoot() ca.AnchorID {
	w.T.Helper()
	key, err := fips.GenerateKey(fips.ECDSAP256)
	require.NoError(w.T, err)
	now := w.Clock.Now()
	cert, err := ca.NewRootCertificate(ca.RootRequest{
		TrustDomain: w.Domain, NotBefore: now.Add(-ca.CABackdate), NotAfter: now.Add(ca.RootLifetime), Signer: key, Policy: w.FIPS,
	})
	require.NoError(w.T, err)
	id := ca.AnchorIDOf(cert)
	w.roots[id] = &root{w, cert, key}
	return id
}

// rootFor implements ca.RootFor over all roots.
func (w *World) rootFor(_ context.Context, anchor ca.AnchorID) (ca.Root, error) {
	r := w.roots[anchor]
	if r == nil {
		return nil, ca.Refuse(ca.ReasonRootMissing, "no root is anchor %s", anchor)
	}
	return r, nil
}

// Primary is a process of the primary that is up.
func (w *World) Primary() *primary.Primary {
	w.T.Helper()
	p := w.serving()
	require.NotNil(w.T, p, "no process of the primary is up")
	return p.primary
}

// PrimaryOf is the n-th process of the primary.
func (w *World) PrimaryOf(n int) *primary.Primary { return w.Primaries[n].primary }

// List is the zones as the primary lists them.
func (w *World) List() []primary.ZoneStatus {
	w.T.Helper()
	all, err := w.Primary().ZoneList(w.T.Context())
	require.NoError(w.T, err)
	return all
}

// serving is the first process of the primary that is up, nil if none is.
func (w *World) serving() *Process {
	for _, p := range w.Primaries {
		if p.primary != nil && !p.Down {
			return p
		}
	}
	return nil
}

// errCrash is what the store says whose process has crashed.
var errCrash = errors.New("the process has crashed")

// fuse crashes a process at a write to a store.
type fuse struct {
	w         *World
	left      int  // writes until it burns; 0 is never
	persisted bool // the write takes effect all the same
	every     int  // it is set again for about so many writes; 0 is not
}

// burn is asked before each write; writer is the process that writes, nil for the test
// itself.
func (f *fuse) burn(writer *Process) (error, bool) {
	if writer == nil || writer.dead {
		if writer != nil {
			return errCrash, false
		}
		return nil, false
	}
	if f.left == 0 {
		return nil, false
	}
	if f.left--; f.left > 0 {
		return nil, false
	}
	writer.dead = true
	persisted := f.persisted
	f.w.Faults.Crashes++
	f.arm()
	return errCrash, persisted
}

// arm sets the fuse again.
func (f *fuse) arm() {
	if f.every > 0 {
		f.left, f.persisted = 1+f.w.chance.upTo(2*f.every), f.w.chance.oneIn(2)
	}
}

// burnDocuments crashes the process of the primary that serves whoever acts.
func (f *fuse) burnDocuments() (error, bool) {
	p := f.w.acting
	if p != nil && p.primary == nil && p.Zone != PrimaryZone {
		p = f.w.serving()
	}
	return f.burn(p)
}

// CrashAtWrite crashes the process that makes the n-th write to any store from now on;
// persisted tells whether that write takes effect all the same. It comes up again at
// once, from what is durable.
func (w *World) CrashAtWrite(n int, persisted bool) {
	w.fuse.left, w.fuse.persisted, w.fuse.every = n, persisted, 0
}

// CrashEvery crashes processes again and again, at one of about n writes; 0 ends that.
func (w *World) CrashEvery(n int) {
	w.fuse.every, w.fuse.left = n, 0
	w.fuse.arm()
}

// Crashes is how many processes have crashed so far.
func (w *World) Crashes() int { return w.Faults.Crashes }

// as runs something in the name of a process, and restarts whoever has crashed by it.
func (w *World) as(p *Process, do func() error) error {
	w.acting = p
	err := do()
	for _, zone := range slices.Sorted(maps.Keys(w.Zones)) {
		for _, other := range w.Zones[zone] {
			for other.dead {
				other.dead = false
				w.acting = other
				other.restart()
			}
		}
	}
	w.acting = nil
	return err
}

// chance is a small generator of numbers that a seed decides (splitmix64): no key is
// made of them.
type chance struct{ state uint64 }

func (c *chance) next() uint64 {
	c.state += 0x9e3779b97f4a7c15
	z := c.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// oneIn is true once in n times; never for 0.
func (c *chance) oneIn(n int) bool { return n > 0 && c.next()%uint64(n) == 0 }

// upTo is a number below n.
func (c *chance) upTo(n int) int { return int(c.next() % uint64(n)) }
