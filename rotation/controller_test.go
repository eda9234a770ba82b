package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// faults fails one call of all that are made through it.
type faults struct{ calls, fail int }

var errFault = errors.New("the connection was lost")

// next says whether this call is the one that fails.
func (f *faults) next() bool {
	f.calls++
	return f.calls == f.fail
}

// memory is a journal. A call that fails may have stored all the same: the outcome
// is unknown.
type memory struct {
	faults  *faults
	lost    bool // a failing Replace has not stored
	plan    rotation.Plan
	version ca.Version
}

func (m *memory) Load(context.Context) (rotation.Plan, ca.Version, error) {
	if m.faults.next() {
		return rotation.Plan{}, 0, errFault
	}
	return m.plan, m.version, nil
}

func (m *memory) Replace(_ context.Context, old ca.Version, next rotation.Plan) (ca.Version, error) {
	fails := m.faults.next()
	if fails && m.lost {
		return 0, errFault
	}
	if old != m.version {
		return 0, ca.Refuse(ca.ReasonStale, "version %d, not %d", m.version, old)
	}
	m.plan, m.version = next, m.version+1
	if fails {
		return 0, errFault
	}
	return m.version, nil
}

// obedient are zones that do what they are told and report it.
type obedient struct {
	t        *testing.T
	faults   *faults
	now      time.Time
	sequence uint64
	anchors  []ca.AnchorID
	commands map[rotation.Zone]rotation.Command
}

func newObedient(t *testing.T, f *faults) *obedient {
	z := &obedient{t: t, faults: f, now: start, sequence: 41, anchors: []ca.AnchorID{oldID}, commands: map[rotation.Zone]rotation.Command{}}
	for _, name := range begin().Zones {
		z.commands[name] = command(name, oldID, 7)
	}
	return z
}

func (z *obedient) Reports(context.Context) ([]rotation.Report, error) {
	if z.faults.next() {
		return nil, errFault
	}
	var all []rotation.Report
	for _, name := range begin().Zones {
		c := z.commands[name]
		r := report(name, c.Epoch, c.Signer, z.sequence)
		r.Received, r.HighWater = z.now, map[ca.AnchorID]time.Time{c.Signer: z.now.Add(time.Hour)}
		all = append(all, r)
	}
	return all, nil
}

func (z *obedient) Apply(_ context.Context, _ rotation.Plan, s rotation.Step) error {
	if z.faults.next() {
		return errFault
	}
	if pub := s.Publish; !pub.IsZero() {
		after := slices.DeleteFunc(slices.Clone(z.anchors), func(a ca.AnchorID) bool { return slices.Contains(pub.Without, a) })
		for _, a := range pub.With {
			if !slices.Contains(after, a) {
				after = append(after, a)
			}
		}
		require.NotEmpty(z.t, after)
		require.Contains(z.t, after, pub.Active)
		require.GreaterOrEqual(z.t, pub.Sequence, z.sequence, "a sequence that falls")
		if pub.Sequence == z.sequence {
			require.Equal(z.t, z.anchors, after, "one sequence, two bundles")
		}
		z.sequence, z.anchors = pub.Sequence, after
	}
	if c := s.Command; c.Epoch > 0 {
		require.Contains(z.t, z.anchors, c.Signer, "a command to sign under an anchor that nobody has")
		if c.Epoch >= z.commands[c.Zone].Epoch {
			z.commands[c.Zone] = c
		}
	}
	return nil
}

// TestAnyCallMayFail lets each call of a whole rotation fail once, whether or not
// what failed was done, and once none: the plan comes to its end all the same.
func TestAnyCallMayFail(t *testing.T) {
	for _, lost := range []bool{false, true} {
		for fail, made := 0, 0; fail <= made; fail++ { // until a rotation has fewer calls than that
			t.Run(fmt.Sprintf("call %d, lost %v", fail, lost), func(t *testing.T) {
				f := &faults{fail: fail}
				defer func() { made = max(made, f.calls) }()
				journal, zones := &memory{faults: f, lost: lost}, newObedient(t, f)
				c, err := rotation.NewController(journal, zones)
				require.NoError(t, err)
				plan, err := rotation.New(begin(), start)
				require.NoError(t, err)
				for journal.version == 0 {
					if err := c.Start(t.Context(), plan); err != nil {
						require.ErrorIs(t, err, errFault)
					}
				}
				for n := 0; !journal.plan.IsOver(); n++ {
					require.Less(t, n, 60, "%+v", journal.plan)
					_, err := c.Tick(t.Context(), zones.now)
					if err != nil {
						require.ErrorIs(t, err, errFault)
					}
					zones.now = zones.now.Add(20 * time.Minute)
				}
				require.Equal(t, rotation.Done, journal.plan.Phase)
				require.Equal(t, []ca.AnchorID{newID}, zones.anchors)
				for _, c := range zones.commands {
					require.Equal(t, newID, c.Signer)
				}
			})
		}
	}
}

func TestOneRotationAtATime(t *testing.T) {
	f := &faults{}
	journal := &memory{faults: f}
	c, err := rotation.NewController(journal, newObedient(t, f))
	require.NoError(t, err)
	_, err = c.Tick(t.Context(), start)
	require.Equal(t, ca.ReasonNotFound, ca.ReasonOf(err))
	_, err = c.Change(t.Context(), func(p rotation.Plan) (rotation.Plan, error) { return p, nil })
	require.Equal(t, ca.ReasonNotFound, ca.ReasonOf(err))
	plan, err := rotation.New(begin(), start)
	require.NoError(t, err)
	require.NoError(t, c.Start(t.Context(), plan))
	err = c.Start(t.Context(), plan)
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(err))
	require.ErrorContains(t, err, "rotation r1 is under way")

	aborted, err := c.Change(t.Context(), func(p rotation.Plan) (rotation.Plan, error) { return p.Abort("ada", "to see", start) })
	require.NoError(t, err)
	require.Equal(t, rotation.Aborted, aborted.Phase)
	require.NoError(t, c.Start(t.Context(), plan), "after the end of one, the next")

	old := plan
	old.Epoch = 3
	journal.plan.Phase = rotation.Done
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(c.Start(t.Context(), old)), "epochs never fall")
}

// TestOfTwoControllersOneStores: the loser of the swap has changed nothing.
func TestOfTwoControllersOneStores(t *testing.T) {
	f := &faults{}
	journal := &memory{faults: f}
	zones := newObedient(t, f)
	c, err := rotation.NewController(journal, zones)
	require.NoError(t, err)
	plan, err := rotation.New(begin(), start)
	require.NoError(t, err)
	require.NoError(t, c.Start(t.Context(), plan))
	slow, err := rotation.NewController(overtaken{journal, func() {
		_, err := c.Tick(t.Context(), start)
		require.NoError(t, err)
	}}, zones)
	require.NoError(t, err)
	_, err = slow.Tick(t.Context(), start)
	require.Equal(t, ca.ReasonStale, ca.ReasonOf(err))
	require.EqualValues(t, 2, journal.version)
}

// overtaken is a journal whose plan another controller stores first.
type overtaken struct {
	*memory
	first func()
}

func (o overtaken) Replace(ctx context.Context, old ca.Version, next rotation.Plan) (ca.Version, error) {
	o.first()
	return o.memory.Replace(ctx, old, next)
}
