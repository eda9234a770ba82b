package rotationapi

import (
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// Act is what an operator does, as its audit event has it.
type Act struct {
	Actor  string
	Action string // such as "rotation.abort"
	Detail map[string]string
}

// Order is a rotation that an operator wants. What is zero is as configured.
type Order struct {
	New       ca.AnchorID   // zero is the standby
	First     rotation.Zone // is activated before the others; "" leaves the order as it is
	Mode      rotation.Mode
	Dwell     time.Duration
	Window    rotation.Window
	Actor     string
	Reason    string
	Emergency *rotation.Emergency // nil waits for the old anchor's leaves
}

// Reconstruction is where the rotation is by what the zones hold, beside what the
// journal says.
type Reconstruction struct {
	Journal, Derived rotation.Phase // "" is no rotation
	Findings         []string       // what was seen, in order
	Actions          []string       // what would mend the journal, or did; none when nothing can safely
	Agrees, Applied  bool
}

// Mending is what an operator wants put into the journal.
type Mending struct {
	// Bundles are signed bundles as a replica keeps them, oldest first; none where the
	// journal has them all.
	Bundles [][]byte
	Act     Act
}
