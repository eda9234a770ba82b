package journal

import (
	"context"
	"slices"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// Plans holds the plan of the trust domain and those before it. It implements
// rotation.Journal.
type Plans struct {
	current kind[rotation.Plan]
	past    kind[rotation.Plan]
}

var _ rotation.Journal = (*Plans)(nil)

const planName = "plan"

// NewPlans is the plans in docs.
func NewPlans(docs ca.Documents) *Plans {
	return &Plans{kind[rotation.Plan]{docs, "rotation"}, kind[rotation.Plan]{docs, "rotation_past"}}
}

// Load implements rotation.Journal.
func (p *Plans) Load(ctx context.Context) (rotation.Plan, ca.Version, error) {
	e, err := p.current.get(ctx, planName)
	return e.value, e.version, err
}

// Replace implements rotation.Journal. A plan that another takes the place of is kept
// for History first, so that no crash loses it.
func (p *Plans) Replace(ctx context.Context, old ca.Version, next rotation.Plan) (ca.Version, error) {
	if old != 0 {
		e, err := p.current.get(ctx, planName)
		if err != nil {
			return 0, err
		}
		if e.version != old {
			return 0, ca.Refuse(ca.ReasonStale, "the plan has version %d, not %d", e.version, old)
		}
		if e.value.ID != next.ID {
			if err := p.keep(ctx, e.value); err != nil {
				return 0, err
			}
		}
	}
	return p.current.put(ctx, planName, old, next)
}

func (p *Plans) keep(ctx context.Context, plan rotation.Plan) error {
	name := plan.StartedAt.UTC().Format("20060102T150405.000000000Z") + " " + plan.ID
	_, err := p.past.change(ctx, name, func(rotation.Plan, bool) (rotation.Plan, error) { return plan, nil })
	return err
}

// History is every plan there was, the latest first, the present one included.
func (p *Plans) History(ctx context.Context) ([]rotation.Plan, error) {
	past, err := p.past.after(ctx, "")
	if err != nil {
		return nil, err
	}
	current, version, err := p.Load(ctx)
	if err != nil {
		return nil, err
	}
	var all []rotation.Plan
	for _, e := range past {
		if e.value.ID != current.ID { // kept by one that then came late
			all = append(all, e.value)
		}
	}
	if version != 0 {
		all = append(all, current)
	}
	slices.Reverse(all)
	return all, nil
}
