package trustbundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/kedge-ca/kedge/ca"
)

// handler serves what bundle returns.
type handler struct {
	bundle  func() *ca.Bundle
	current atomic.Pointer[encoded]
}

// encoded is one bundle in both forms.
type encoded struct {
	bundle *ca.Bundle
	spiffe page
	pem    page
}

type page struct {
	body        []byte
	contentType string
	etag        string
}

// NewHandler serves the bundle that the function returns, nil before there is one:
// the SPIFFE document at /, the endpoint of SPIFFE_Trust_Domain_and_Bundle §5.2, and
// PEM at /bundle.pem. Readers are asked to look whether theirs is still the one
// (RFC 9110 §13.1.2) each time: a cache on the way must not hold a rotation up.
func NewHandler(bundle func() *ca.Bundle) http.Handler {
	h := &handler{bundle: bundle}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", h.serve(func(e *encoded) *page { return &e.spiffe }))
	mux.HandleFunc("GET /bundle.pem", h.serve(func(e *encoded) *page { return &e.pem }))
	return mux
}

func (h *handler) serve(choose func(*encoded) *page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		all, err := h.encoded()
		if err != nil || all == nil {
			// The detail is for the operator, who sees it in ca check.
			w.Header().Set("Retry-After", "10")
			http.Error(w, "there is no bundle", http.StatusServiceUnavailable)
			return
		}
		p := choose(all)
		w.Header().Set("Content-Type", p.contentType)
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", p.etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(p.body))
	}
}

// encoded is the bundle in force, nil if there is none. It is encoded once.
func (h *handler) encoded() (*encoded, error) {
	b := h.bundle()
	if b == nil {
		return nil, nil
	}
	if last := h.current.Load(); last != nil && last.bundle == b {
		return last, nil
	}
	document, err := SPIFFE(b)
	if err != nil {
		return nil, err
	}
	fresh := &encoded{b, newPage(document, "application/json"), newPage(b.PEM(), "application/pem-certificate-chain")}
	h.current.Store(fresh) // two may encode it at once: the bytes are the same
	return fresh, nil
}

func newPage(body []byte, contentType string) page {
	sum := sha256.Sum256(body)
	return page{body, contentType, `"` + hex.EncodeToString(sum[:16]) + `"`}
}
