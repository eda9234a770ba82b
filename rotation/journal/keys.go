package journal

import (
	"context"

	"github.com/kedge-ca/kedge/ca"
)

// BundleKey is the key with which one process of the primary signs bundles.
type BundleKey struct {
	Holder string `json:"holder"` // the process that has it
	Name   string `json:"name"`   // in the ca.KeyStore of that process
	// Public is its SubjectPublicKeyInfo, empty while the key is being made: a crash
	// then leaves nothing unnamed.
	Public []byte `json:"public,omitempty"`
}

// BundleKeys are the bundle keys by their holders.
type BundleKeys struct{ keys kind[BundleKey] }

// NewBundleKeys is the bundle keys in docs.
func NewBundleKeys(docs ca.Documents) *BundleKeys {
	return &BundleKeys{kind[BundleKey]{docs, "bundle_key"}}
}

// Key is the key of a holder; its name is "" where there is none.
func (b *BundleKeys) Key(ctx context.Context, holder string) (BundleKey, error) {
	e, err := b.keys.get(ctx, holder)
	return e.value, err
}

// Put stores the key of its holder over the one before it.
func (b *BundleKeys) Put(ctx context.Context, key BundleKey) error {
	_, err := b.keys.change(ctx, key.Holder, func(BundleKey, bool) (BundleKey, error) { return key, nil })
	return err
}

// Remove forgets the key of a holder that is gone.
func (b *BundleKeys) Remove(ctx context.Context, holder string) error {
	return b.keys.remove(ctx, holder)
}

// All are the bundle keys of all holders.
func (b *BundleKeys) All(ctx context.Context) ([]BundleKey, error) {
	entries, err := b.keys.after(ctx, "")
	return values(entries), err
}
