package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/kedge-ca/kedge/ca"
)

// Linear says what is done to documents while their history is written down.
type Linear struct {
	// Documents is what a client of that number works with; it is asked before each
	// call, so that it may change.
	Documents func(client int) ca.Documents
	// Disturb breaks something and mends it; it is called a few times in the middle.
	Disturb func()
	// Calls is how many there are, of all clients.
	Calls int
}

// IsLinear runs clients against a few documents and tells whether everything that
// they were told could have happened one call after another, each at some moment
// between its beginning and its end: that of a call of unknown outcome at any moment
// later, or never.
func IsLinear(t testing.TB, l Linear) bool {
	t.Helper()
	h := &history{linear: l, begun: time.Now()}
	var group sync.WaitGroup
	for client := range linearClients {
		group.Go(func() { h.work(t.Context(), client) })
	}
	for part := range linearDisturbances {
		for h.calls.Load() < int64((part+1)*l.Calls/(linearDisturbances+1)) && t.Context().Err() == nil {
			time.Sleep(time.Millisecond) // the clients go on meanwhile; nothing depends on how long it is
		}
		l.Disturb()
	}
	group.Wait()
	unknown := 0
	for _, op := range h.ops {
		if op.Output.(outcome).isUnknown {
			unknown++
		}
	}
	t.Logf("%d calls, %d of unknown outcome", len(h.ops), unknown)
	result := porcupine.CheckOperationsTimeout(documentModel(), h.ops, 2*time.Minute)
	if result == porcupine.Unknown {
		t.Error("the history could not be checked in time")
	}
	return result == porcupine.Ok
}

const (
	linearClients      = 8
	linearDisturbances = 3
	linearDocuments    = 3
)

// call is what a client asked.
type call struct {
	name string
	kind string // read, put or delete
	old  ca.Version
	body string
}

// outcome is what a client was told.
type outcome struct {
	isUnknown bool
	isStale   bool
	version   ca.Version
	body      string
}

type history struct {
	linear Linear
	begun  time.Time
	calls  atomic.Int64

	mu  sync.Mutex
	ops []porcupine.Operation
}

// work is one client: it reads, and writes over what it has read, or over what it
// read long ago.
func (h *history) work(ctx context.Context, client int) {
	known := make(map[string]ca.Version)
	for n := 0; ctx.Err() == nil; n++ {
		if h.calls.Add(1) > int64(h.linear.Calls) {
			return
		}
		c := call{name: fmt.Sprint("doc-", (n+client)%linearDocuments), kind: "put"}
		switch (n*7 + client) % 10 {
		case 0, 1, 2:
			c.kind = "read"
		case 3:
			c.kind = "delete"
		}
		c.old, c.body = known[c.name], fmt.Sprintf("%d by %d", n, client)
		var patience time.Duration // for a write that is cut off
		if (n*13+client)%9 == 0 && c.kind != "read" {
			patience = time.Duration(n*37%900) * time.Microsecond
		}
		out := h.do(ctx, client, c, patience)
		for out.isUnknown || out.isStale { // as its callers do: read again before acting
			c.kind = "read"
			out = h.do(ctx, client, c, 0)
			if ctx.Err() != nil {
				return
			}
		}
		known[c.name] = out.version
	}
}

// do makes one call and writes it down.
func (h *history) do(ctx context.Context, client int, c call, patience time.Duration) outcome {
	d := h.linear.Documents(client)
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	var out outcome
	var err error
	op := porcupine.Operation{ClientId: client, Input: c, Call: int64(time.Since(h.begun))}
	switch c.kind {
	case "read":
		var doc ca.Document
		doc, err = d.Document(ctx, "linear", c.name)
		out.version, out.body = doc.Version, string(doc.Body)
	case "put":
		out.version, err = d.PutDocument(ctx, "linear", c.name, c.old, []byte(c.body))
	case "delete":
		err = d.DeleteDocument(ctx, "linear", c.name, c.old)
	}
	op.Return = int64(time.Since(h.begun))
	if err != nil {
		out = outcome{isStale: ca.ReasonOf(err) == ca.ReasonStale, isUnknown: ca.ReasonOf(err) != ca.ReasonStale}
	}
	if c.kind == "read" && out.isUnknown {
		return out // it says nothing
	}
	if op.Output = out; out.isUnknown {
		op.Return = int64(24 * time.Hour)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
	return out
}

// document is the state of the model; version 0 means that there is none.
type document struct {
	last    ca.Version // the greatest that there was
	version ca.Version
	body    string
}

// documentModel is the contract of ca.Documents for one document.
func documentModel() porcupine.Model {
	model := porcupine.NondeterministicModel{
		Partition: func(ops []porcupine.Operation) [][]porcupine.Operation {
			byName := make(map[string][]porcupine.Operation)
			for _, op := range ops {
				name := op.Input.(call).name
				byName[name] = append(byName[name], op)
			}
			var all [][]porcupine.Operation
			for _, one := range byName {
				all = append(all, one)
			}
			return all
		},
		Init: func() []any { return []any{document{}} },
		Step: func(state, input, output any) []any {
			return stepDocument(state.(document), input.(call), output.(outcome))
		},
	}
	return model.ToModel()
}

// stepDocument is every state that a call with that outcome can lead to.
func stepDocument(now document, c call, out outcome) []any {
	if c.kind == "read" {
		if out.version != now.version || out.body != now.body {
			return nil
		}
		return []any{now}
	}
	next := document{last: now.last + 1}
	if c.kind == "put" {
		next.version, next.body = next.last, c.body
	}
	canHappen := now.version == c.old && (c.kind == "put" || c.old != 0)
	switch {
	case out.isUnknown && canHappen:
		return []any{now, next}
	case out.isUnknown, out.isStale && !canHappen:
		return []any{now}
	case out.isStale, !canHappen, c.kind == "put" && out.version != next.version:
		return nil
	}
	return []any{next}
}
