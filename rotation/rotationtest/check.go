package rotationtest

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/catest"
	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/rotation"
)

// Workload is a holder of certificates in a zone, which verifies those of all others
// by the bundle that came with its last.
type Workload struct {
	Name string
	Zone rotation.Zone
	Skew time.Duration // of its clock

	caller ca.Caller
	held   []Held // those that have not ended at every clock

	peer    *peer
	shown   *tls.Certificate
	trusted *x509.CertPool // the bundle that came with the latest
}

// Held is a certificate with its key.
type Held struct {
	ca.Issued
	Key crypto.Signer
}

// Held are the certificates of the workload that somebody may still take for good, the
// latest last: those that have not ended by a clock that is as late as clocks may be.
func (l *Workload) Held() []Held { return l.held }

// last is the latest certificate, while it has not ended.
func (l *Workload) last(now time.Time) (Held, bool) {
	if n := len(l.held); n > 0 && now.Before(l.held[n-1].NotAfter) {
		return l.held[n-1], true
	}
	return Held{}, false
}

func (l *Workload) now(w *World) time.Time { return w.Clock.Now().Add(l.Skew) }

// AddWorkload adds a workload to a zone, with its first certificate.
func (w *World) AddWorkload(zone rotation.Zone) *Workload {
	w.T.Helper()
	name := fmt.Sprintf("%s-w%d", zone, len(w.Workloads))
	id, err := w.Domain.ServiceAccount("default", name)
	require.NoError(w.T, err)
	caller, err := ca.NewCaller(id, ca.Evidence{Method: ca.MethodKubernetes, Cluster: "test", Subject: "system:serviceaccount:default:" + name})
	require.NoError(w.T, err)
	l := &Workload{Name: name, Zone: zone, Skew: w.skew(), caller: caller}
	l.peer = w.newPeer(l)
	w.Workloads = append(w.Workloads, l)
	w.renew(l)
	return l
}

// renew gets a certificate from any replica of the zone that is ready. The holder of
// one that has ended verifies nobody, and nobody it.
func (w *World) renew(l *Workload) {
	replicas := w.Zones[l.Zone]
	begin := w.chance.upTo(len(replicas))
	for i := range replicas {
		p := replicas[(begin+i)%len(replicas)]
		if p.Down || p.Authority.Ready(p.now()) != nil {
			continue
		}
		key, err := fips.GenerateKey(fips.ECDSAP256)
		require.NoError(w.T, err)
		request, err := ca.ParseRequest(catest.CSR(w.T, key, ""), ca.RequestOptions{Now: p.now()}, w.FIPS)
		require.NoError(w.T, err)
		issued, err := p.Authority.Issue(w.T.Context(), l.caller, request)
		require.NoError(w.T, err)
		l.held, l.trusted = append(l.held, Held{issued, key}), issued.Bundle.Pool()
		return
	}
}

// drop forgets what has ended at every clock.
func (l *Workload) drop(now time.Time, skew time.Duration) {
	var live []Held
	for _, h := range l.held {
		if now.Before(h.NotAfter.Add(skew)) {
			live = append(live, h)
		}
	}
	l.held = live
}

// Check holds the whole world to the invariants, and asks OnCheck. A certificate counts
// until it has ended by a clock that is as late as clocks may be.
func (w *World) Check() {
	w.T.Helper()
	now := w.Clock.Now()
	bundles := make(map[string]*ca.Bundle) // of every verifier that counts
	for _, l := range w.Workloads {
		l.drop(now, Skew)
		if last, ok := l.last(now); ok && !w.out[l.Zone] {
			bundles["workload "+l.Name] = last.Bundle
		}
	}
	for zone, replicas := range w.Zones {
		for _, p := range replicas {
			held := p.Authority.Bundle()
			if held == nil {
				continue
			}
			require.GreaterOrEqual(w.T, held.Sequence(), w.seen[p], "S4: the bundle of replica %s of zone %s has fallen", p.Name, p.Zone)
			w.seen[p] = held.Sequence()
			if !w.out[zone] {
				bundles["replica "+string(zone)+"/"+p.Name] = held
			}
		}
	}
	if w.config.Handshakes {
		w.shakeHands()
	}
	for _, l := range w.Workloads {
		for _, h := range l.held {
			i := h.Issued
			for who, b := range bundles {
				if err := w.verify(i, b); err != nil && !w.mayFail(i) {
					require.NoError(w.T, err, "S1: leaf of %s under anchor %s, at %s with bundle %d\n%s", l.Name, ca.AnchorIDOf(i.Intermediate.Anchor()), who, b.Sequence(), w.Describe())
				}
			}
		}
	}
	if w.OnCheck != nil {
		w.OnCheck()
	}
}

// OldLeavesMayFail tells of an emergency: leaves under this anchor may fail from a time
// on, and nothing else may.
func (w *World) OldLeavesMayFail(anchor ca.AnchorID, from time.Time) {
	w.distrusted, w.deadline = anchor, from
}

// mayFail tells whether an emergency has taken the anchor of a leaf away.
func (w *World) mayFail(i ca.Issued) bool {
	return ca.AnchorIDOf(i.Intermediate.Anchor()) == w.distrusted && !w.Clock.Now().Before(w.deadline)
}

// verify checks the chain of a leaf that lives by a bundle, once.
func (w *World) verify(i ca.Issued, b *ca.Bundle) error {
	key := i.Serial + string(b.PEM())
	if err, known := w.verified[key]; known {
		return err
	}
	leaf, err := x509.ParseCertificate(i.Leaf)
	require.NoError(w.T, err)
	between := x509.NewCertPool()
	for _, der := range i.Chain {
		c, err := x509.ParseCertificate(der)
		require.NoError(w.T, err)
		between.AddCert(c)
	}
	at := w.Clock.Now()
	if at.After(i.NotAfter) {
		at = i.NotAfter // by a clock that is late
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: b.Pool(), Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	w.verified[key] = err
	return err
}

// Plan is the plan as it is stored.
func (w *World) Plan() rotation.Plan {
	w.T.Helper()
	plan, err := w.Primary().Plan(w.T.Context())
	require.NoError(w.T, err)
	return plan
}

// Describe is where everything stands, for a test that has failed.
func (w *World) Describe() string {
	s, err := w.Primary().Status(w.T.Context())
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("%s: rotation %s is %s since %s, epoch %d, sequence %d, bundle in force %d, seed %d\n", w.Clock.Now().Format(time.RFC3339), s.Plan.ID, s.Plan.Phase, s.Plan.Since.Format(time.RFC3339), s.Plan.Epoch, s.Plan.Sequence, s.Bundle.Sequence(), w.config.Seed)
	for _, b := range s.Blockers {
		text += "  " + string(b.Code) + ": " + b.String() + "\n"
	}
	for _, replicas := range w.Zones {
		for _, p := range replicas {
			if p.LastError != nil {
				text += fmt.Sprintf("  last error of %s/%s: %v\n", p.Zone, p.Name, p.LastError)
			}
		}
	}
	return text
}
