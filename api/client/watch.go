package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"time"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/fips"
)

// News is what a watcher of the trust bundle is told.
type News struct {
	Sequence uint64
	Bundle   []*x509.Certificate // trust anchors in canonical order
	// Signer, when a rotation asks for it, is the anchor that certificates are to be
	// under: one that is not should be renewed at a moment drawn evenly from Over.
	Signer *x509.Certificate
	Over   time.Duration
}

// Watcher tells news of the trust bundle, each once, the present state first, until
// ctx ends or the stream breaks; *Client is one.
type Watcher interface {
	Watch(ctx context.Context, each func(News)) error
}

// Watch implements Watcher. It needs no credentials. What comes is the bundle for
// later calls of this client as well.
func (c *Client) Watch(ctx context.Context, each func(News)) error {
	conn, err := c.dial(nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := kedgev1.NewCertificateAuthorityClient(conn).WatchBundle(ctx, &kedgev1.WatchBundleRequest{})
	if err != nil {
		return err
	}
	for {
		wire, err := stream.Recv()
		if err != nil {
			return err
		}
		news, err := readNews(wire)
		if err != nil {
			return err
		}
		c.trust(news.Sequence, news.Bundle)
		each(news)
	}
}

func readNews(wire *kedgev1.Bundle) (News, error) {
	bundle, err := parseAnchors(wire)
	if err != nil {
		return News{}, err
	}
	news := News{Sequence: wire.GetSequence(), Bundle: bundle}
	if asked := wire.GetReissue(); asked != nil {
		for _, anchor := range bundle {
			if id := sha256.Sum256(anchor.Raw); bytes.Equal(id[:], asked.GetAnchor()) {
				news.Signer, news.Over = anchor, asked.GetOver().AsDuration()
			}
		}
	}
	return news, nil
}

func parseAnchors(wire *kedgev1.Bundle) ([]*x509.Certificate, error) {
	var bundle []*x509.Certificate
	for _, a := range wire.GetAnchors() {
		anchor, err := x509.ParseCertificate(a.GetCertificate())
		if err != nil {
			return nil, fmt.Errorf("reading the server's bundle: %w", err)
		}
		bundle = append(bundle, anchor)
	}
	if len(bundle) == 0 {
		return nil, fmt.Errorf("the server's bundle is empty")
	}
	return bundle, nil
}

// follow watches until ctx ends, and again after a pause when the stream breaks. It
// keeps the newest that nobody has taken from news.
func (k *Keeper) follow(ctx context.Context, news chan News) {
	for wait := firstRetry; ; wait = min(2*wait, maxRetry) {
		err := k.Watcher.Watch(ctx, func(n News) {
			wait = firstRetry
			select {
			case <-news: // overtaken
			default:
			}
			news <- n
		})
		if !k.sleep(ctx, k.Now().Add(k.pause(wait, time.Time{}, err))) {
			return
		}
	}
}

// asks tells whether n asks the holder of current to renew.
func (n News) asks(current tls.Certificate) bool {
	if n.Signer == nil {
		return false
	}
	for _, der := range current.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err == nil && bytes.Equal(cert.RawIssuer, n.Signer.RawSubject) && cert.CheckSignatureFrom(n.Signer) == nil {
			return false
		}
	}
	return true
}

// within is a moment of the span from now on, drawn evenly.
func (k *Keeper) within(span time.Duration) time.Time {
	var chance [4]byte
	if span <= 0 || fips.Random(chance[:]) != nil {
		return k.Now()
	}
	return k.Now().Add(time.Duration(float64(span) * float64(binary.BigEndian.Uint32(chance[:])) / (1 << 32)))
}
