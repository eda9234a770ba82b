package journal

import (
	"context"
	"maps"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/rotation"
)

// Removal is why a zone or a replica takes part no more.
type Removal struct {
	At     time.Time `json:"at,omitzero"`
	Actor  string    `json:"actor,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// IsZero tells whether nothing was removed.
func (r Removal) IsZero() bool { return r.At.IsZero() }

// Zone is a zone of the trust domain.
type Zone struct {
	Name      rotation.Zone `json:"name"`
	CreatedAt time.Time     `json:"created_at"`
	Removed   Removal       `json:"removed,omitzero"`
}

// Replica is an issuing process. Its name is its own in its zone, and its key proves
// it: a process that has lost its key joins again once the old one was removed.
type Replica struct {
	Zone rotation.Zone `json:"zone"`
	Name string        `json:"name"`
	// Key is SHA-256 of its public key (SubjectPublicKeyInfo) in lower-case hex; ""
	// is a process of the primary, which needs none.
	Key      string    `json:"key,omitempty"`
	Version  string    `json:"version,omitempty"`
	JoinedAt time.Time `json:"joined_at"`
	// Leases are when the last intermediate that it may have ends, under each anchor.
	Leases map[ca.AnchorID]time.Time `json:"leases,omitempty"`
	// Before are the leases of the replicas that were removed and had the name before.
	Before  map[ca.AnchorID]time.Time `json:"before,omitempty"`
	Removed Removal                   `json:"removed,omitzero"`
}

// latest is the later end of a and b under each anchor.
func latest(a, b map[ca.AnchorID]time.Time) map[ca.AnchorID]time.Time {
	if len(a) == 0 {
		return b
	}
	ends := maps.Clone(a)
	for anchor, end := range b {
		if end.After(ends[anchor]) {
			ends[anchor] = end
		}
	}
	return ends
}

// Lease is until when intermediates under an anchor may sign.
type Lease struct {
	Anchor ca.AnchorID
	End    time.Time
}

// Lease is when the last intermediate ends that the replica may have, or one that had
// the name before.
func (r Replica) Lease() time.Time {
	var end time.Time
	for _, lease := range latest(r.Before, r.Leases) {
		if lease.After(end) {
			end = lease
		}
	}
	return end
}

// Registry is the zones, their replicas and what these said last. What was removed
// stays, so that it is refused by name, and its leases can be waited for.
type Registry struct {
	zones    kind[Zone]
	replicas kind[Replica] // by zone and name
	keys     kind[owner]   // by key
	reports  kind[rotation.Report]
}

// owner is which replica a key was registered for. Whether it still has the key is
// for its Replica to say.
type owner struct {
	Zone rotation.Zone `json:"zone"`
	Name string        `json:"name"`
}

// NewRegistry is the registry in docs.
func NewRegistry(docs ca.Documents) *Registry {
	return &Registry{
		kind[Zone]{docs, "zone"}, kind[Replica]{docs, "zone_replica"}, kind[owner]{docs, "zone_key"},
		kind[rotation.Report]{docs, "zone_report"},
	}
}

// Zones are all zones, removed ones included, in the order of their names.
func (r *Registry) Zones(ctx context.Context) ([]Zone, error) {
	entries, err := r.zones.after(ctx, "")
	return values(entries), err
}

// Zone is the zone of a name, or an *ca.Error with ReasonZoneUnknown.
func (r *Registry) Zone(ctx context.Context, name rotation.Zone) (Zone, error) {
	e, err := r.zones.get(ctx, string(name))
	if err == nil && e.version == 0 {
		err = unknownZone(name)
	}
	return e.value, err
}

func unknownZone(name rotation.Zone) error {
	return ca.Refuse(ca.ReasonZoneUnknown, "there is no zone %q", name)
}

// AddZone adds a zone. One that was removed is there again, without the replicas that
// it had.
func (r *Registry) AddZone(ctx context.Context, name rotation.Zone, now time.Time) error {
	if err := CheckName(string(name)); err != nil {
		return err
	}
	_, err := r.zones.change(ctx, string(name), func(was Zone, exists bool) (Zone, error) {
		if exists && was.Removed.IsZero() {
			return was, nil
		}
		return Zone{Name: name, CreatedAt: now.UTC()}, nil
	})
	return err
}

// RemoveZone removes a zone and its replicas. It does the same again without harm.
func (r *Registry) RemoveZone(ctx context.Context, name rotation.Zone, why Removal) error {
	_, err := r.zones.change(ctx, string(name), func(was Zone, exists bool) (Zone, error) {
		if !exists {
			return was, unknownZone(name)
		}
		if was.Removed.IsZero() {
			was.Removed = why
		}
		return was, nil
	})
	if err != nil {
		return err
	}
	replicas, err := r.Replicas(ctx)
	if err != nil {
		return err
	}
	for _, replica := range replicas {
		if replica.Zone != name {
			continue
		}
		if err := r.RemoveReplica(ctx, name, replica.Name, why); err != nil {
			return err
		}
	}
	return nil
}

// Replicas are all replicas, removed ones included, in the order of zones and names.
func (r *Registry) Replicas(ctx context.Context) ([]Replica, error) {
	entries, err := r.replicas.after(ctx, "")
	return values(entries), err
}

// fullName is the name of a replica's documents.
func fullName(zone rotation.Zone, replica string) string { return string(zone) + "/" + replica }

// AddReplica adds a replica, or changes the version of one. A name that another key
// has is refused with ReasonZoneTaken until that replica was removed, and a key that
// was removed, with ReasonZoneRemoved.
func (r *Registry) AddReplica(ctx context.Context, replica Replica) error {
	if err := CheckName(replica.Name); err != nil {
		return err
	}
	// The key first: one that points to a replica which is not there is no harm.
	if replica.Key != "" {
		_, err := r.keys.change(ctx, replica.Key, func(was owner, exists bool) (owner, error) {
			if next := (owner{replica.Zone, replica.Name}); !exists || was == next {
				return next, nil
			}
			return was, ca.Refuse(ca.ReasonZoneTaken, "the key is that of replica %s of zone %s", was.Name, was.Zone)
		})
		if err != nil {
			return err
		}
	}
	_, err := r.replicas.change(ctx, fullName(replica.Zone, replica.Name), func(was Replica, exists bool) (Replica, error) {
		isSameKey, isRemoved := was.Key == replica.Key, !was.Removed.IsZero()
		switch {
		case exists && !isSameKey && !isRemoved:
			return was, ca.Refuse(ca.ReasonZoneTaken, "zone %s has a replica %s with another key; remove it first", was.Zone, was.Name)
		case exists && isSameKey && isRemoved && was.Key != "":
			return was, removedReplica(was)
		case exists && isSameKey && !isRemoved:
			was.Version = replica.Version
			return was, nil
		}
		replica.Before = latest(was.Before, was.Leases)
		return replica, nil
	})
	return err
}

func removedReplica(r Replica) error {
	return ca.Refuse(ca.ReasonZoneRemoved, "replica %s of zone %s was removed at %s by %s: %s", r.Name, r.Zone, r.Removed.At.UTC().Format(time.RFC3339), r.Removed.Actor, r.Removed.Reason)
}

// Admitted is the replica of a key, or an *ca.Error that says why there is none:
// ReasonZoneUnknown, or ReasonZoneRemoved for one that was removed.
func (r *Registry) Admitted(ctx context.Context, key string) (Replica, error) {
	if key == "" { // no document has that name
		return Replica{}, ca.Refuse(ca.ReasonZoneUnknown, "a replica without a key")
	}
	at, err := r.keys.get(ctx, key)
	if err != nil {
		return Replica{}, err
	}
	e, err := r.replicas.get(ctx, fullName(at.value.Zone, at.value.Name))
	switch {
	case err != nil:
		return Replica{}, err
	case key == "" || at.version == 0 || e.version == 0 || e.value.Key != key:
		return Replica{}, ca.Refuse(ca.ReasonZoneUnknown, "no replica has the key %s", key)
	case !e.value.Removed.IsZero():
		return e.value, removedReplica(e.value)
	}
	return e.value, nil
}

// Member is a replica of a zone that takes part, or an *ca.Error as Admitted has it.
func (r *Registry) Member(ctx context.Context, zone rotation.Zone, name string) (Replica, error) {
	e, err := r.replicas.get(ctx, fullName(zone, name))
	switch {
	case err != nil:
		return Replica{}, err
	case e.version == 0:
		return Replica{}, ca.Refuse(ca.ReasonZoneUnknown, "zone %s has no replica %s", zone, name)
	case !e.value.Removed.IsZero():
		return e.value, removedReplica(e.value)
	}
	return e.value, nil
}

// changeReplica changes a replica that there is.
func (r *Registry) changeReplica(ctx context.Context, zone rotation.Zone, name string, change func(Replica) (Replica, error)) error {
	_, err := r.replicas.change(ctx, fullName(zone, name), func(was Replica, exists bool) (Replica, error) {
		if !exists {
			return was, ca.Refuse(ca.ReasonZoneUnknown, "zone %s has no replica %s", zone, name)
		}
		return change(was)
	})
	return err
}

// RemoveReplica removes a replica. It does the same again without harm.
func (r *Registry) RemoveReplica(ctx context.Context, zone rotation.Zone, name string, why Removal) error {
	return r.changeReplica(ctx, zone, name, func(was Replica) (Replica, error) {
		if was.Removed.IsZero() {
			was.Removed = why
		}
		return was, nil
	})
}

// ExtendLease notes until when a replica may sign under an anchor, before it is given
// the intermediate. A replica that was removed is refused.
func (r *Registry) ExtendLease(ctx context.Context, zone rotation.Zone, name string, lease Lease) error {
	return r.changeReplica(ctx, zone, name, func(was Replica) (Replica, error) {
		if !was.Removed.IsZero() {
			return was, removedReplica(was)
		}
		if !lease.End.After(was.Leases[lease.Anchor]) {
			return was, nil
		}
		was.Leases = latest(map[ca.AnchorID]time.Time{lease.Anchor: lease.End.UTC()}, was.Leases)
		return was, nil
	})
}

// Report stores what a replica says of itself, over what it said before. A report
// that was received earlier than the stored one changes nothing.
func (r *Registry) Report(ctx context.Context, report rotation.Report) error {
	_, err := r.reports.change(ctx, fullName(report.Zone, report.Replica), func(was rotation.Report, exists bool) (rotation.Report, error) {
		if exists && was.Received.After(report.Received) {
			return was, nil
		}
		return report, nil
	})
	return err
}

// Reports are the last reports of all replicas, in the order of their zones and names;
// of replicas that were removed as well.
func (r *Registry) Reports(ctx context.Context) ([]rotation.Report, error) {
	entries, err := r.reports.after(ctx, "")
	return values(entries), err
}

func values[T any](entries []entry[T]) []T {
	all := make([]T, 0, len(entries))
	for _, e := range entries {
		all = append(all, e.value)
	}
	return all
}

// maxName is the longest name of a zone or a replica: that of a DNS label.
const maxName = 63

// CheckName refuses what is no name of a zone or a replica with ReasonZoneName.
func CheckName(name string) error {
	ok := name != "" && len(name) <= maxName
	for i, c := range []byte(name) {
		isEdge := i == 0 || i == len(name)-1
		isAlphanumeric := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		ok = ok && (isAlphanumeric || c == '-' && !isEdge)
	}
	if !ok {
		return ca.Refuse(ca.ReasonZoneName, "%q is no name of a zone or a replica: 1 to %d lower-case letters, digits and hyphens, no hyphen first or last", name, maxName)
	}
	return nil
}
