package main

import (
	"context"
	"time"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

// beginRenewal has the one workload that lives as an agent does renew. It does not
// wait.
func (w *workloads) beginRenewal(ctx context.Context) {
	w.running.Go(func() {
		w.renewing.Lock()
		defer w.renewing.Unlock()
		start := time.Now()
		err := w.renew(context.WithoutCancel(ctx))
		w.note(err, time.Since(start))
	})
}

// renew gets the next certificate by mutual TLS with the current one, on a connection
// of its own. The first comes by a token, as does one after the clock has leapt past
// the end of the current.
func (w *workloads) renew(ctx context.Context) error {
	if w.current == nil || w.options.now().After(w.current.Leaf.NotAfter) {
		next, err := w.join(ctx, "renewing")
		w.current = next
		return err
	}
	conn, err := w.dial(w.current)
	if err != nil {
		return err
	}
	defer conn.Close()
	next, err := w.get(ctx, kedgev1.NewCertificateAuthorityClient(conn).Renew)
	if err != nil {
		return err
	}
	w.current = next
	w.mu.Lock()
	w.renewed++
	w.mu.Unlock()
	return nil
}
