package journal

import (
	"context"
	"fmt"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation/bundle"
)

// Chain is the chain of signed bundles. It is stored, not judged: whoever appends has
// made the bundle by bundle.Make, and whoever reads replays it.
type Chain struct {
	bundles  kind[bundle.Signed]
	reserved kind[reserved]
}

// reserved is the highest sequence that somebody meant to publish apart from a plan.
type reserved struct {
	Sequence uint64 `json:"sequence"`
}

// NewChain is the chain in docs.
func NewChain(docs ca.Documents) *Chain {
	return &Chain{kind[bundle.Signed]{docs, "bundle"}, kind[reserved]{docs, "bundle_reserved"}}
}

// sequenceName sorts as the sequence does.
func sequenceName(sequence uint64) string { return fmt.Sprintf("%020d", sequence) }

// After is the bundles above a sequence, the oldest first.
func (c *Chain) After(ctx context.Context, sequence uint64) ([]bundle.Signed, error) {
	entries, err := c.bundles.after(ctx, sequenceName(sequence))
	if err != nil {
		return nil, err
	}
	all := make([]bundle.Signed, 0, len(entries))
	for _, e := range entries {
		all = append(all, e.value)
	}
	return all, nil
}

// At is the bundle of a sequence; false if there is none.
func (c *Chain) At(ctx context.Context, sequence uint64) (bundle.Signed, bool, error) {
	e, err := c.bundles.get(ctx, sequenceName(sequence))
	return e.value, e.version != 0, err
}

// Append stores the bundle of a sequence. Where there is one already, whoever made
// it, nothing is written and the error is an *ca.Error with ReasonStale.
func (c *Chain) Append(ctx context.Context, sequence uint64, s bundle.Signed) error {
	_, err := c.bundles.put(ctx, sequenceName(sequence), 0, s)
	return err
}

const reservedName = "sequence"

// Reserve notes that a bundle of this sequence may be published by somebody who is not
// the plan. A plan that is stored afterwards takes a higher one.
func (c *Chain) Reserve(ctx context.Context, sequence uint64) error {
	_, err := c.reserved.change(ctx, reservedName, func(was reserved, _ bool) (reserved, error) {
		return reserved{max(was.Sequence, sequence)}, nil
	})
	return err
}

// Reserved is the highest sequence that was reserved.
func (c *Chain) Reserved(ctx context.Context) (uint64, error) {
	e, err := c.reserved.get(ctx, reservedName)
	return e.value.Sequence, err
}

// Cut removes the bundles above a sequence, the newest first, so that a crash leaves
// no gap. Only who takes the chain from a zone's copy does that: what was published
// is not taken back in any other case.
func (c *Chain) Cut(ctx context.Context, sequence uint64) error {
	entries, err := c.bundles.after(ctx, sequenceName(sequence))
	if err != nil {
		return err
	}
	for n := len(entries) - 1; n >= 0; n-- {
		if err := c.bundles.remove(ctx, entries[n].name); err != nil {
			return err
		}
	}
	return nil
}
