package ca

import (
	"context"
	"fmt"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxDocument bounds the body of a document in bytes.
	MaxDocument = 1 << 20
	// MaxDocumentName bounds a kind and a name in bytes.
	MaxDocumentName = 512
	// MaxDocuments is the most that one call of Documents returns.
	MaxDocuments = 1000
)

// Document is one small document as it is stored. Version 0 means that there is
// none.
type Document struct {
	Name    string
	Version Version
	Body    []byte
}

// Documents keeps small documents by kind and name; each changes by
// compare-and-swap. It is safe for concurrent use, also by several processes.
//
// Document returns version 0 and no error when there is none.
//
// PutDocument stores body when the stored version is still old (0: there must be
// none), and returns the new version, which is greater than every one that the
// name has had, also before it was deleted. A lost race is an *Error with
// ReasonStale, and nothing was written. Any other error leaves the outcome
// unknown: read the document before acting, and expect that the write may still
// take effect until it has been overtaken by another. PutDocument returns only
// when body would survive a crash.
//
// DeleteDocument removes the document when its version is still old, which is not
// 0; its errors are those of PutDocument.
//
// Documents lists a kind in the order of the bytes of the names, those with
// name > after, at most limit of them; a limit of 0, or above MaxDocuments, means
// MaxDocuments. A caller that reads on takes the last name for after, until there
// are no more.
//
// A kind and a name have 1 to MaxDocumentName bytes of printable UTF-8, a body 1 to
// MaxDocument bytes (CheckDocument).
type Documents interface {
	Document(ctx context.Context, kind, name string) (Document, error)
	Documents(ctx context.Context, kind, after string, limit int) ([]Document, error)
	PutDocument(ctx context.Context, kind, name string, old Version, body []byte) (Version, error)
	DeleteDocument(ctx context.Context, kind, name string, old Version) error
}

// CheckDocument refuses what a document cannot be. Every implementation of
// Documents asks it before it writes.
func CheckDocument(kind, name string, body []byte) error {
	if err := CheckDocumentName(kind, name); err != nil {
		return err
	}
	if len(body) == 0 || len(body) > MaxDocument {
		return fmt.Errorf("document %s %s has %d bytes, needs 1 to %d", kind, name, len(body), MaxDocument)
	}
	return nil
}

// CheckDocumentName refuses a kind or a name that no document can have.
func CheckDocumentName(kind, name string) error {
	for what, text := range map[string]string{"kind": kind, "name": name} {
		if text == "" || len(text) > MaxDocumentName {
			return fmt.Errorf("the %s of a document has %d bytes, needs 1 to %d", what, len(text), MaxDocumentName)
		}
		if !utf8.ValidString(text) {
			return fmt.Errorf("the %s %q of a document is not UTF-8", what, text)
		}
		for _, r := range text {
			if !unicode.IsPrint(r) {
				return fmt.Errorf("the %s %q of a document has a character that cannot be printed", what, text)
			}
		}
	}
	return nil
}
