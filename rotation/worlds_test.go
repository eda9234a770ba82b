package rotation

var both = [modelReplicas]uint8{serving, serving}
var single = [modelReplicas]uint8{serving, nobody}
var joiner = [modelReplicas]uint8{absent, nobody}
var joined = [modelReplicas]uint8{serving, absent}

// worlds are what is searched, each completely. In all of them the adversary loses,
// delays and repeats bundles, commands and reports, lets controllers run with old
// reports, and in most aborts at any moment, once. What a world adds is in its name;
// doc.go says it in words. The guards that are taken away in a world are those that it
// is about.
var worlds = []rules{
	{
		name: "late reports", replicas: [2][2]uint8{both, single}, classes: 1, aborts: true, flights: true,
		ablate: []string{"allAcknowledge", "monotonic", "drainBeforeEnd", "drainBeforeAbort", "minimum", "commandEpoch", "reportEpoch"},
	},
	{name: "a zone joins", replicas: [2][2]uint8{both, joiner}, classes: 1, aborts: true, slow: true, ablate: []string{"recheck"}},
	{name: "a replica joins", replicas: [2][2]uint8{joined, single}, classes: 1, aborts: true, slow: true},
	{name: "removals", replicas: [2][2]uint8{both, single}, classes: 1, aborts: true, leaves: true, ablate: []string{"lease"}},
	{name: "exclusions", replicas: [2][2]uint8{single, single}, classes: 2, aborts: true, excludes: true, ablate: []string{"lease", "enrol"}},
	{name: "both at once", replicas: [2][2]uint8{single, both}, classes: 1, excludes: true, leaves: true, short: true},
	{name: "clocks", replicas: [2][2]uint8{both, single}, classes: 1, aborts: true, skew: 1, ablate: []string{"skew"}},
	{name: "standby", replicas: [2][2]uint8{both, single}, classes: 1, aborts: true, standby: true, observes: true},
	{name: "classes", replicas: [2][2]uint8{single, single}, classes: 2, aborts: true, observes: true},
	{name: "controllers", replicas: [2][2]uint8{both, single}, classes: 1, aborts: true, slow: true, observes: true, ablate: []string{"swap"}},
	{name: "emergency", replicas: [2][2]uint8{single, single}, classes: 1, aborts: true, urgent: true},
}
