package catest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/kedge-ca/kedge/ca"
)

// Documents keeps documents in memory. Fault, when set, is asked before each
// write that would be made: persisted tells whether the failed write took effect
// all the same.
type Documents struct {
	Fault func() (err error, persisted bool)

	mu   sync.Mutex
	kept map[string]map[string]ca.Document // by kind and name; deleted ones without a body
}

var _ ca.Documents = (*Documents)(nil)

// Backup copies what is kept, as a backup would.
func (d *Documents) Backup() *Documents {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := make(map[string]map[string]ca.Document, len(d.kept))
	for kind, docs := range d.kept {
		kept[kind] = maps.Clone(docs)
	}
	return &Documents{Fault: d.Fault, kept: kept}
}

// Document implements ca.Documents.
func (d *Documents) Document(_ context.Context, kind, name string) (ca.Document, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	doc := d.kept[kind][name]
	if doc.Body == nil {
		return ca.Document{Name: name}, nil
	}
	doc.Body = bytes.Clone(doc.Body)
	return doc, nil
}

// Documents implements ca.Documents.
func (d *Documents) Documents(_ context.Context, kind, after string, limit int) ([]ca.Document, error) {
	if limit <= 0 || limit > ca.MaxDocuments {
		limit = ca.MaxDocuments
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []ca.Document
	for _, name := range slices.Sorted(maps.Keys(d.kept[kind])) {
		doc := d.kept[kind][name]
		if name <= after || doc.Body == nil {
			continue
		}
		doc.Body = bytes.Clone(doc.Body)
		if all = append(all, doc); len(all) == limit {
			break
		}
	}
	return all, nil
}

// PutDocument implements ca.Documents.
func (d *Documents) PutDocument(_ context.Context, kind, name string, old ca.Version, body []byte) (ca.Version, error) {
	if err := ca.CheckDocument(kind, name, body); err != nil {
		return 0, err
	}
	return d.swap(kind, name, old, bytes.Clone(body))
}

// DeleteDocument implements ca.Documents.
func (d *Documents) DeleteDocument(_ context.Context, kind, name string, old ca.Version) error {
	if old == 0 {
		return ca.Refuse(ca.ReasonStale, "no document has version 0")
	}
	_, err := d.swap(kind, name, old, nil)
	return err
}

func (d *Documents) swap(kind, name string, old ca.Version, body []byte) (ca.Version, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.kept[kind][name]
	stored := was.Version
	if was.Body == nil {
		stored = 0
	}
	if stored != old {
		return 0, ca.Refuse(ca.ReasonStale, "version is %d, not %d", stored, old)
	}
	var fault error
	if d.Fault != nil {
		var persisted bool
		if fault, persisted = d.Fault(); fault != nil && !persisted {
			return 0, fault
		}
	}
	if d.kept[kind] == nil {
		if d.kept == nil {
			d.kept = make(map[string]map[string]ca.Document)
		}
		d.kept[kind] = make(map[string]ca.Document)
	}
	d.kept[kind][name] = ca.Document{Name: name, Version: was.Version + 1, Body: body}
	if fault != nil {
		return 0, fault
	}
	return was.Version + 1, nil
}
