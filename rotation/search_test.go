package rotation

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// move is one thing that the adversary can let happen.
type move struct {
	name string
	to   world
}

// moves are all things that can happen next.
func (w world) moves(g guards) []move {
	var all []move
	add := func(to world, name string, args ...any) {
		if to = to.canonical(); to != w {
			all = append(all, move{fmt.Sprintf(name, args...), to})
		}
	}
	controller := w
	controller.store(w.plan().next(modelEpoch, w.reports(), g).Plan)
	add(controller, "the controller runs")
	if p, err := w.plan().Abort("operator", "to see", modelEpoch); err == nil {
		aborted := w
		aborted.store(p)
		add(aborted, "the operator aborts")
	}
	later := w
	later.tick()
	add(later, "time passes")
	for z := range modelZones {
		w.zoneMoves(z, g, add)
	}
	return all
}

func (w world) zoneMoves(z int, g guards, add func(world, string, ...any)) {
	name := zoneName(z)
	for seq := range w.published {
		if w.published[seq] == 0 || g.monotonic && seq <= int(w.held[z]) {
			continue
		}
		fetched := w
		fetched.held[z] = uint8(seq)
		add(fetched, "zone %s fetches bundle %d", name, seq)
	}
	for r := range modelReplicas {
		for epoch, signer := range w.sent[z] {
			if signer == 0 || g.commandEpoch && epoch < int(w.replica[z][r].epoch) {
				continue
			}
			told := w
			told.replica[z][r] = replica{uint8(epoch), signer - 1}
			add(told, "command %d reaches replica %d of zone %s", epoch, r, name)
		}
		signed := w
		signed.leaf[z][w.replica[z][r].signer] = leafLife
		add(signed, "replica %d of zone %s signs a leaf", r, name)

		made := w
		made.flying[z] = w.observe(z, g, r)
		add(made, "zone %s reports (replica %d)", name, r)
	}
	if w.flying[z].made {
		arrived := w
		arrived.received[z], arrived.flying[z] = w.flying[z], noReport
		add(arrived, "the report of zone %s arrives", name)
	}
}

// found is what a search came to.
type found struct {
	states    int
	violation string
	story     []string
	last      []world // a sample of the states, for the search for ways out
}

// maxStates bounds a search; the whole world is smaller.
const maxStates = 30_000_000

// search looks at every state that can be reached, the nearest first, until one
// breaks the promise.
func search(g guards) found {
	type origin struct {
		from int32
		name string
	}
	first := begin()
	seen := map[world]struct{}{first: {}}
	queue, origins := []world{first}, []origin{{-1, ""}}
	result := found{}
	for at := 0; at < len(queue); at++ {
		w := queue[at]
		if text, broken := w.broken(); broken {
			result.violation = text
			for i := int32(at); i > 0; i = origins[i].from {
				result.story = append([]string{origins[i].name}, result.story...)
			}
			break
		}
		if at%997 == 0 {
			result.last = append(result.last, w)
		}
		for _, m := range w.moves(g) {
			if _, known := seen[m.to]; known {
				continue
			}
			seen[m.to] = struct{}{}
			queue, origins = append(queue, m.to), append(origins, origin{int32(at), m.name})
		}
		if len(queue) > maxStates {
			panic("the world of the model is larger than it was")
		}
	}
	result.states = len(queue)
	return result
}

// TestNoHandshakeFailsWhateverHappens is S1 in every behaviour of the small world,
// and L1 and L2 from a sample of its states.
func TestNoHandshakeFailsWhateverHappens(t *testing.T) {
	result := search(allGuards)
	require.Empty(t, result.violation, strings.Join(result.story, "\n"))
	t.Logf("%d states", result.states)
	require.Greater(t, result.states, 10_000, "the adversary can do too little")
	for _, w := range result.last {
		requireWayOut(t, w)
	}
}

// requireWayOut lets the zones answer, and demands that the plan ends, and that it
// names what it waits for meanwhile.
func requireWayOut(t *testing.T, w world) {
	t.Helper()
	for range 40 {
		if w.plan().IsOver() {
			return
		}
		out := w.plan().Next(modelEpoch, w.reports())
		if reflect.DeepEqual(out.Plan, w.plan()) {
			require.NotEmpty(t, out.Blockers, "%+v", w)
		}
		w.store(out.Plan)
		for z := range modelZones {
			for seq, anchors := range w.published {
				if anchors != 0 && seq > int(w.held[z]) {
					w.held[z] = uint8(seq)
				}
			}
			for epoch, signer := range w.sent[z] {
				for r := range modelReplicas {
					if signer != 0 && epoch >= int(w.replica[z][r].epoch) {
						w.replica[z][r] = replica{uint8(epoch), signer - 1}
					}
				}
			}
			w.received[z] = w.observe(z, allGuards, 0)
		}
		w.tick()
		_, broken := w.broken()
		require.False(t, broken)
	}
	require.Fail(t, "no way out", "%+v", w)
}

// TestEachGuardIsNeeded takes each guard away: the search must then find a
// handshake that fails, or the guard, or the search, is worth nothing.
func TestEachGuardIsNeeded(t *testing.T) {
	names := reflect.TypeFor[guards]()
	for i := range 7 {
		t.Run(names.Field(i).Name, func(t *testing.T) {
			result := search(without(i))
			require.NotEmpty(t, result.violation, "without it nothing breaks in %d states", result.states)
			t.Logf("%d states: %s\n%s", result.states, result.violation, strings.Join(result.story, "\n"))
		})
	}
}

// without is allGuards but guard i.
func without(i int) guards {
	g := allGuards
	for j, guard := range []*bool{&g.allAcknowledge, &g.monotonic, &g.drainBeforeEnd, &g.drainBeforeAbort, &g.minimum, &g.commandEpoch, &g.reportEpoch} {
		if j == i {
			*guard = false
		}
	}
	return g
}
