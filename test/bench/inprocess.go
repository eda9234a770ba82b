package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store/sqlite"
)

// inProcessChild is all of Kedge but the wire: parse, policy, checks, a durable
// record in SQLite, one signature. As many callers wait for the group commit as
// the gRPC lanes have.
func inProcessChild(seconds int) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "kedge-bench-store-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	store, err := sqlite.Open(sqlite.Config{Dir: dir + "/db"})
	if err != nil {
		return err
	}
	defer store.Close()
	profile, err := ca.NewProfile(ca.ProfileConfig{Name: "workload"})
	if err != nil {
		return err
	}
	authority, err := w.authority(profile, store)
	if err != nil {
		return err
	}
	csrs, err := makeCSRs(2048, nil)
	if err != nil {
		return err
	}
	callers := make([]ca.Caller, len(csrs))
	for i := range callers {
		if callers[i], err = w.caller(fmt.Sprintf("w%d", i)); err != nil {
			return err
		}
	}
	before, err := selfCPU()
	if err != nil {
		return err
	}
	n, err := issueAll(w, authority, csrs, callers, seconds)
	if err != nil {
		return err
	}
	after, err := selfCPU()
	if err != nil {
		return err
	}
	fmt.Printf("inprocess %.0f\n", float64(n)/(after-before).Seconds())
	return nil
}

func issueAll(w *world, authority *ca.Authority, csrs [][]byte, callers []ca.Caller, seconds int) (int64, error) {
	var next, done atomic.Int64
	var failed atomic.Pointer[error]
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for time.Now().Before(end) && failed.Load() == nil {
				i := int(next.Add(1)) % len(csrs)
				request, err := ca.ParseRequest(csrs[i], ca.RequestOptions{Now: time.Now()}, w.policy)
				if err == nil {
					_, err = authority.Issue(context.Background(), callers[i], request)
				}
				if err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return done.Load(), nil
}
