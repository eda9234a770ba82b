package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/api/client"
)

// byCertificate gets the first certificate by one that is in files, which an operator
// or ca issue put there. They are read at each try.
type byCertificate struct {
	*client.Client
	files certificateConfig
	now   func() time.Time
}

// Issue implements agent.Source.
func (b byCertificate) Issue(ctx context.Context) (*client.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(b.files.Cert, b.files.Key)
	if err == nil && pair.Leaf == nil {
		pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s and %s: %w", b.files.Cert, b.files.Key, err)
	}
	if end := pair.Leaf.NotAfter; b.now().After(end) {
		return nil, fmt.Errorf("%s ended at %s; put a fresh certificate there", b.files.Cert, end.UTC().Format(time.RFC3339))
	}
	return b.Renew(ctx, pair)
}
