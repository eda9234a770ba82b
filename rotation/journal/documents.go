package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/kedge-ca/kedge/ca"
)

// kind is all documents of one kind, each a T in JSON.
type kind[T any] struct {
	docs ca.Documents
	name string
}

// entry is a document as it was read.
type entry[T any] struct {
	name    string
	version ca.Version // 0: there is none
	value   T
}

func (k kind[T]) get(ctx context.Context, name string) (entry[T], error) {
	doc, err := k.docs.Document(ctx, k.name, name)
	if err != nil {
		return entry[T]{}, fmt.Errorf("reading %s %s: %w", k.name, name, err)
	}
	return k.decode(doc)
}

func (k kind[T]) decode(doc ca.Document) (entry[T], error) {
	e := entry[T]{name: doc.Name, version: doc.Version}
	if doc.Version == 0 {
		return e, nil
	}
	d := json.NewDecoder(bytes.NewReader(doc.Body))
	d.DisallowUnknownFields()
	if err := d.Decode(&e.value); err != nil {
		return entry[T]{}, fmt.Errorf("reading %s %s, which a newer program may have written: %w", k.name, doc.Name, err)
	}
	return e, nil
}

// put stores value when the stored version is still old.
func (k kind[T]) put(ctx context.Context, name string, old ca.Version, value T) (ca.Version, error) {
	body, err := json.Marshal(value)
	if err != nil {
		return 0, fmt.Errorf("encoding %s %s: %w", k.name, name, err)
	}
	version, err := k.docs.PutDocument(ctx, k.name, name, old, body)
	if err != nil {
		return 0, fmt.Errorf("storing %s %s: %w", k.name, name, err)
	}
	return version, nil
}

// after lists the documents with a name above name, in the order of the names.
func (k kind[T]) after(ctx context.Context, name string) ([]entry[T], error) {
	var all []entry[T]
	for {
		page, err := k.docs.Documents(ctx, k.name, name, 0)
		if err != nil {
			return nil, fmt.Errorf("listing every %s: %w", k.name, err)
		}
		if len(page) == 0 {
			return all, nil
		}
		for _, doc := range page {
			e, err := k.decode(doc)
			if err != nil {
				return nil, err
			}
			all = append(all, e)
		}
		name = page[len(page)-1].Name
	}
}

// races is how often change begins anew when another was faster.
const races = 20

// change stores what change makes of the document, of a zero T where there is none.
// Nothing is stored where change returns the same value again, or an error.
func (k kind[T]) change(ctx context.Context, name string, change func(was T, exists bool) (T, error)) (T, error) {
	for n := 0; ; n++ {
		e, err := k.get(ctx, name)
		if err != nil {
			return e.value, err
		}
		next, err := change(e.value, e.version != 0)
		if err != nil {
			return e.value, err
		}
		if e.version != 0 && isSame(e.value, next) {
			return next, nil
		}
		_, err = k.put(ctx, name, e.version, next)
		if err == nil {
			return next, nil
		}
		if ca.ReasonOf(err) != ca.ReasonStale || n == races {
			return e.value, err
		}
	}
}

// isSame tells whether two values have one encoding.
func isSame[T any](a, b T) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// remove deletes a document; one that is not there is no error.
func (k kind[T]) remove(ctx context.Context, name string) error {
	for n := 0; ; n++ {
		doc, err := k.docs.Document(ctx, k.name, name)
		if err != nil || doc.Version == 0 {
			return err
		}
		err = k.docs.DeleteDocument(ctx, k.name, name, doc.Version)
		if err == nil {
			return nil
		}
		if ca.ReasonOf(err) != ca.ReasonStale || n == races {
			return fmt.Errorf("deleting %s %s: %w", k.name, name, err)
		}
	}
}
