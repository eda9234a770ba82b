package rotation

import (
	"fmt"
	"hash/maphash"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// step is one thing that the adversary lets happen; its name is made when it is told.
type step struct {
	name    string
	z, r, n uint8
}

func (s step) String() string {
	if strings.Contains(s.name, "%") {
		return fmt.Sprintf(s.name, zoneName(int(s.z)), s.r, s.n)
	}
	return s.name
}

// emit takes a world that can follow, and what is broken by coming to it.
type emit func(to world, by step, broken string)

// What the adversary may do once, as bits of world.acts.
const (
	hasObserved = 1 << iota
	hasRemoved
	hasExcluded
)

// moves are all things that can happen next.
func (m *model) moves(w *world, found emit) {
	m.controllerMoves(w, found)
	m.operatorMoves(w, found)
	later := *w
	m.tick(&later)
	found(later, step{name: "time passes"}, "")
	for z := range modelZones {
		for r := range modelReplicas {
			m.memberMoves(w, z, r, found)
		}
	}
	if f := w.flying; f.isOn {
		landed := *w
		landed.flying.isOn = false
		landed.members[f.zone][f.replica].got = f.report
		found(landed, step{name: "the report of zone %s (replica %d, late) arrives%.0d", z: f.zone, r: f.replica}, "")
	}
}

// change stores a plan; a slow controller's is lost by that.
func (m *model) change(w *world, p Plan) (world, string) {
	to := *w
	broken := m.store(&to, p)
	if m.guards.swap && to.plan != w.plan {
		to.isSlow = false
	}
	return to, broken
}

func (m *model) controllerMoves(w *world, found emit) {
	decided := m.next(w)
	to, broken := m.change(w, m.real(decided))
	found(to, step{name: "the controller runs"}, broken)
	if !m.slow {
		return
	}
	if !w.isSlow && decided != w.plan {
		waits := *w
		waits.slow, waits.isSlow = decided, true
		found(waits, step{name: "a second controller decides"}, "")
	}
	if w.isSlow {
		to, broken := m.change(w, m.real(w.slow))
		if !m.guards.swap {
			broken = "" // that a sequence falls is what a swap is for; look at what comes of it
		}
		to.isSlow = false
		found(to, step{name: "the second controller stores what it has decided"}, broken)
	}
}

func (m *model) operatorMoves(w *world, found emit) {
	p := m.real(w.plan)
	act := func(next Plan, bit uint8, name string) {
		to, broken := m.change(w, next)
		to.acts |= bit
		found(to, step{name: name}, broken)
	}
	if m.aborts {
		if next, err := p.Abort("operator", "to see", modelEpoch); err == nil && p.Phase != Aborting && w.plan.epoch < 2 {
			act(next, 0, "the operator aborts")
		}
	}
	if m.urgent && w.plan.emergency == 0 {
		if next, err := p.MakeEmergency(Emergency{Actor: "operator", Reason: "stolen", At: modelEpoch}); err == nil {
			act(next, 0, "the operator decides that the old anchor is stolen")
		}
	}
	if m.observes && w.acts&hasObserved == 0 && !p.IsOver() {
		act(p.Observe(p.Sequence+1), hasObserved, "a bundle key changes")
	}
	if !m.excludes || !w.plan.zones[1].in {
		return
	}
	if w.acts&hasExcluded == 0 {
		if next, err := p.Exclude("b", "it is away", at(m.leaseLife())); err == nil {
			to, broken := m.change(w, next)
			to.acts |= hasExcluded
			for r := range to.members[1] {
				if is := &to.members[1][r]; is.lease == never {
					is.lease = m.leaseLife()
				}
			}
			found(to, step{name: "the operator excludes zone b"}, broken)
		}
	}
	if next, err := p.Include("b"); err == nil && w.plan.zones[1].excluded {
		act(next, 0, "the operator takes zone b back")
	}
}

// head are the first and the last bundle that a newcomer may get: the last publication
// has not landed while nobody has it.
func (w *world) head() (first, last uint8) {
	for seq, anchors := range w.published {
		if anchors != 0 {
			last = uint8(seq)
		}
	}
	first = last - 1
	for z := range w.members {
		for _, is := range w.members[z] {
			for _, held := range is.held {
				if held == last {
					first = last
				}
			}
		}
	}
	if first == 0 || w.published[first] == 0 {
		first = last
	}
	return first, last
}

func (m *model) memberMoves(w *world, z, r int, found emit) {
	is := w.members[z][r]
	move := func(name string, n uint8, change func(*member)) {
		to := *w
		change(&to.members[z][r])
		found(to, step{name, uint8(z), uint8(r), n}, "")
	}
	switch is.state {
	case nobody:
		return
	case absent:
		move("zone %s, replica %d is registered%.0d", 0, func(is *member) { is.state = registered })
		return
	case registered:
		c := m.real(w.plan).CommandFor(zoneName(z))
		for first, last := w.head(); first <= last; first++ {
			move("zone %s, replica %d begins with bundle %d", first, func(is *member) {
				is.state, is.epoch, is.signer = serving, uint8(c.Epoch), indexOf(c.Signer)
				is.hold(first, m.classes)
			})
		}
		return
	case serving:
		m.servingMoves(w, z, r, found)
		if m.leaves && w.acts&hasRemoved == 0 && (z == 1 || !m.excludes) { // that of zone a is in another world
			to := *w
			to.acts |= hasRemoved
			m.remove(&to.members[z][r])
			found(to, step{"zone %s, replica %d is removed%.0d", uint8(z), uint8(r), 0}, "")
		}
	}
	m.bundleMoves(w, z, r, found)
	for epoch, signer := range w.sent[z] {
		if signer == 0 || m.guards.commandEpoch && epoch < int(is.epoch) {
			continue
		}
		move("zone %s, replica %d follows command %d", uint8(epoch), func(is *member) { is.epoch, is.signer = uint8(epoch), signer-1 })
	}
	life := int8(leafLife)
	if is.lease != never {
		life = min(life, is.lease)
	}
	if life > 0 {
		move("zone %s, replica %d signs a leaf%.0d", 0, func(is *member) { is.leaf[is.signer] = max(is.leaf[is.signer], life) })
	}
}

func (m *model) servingMoves(w *world, z, r int, found emit) {
	to := *w
	to.members[z][r].got = w.members[z][r].observe()
	found(to, step{"zone %s, replica %d reports%.0d", uint8(z), uint8(r), 0}, "")
	if m.flights && !w.flying.isOn {
		to := *w
		to.flying = flight{true, uint8(z), uint8(r), w.members[z][r].observe()}
		found(to, step{"zone %s, replica %d sends a report that is late%.0d", uint8(z), uint8(r), 0}, "")
	}
}

func (m *model) bundleMoves(w *world, z, r int, found emit) {
	is := w.members[z][r]
	for c := range m.classes {
		for seq := range w.published {
			if w.published[seq] == 0 || is.held[c] == 0 || m.guards.monotonic && seq <= int(is.held[c]) {
				continue
			}
			to := *w
			to.members[z][r].held[c] = uint8(seq)
			found(to, step{"verifiers of zone %s, replica %d get bundle %d", uint8(z), uint8(r), uint8(seq)}, "")
		}
	}
}

// found is what a search came to.
type found struct {
	states    int
	violation string
	story     []string
	last      []world // a sample of the states, for the search for ways out
}

// maxStates bounds a search; every world is smaller.
const maxStates = 20_000_000

// origin is how a state was come to.
type origin struct {
	from int32
	by   step
}

// search looks at every state that can be reached, the nearest first, until one
// breaks the promise. States that were seen are known by 128 bits of hash.
func (m *model) search() found {
	m.decided = make(map[visible]planState)
	seeds := [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	name := func(w world) [2]uint64 {
		return [2]uint64{maphash.Comparable(seeds[0], w), maphash.Comparable(seeds[1], w)}
	}
	first := m.canonical(m.begin())
	seen := map[[2]uint64]struct{}{name(first): {}}
	origins := []origin{{-1, step{}}}
	result := found{}
	index := int32(0)
	for level := []world{first}; len(level) > 0 && result.violation == ""; {
		var next []world
		for i := range level {
			w, from := &level[i], index
			index++
			if from%997 == 0 {
				result.last = append(result.last, *w)
			}
			m.moves(w, func(to world, by step, broken string) {
				if to = m.canonical(to); to == *w || result.violation != "" {
					return
				}
				id := name(to)
				if _, known := seen[id]; known {
					return
				}
				seen[id] = struct{}{}
				next, origins = append(next, to), append(origins, origin{from, by})
				if broken == "" {
					broken = m.broken(&to)
				}
				if broken != "" {
					result.violation, result.story = broken, story(origins)
				}
			})
			if result.violation != "" {
				break
			}
		}
		if len(origins) > maxStates {
			panic("the world of the model is larger than it was")
		}
		level = next
	}
	result.states = len(origins)
	return result
}

// story tells how the last state was come to.
func story(origins []origin) []string {
	var told []string
	for i := int32(len(origins) - 1); i > 0; i = origins[i].from {
		told = append([]string{origins[i].by.String()}, told...)
	}
	return told
}

// TestNoHandshakeFailsWhateverHappens is S1 in every behaviour of each world, and L1
// and L2 from a sample of its states.
func TestNoHandshakeFailsWhateverHappens(t *testing.T) {
	skipUnderRace(t)
	for _, rules := range worlds {
		t.Run(rules.name, func(t *testing.T) {
			m := &model{rules: rules, guards: allGuards}
			result := m.search()
			require.Empty(t, result.violation, strings.Join(result.story, "\n"))
			t.Logf("%d states", result.states)
			require.Greater(t, result.states, 1000, "the adversary can do too little")
			for _, w := range result.last {
				m.requireWayOut(t, w)
			}
		})
	}
}

func skipUnderRace(t *testing.T) {
	t.Helper()
	if underRace {
		t.Skip("the search is one goroutine; the race detector has nothing to see in it, and takes minutes")
	}
}

// requireWayOut lets everybody answer, and demands that the plan ends, and that it
// names what it waits for meanwhile.
func (m *model) requireWayOut(t *testing.T, w world) {
	t.Helper()
	m.guards = allGuards
	for range 60 {
		p := m.real(w.plan)
		if p.IsOver() {
			return
		}
		out := p.Next(modelEpoch, m.reports(&w))
		if reflect.DeepEqual(out.Plan, p) {
			require.NotEmpty(t, out.Blockers, "%+v", w)
		}
		require.Empty(t, m.store(&w, out.Plan))
		m.answer(&w)
		m.tick(&w)
		require.Empty(t, m.broken(&w))
	}
	require.Fail(t, "no way out", "%+v", w)
}

// answer lets everybody who serves take what there is, and report.
func (m *model) answer(w *world) {
	_, last := w.head()
	for z := range w.members {
		for r := range w.members[z] {
			is := &w.members[z][r]
			if is.state == registered {
				c := m.real(w.plan).CommandFor(zoneName(z))
				is.state, is.epoch, is.signer = serving, uint8(c.Epoch), indexOf(c.Signer)
			}
			if is.state != serving {
				continue
			}
			is.hold(last, m.classes)
			for epoch, signer := range w.sent[z] {
				if signer != 0 && epoch >= int(is.epoch) {
					is.epoch, is.signer = uint8(epoch), signer-1
				}
			}
			is.got = is.observe()
		}
	}
}

// TestEachGuardIsNeeded takes each guard away: the search must then find a
// handshake that fails, or the guard, or the search, is worth nothing.
func TestEachGuardIsNeeded(t *testing.T) {
	skipUnderRace(t)
	taken := make(map[string]bool)
	for _, rules := range worlds {
		for _, name := range rules.ablate {
			taken[name] = true
			t.Run(name+" in "+rules.name, func(t *testing.T) {
				m := &model{rules: rules, guards: without(name)}
				result := m.search()
				require.NotEmpty(t, result.violation, "without it nothing breaks in %d states", result.states)
				t.Logf("%d states: %s\n%s", result.states, result.violation, strings.Join(result.story, "\n"))
			})
		}
	}
	require.Equal(t, reflect.TypeFor[guards]().NumField(), len(taken), "a guard that is never taken away")
}

// without is allGuards but one.
func without(name string) guards {
	g := allGuards
	for guard, is := range map[string]*bool{
		"allAcknowledge": &g.allAcknowledge, "monotonic": &g.monotonic, "drainBeforeEnd": &g.drainBeforeEnd,
		"drainBeforeAbort": &g.drainBeforeAbort, "minimum": &g.minimum, "commandEpoch": &g.commandEpoch, "reportEpoch": &g.reportEpoch,
		"lease": &g.lease, "enrol": &g.enrol, "recheck": &g.recheck, "skew": &g.skew, "swap": &g.swap,
	} {
		*is = *is && guard != name
	}
	return g
}
