package primary

import (
	"context"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/bundle"
)

// Have is what a replica has already.
type Have struct {
	Zone     rotation.Zone
	Replica  string
	Sequence uint64 // of the bundle that it holds
	Epoch    uint64 // of the last command that it has stored
	Halted   string
}

// Directive is what a replica has to know: all of it that it does not have, so that
// one that was lost is made up for by the next.
type Directive struct {
	// Bundles are those above the one that is held, oldest first.
	Bundles []bundle.Signed
	// Command is the last one to the zone; its epoch is 0 where there was none.
	Command ca.Command
	// Halted is why nothing may be issued; "" lets it go on.
	Halted string
	// Plan is the id of the rotation under way, "" while there is none.
	Plan string
}

// Source is how a replica hears of its primary, and the primary of it.
//
// Follow blocks until there is something that the caller does not have, or ctx ends.
// What it returns may come late, twice or out of order; the caller judges it. Report
// says what the replica holds and has seen; the last one counts. Both may block on a
// network and fail while the primary cannot be reached, which stops no issuance.
type Source interface {
	Follow(ctx context.Context, have Have) (Directive, error)
	Report(ctx context.Context, report rotation.Report) error
}
