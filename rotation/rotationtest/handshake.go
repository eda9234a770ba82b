package rotationtest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips"
)

// peer is the TLS of a workload: what it shows is any of its certificates that live,
// and what it verifies by is the bundle that came with its last one.
type peer struct{ server, client *tls.Config }

func (w *World) newPeer(l *Workload) *peer {
	w.T.Helper()
	now := func() time.Time { return l.now(w) }
	server, err := fips.ServerTLS(fips.ServerTLSConfig{
		Certificate: func() (*tls.Certificate, error) { return l.shown, nil },
		ClientCAs:   func() *x509.CertPool { return l.trusted }, ClientAuth: fips.Require, Now: now,
	})
	require.NoError(w.T, err)
	client, err := fips.WorkloadClientTLS(fips.WorkloadTLSConfig{
		Roots:       func() *x509.CertPool { return l.trusted },
		Certificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return l.shown, nil },
		Accept: func(leaf *x509.Certificate) error {
			if len(leaf.URIs) != 1 || leaf.URIs[0].Host != w.Domain.String() {
				return errors.New("the peer is not of this trust domain")
			}
			return nil
		},
		Now: now,
	})
	require.NoError(w.T, err)
	return &peer{server, client}
}

// ready tells whether a workload shakes hands: its zone counts, and it holds a
// certificate that nobody takes for expired. It chooses what is shown next.
func (w *World) ready(l *Workload) bool {
	if w.out[l.Zone] {
		return false
	}
	soon := w.Clock.Now().Add(2 * w.config.Skew)
	var usable []Held
	for _, h := range l.held {
		if soon.Before(h.NotAfter) {
			usable = append(usable, h)
		}
	}
	if len(usable) == 0 {
		return false
	}
	h := usable[w.chance.upTo(len(usable))]
	l.shown = &tls.Certificate{Certificate: append([][]byte{h.Leaf}, h.Chain...), PrivateKey: h.Key}
	return true
}

// shakeHands has every workload call every other one over TLS, both sides verifying.
func (w *World) shakeHands() {
	w.T.Helper()
	var all []*Workload
	for _, l := range w.Workloads {
		if w.ready(l) {
			all = append(all, l)
		}
	}
	for _, from := range all {
		for _, to := range all {
			if from == to {
				continue
			}
			w.Handshakes++
			if err := shakeHands(from.peer.client, to.peer.server); err != nil {
				w.Failed++
				require.NoError(w.T, err, "%s calling %s\n%s", from.Name, to.Name, w.Describe())
			}
		}
	}
}

// shakeHands makes a handshake, and carries a byte back: only then has the client
// heard that the server took its certificate.
func shakeHands(client, server *tls.Config) error {
	near, far := newWire()
	answered := make(chan error, 1)
	go func() {
		defer far.Close()
		s := tls.Server(far, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		answered <- err
	}()
	c := tls.Client(near, client)
	_, err := io.ReadFull(c, make([]byte, 1)) // shakes hands first
	near.Close()
	if answer := <-answered; answer != nil && err != nil {
		return fmt.Errorf("%w; the server: %w", err, answer)
	} else if answer != nil {
		return fmt.Errorf("the server: %w", answer)
	}
	return err
}
