package rotation

// guards are the conditions that a plan, a zone and a verifier hold to. A test
// takes them away one at a time and must find what each prevents; nothing else
// ever does.
type guards struct {
	// The seven that every rotation needs.
	allAcknowledge   bool // a phase ends when every zone has reported, not when some have
	monotonic        bool // nobody takes a lower bundle
	drainBeforeEnd   bool // the old anchor leaves the bundle after its last leaf
	drainBeforeAbort bool // so does the new one, when the plan is aborted
	minimum          bool // a zone counts by what holds of each of its replicas
	commandEpoch     bool // a command that was overtaken is refused
	reportEpoch      bool // a report counts for the last command only

	// Those that joins, exclusions, clocks and controllers add.
	lease   bool // the leaves of a zone that is excluded or removed are waited for
	enrol   bool // a zone that returns counts as excluded until it holds what the others do
	recheck bool // draining asks again who signs, for those who have joined since
	skew    bool // what drains is waited for at the slowest clock
	swap    bool // a plan is stored only over the one that it was made from
}

// allGuards is what every plan runs with.
var allGuards = guards{true, true, true, true, true, true, true, true, true, true, true, true}
