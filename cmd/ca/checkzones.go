package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
)

// membershipChecks judge how a server hears of its primary. It is pure.
func membershipChecks(s *kedgev1.StatusResponse) []checkResult {
	m, now := s.GetMembership(), s.GetNow().AsTime()
	if m == nil {
		return []checkResult{{"zones", "primary-reachable", ca.LevelFail, "this replica has not joined its zone yet", "look at the server's log; ca zones token on the primary makes a new token"}}
	}
	who := fmt.Sprintf("replica %s of zone %s", m.GetReplica(), m.GetZone())
	primary := firstOf(m.GetPrimary(), "the primary, which this server is")
	r := checkResult{"zones", "primary-reachable", ca.LevelOK, fmt.Sprintf("%s follows %s, command %d", who, primary, m.GetEpoch()), ""}
	last := timeAt(m.GetLastContact())
	switch {
	case last.IsZero():
		r.fault(ca.LevelWarn, fmt.Sprintf("%s has not heard of %s since it started: %s", who, primary, firstOf(m.GetContactError(), "it is asked now")), "issuing goes on while the intermediate lives")
	case m.GetContactError() != "" || now.Sub(last) > silentAfter:
		r.fault(ca.LevelWarn, fmt.Sprintf("%s heard of %s last %s: %s", who, primary, relative(last, now), firstOf(m.GetContactError(), "it is silent")), "issuing goes on while the intermediate lives")
	}
	bundle := checkResult{"zones", "bundle-age", ca.LevelOK, fmt.Sprintf("bundle %d", s.GetBundle().GetSequence()), ""}
	if issued := timeAt(m.GetBundleIssuedAt()); !issued.IsZero() {
		bundle.Detail += ", made " + relative(issued, now) + ", is the primary's"
	}
	if r.Level != ca.LevelOK {
		bundle.fault(ca.LevelWarn, strings.TrimSuffix(bundle.Detail, ", is the primary's")+"; whether there is a later one is not known", "mend the connection to the primary")
	}
	return []checkResult{r, bundle}
}

// checkZones asks a primary of its zones. A server that is none has nothing to say.
func (a *app) checkZones(ctx context.Context, socket string) []checkResult {
	var list *kedgev1.ListZonesResponse
	err := a.withZones(ctx, socket, func(ctx context.Context, c kedgev1.ZonesAdminClient) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		var err error
		list, err = c.ListZones(ctx, &kedgev1.ListZonesRequest{})
		return err
	})
	if err != nil {
		f := describe(err)
		return []checkResult{{"zones", "zones-current", ca.LevelWarn, f.Error, firstOf(f.Next, "look at the server's log")}}
	}
	return zoneChecks(list)
}

// maxZoneSkew is the clock error that a rotation reckons with.
const maxZoneSkew = 5 * time.Minute

// zoneChecks judges each replica that is not as the primary is. It is pure.
func zoneChecks(list *kedgev1.ListZonesResponse) []checkResult {
	var results []checkResult
	replicas := 0
	for _, z := range list.GetZones() {
		for _, one := range z.GetReplicas() {
			if one.GetRemoved() {
				continue
			}
			replicas++
			if why := behindBy(listReplica(one, list), list.GetNow().AsTime()); why != "" {
				results = append(results, checkResult{"zones", "zones-current", ca.LevelWarn, fmt.Sprintf("zone %s, replica %s: %s", z.GetName(), one.GetName(), why), "a rotation waits for it; ca zones list, and the replica's log"})
			}
		}
	}
	if len(results) > 0 {
		return results
	}
	return []checkResult{{"zones", "zones-current", ca.LevelOK, fmt.Sprintf("%s, all at bundle %d", countOf(uint64(replicas), "replica", "replicas"), list.GetSequence()), ""}}
}

func behindBy(r listedReplica, now time.Time) string {
	offset, _ := time.ParseDuration(r.ClockOffset) // "" is none
	switch {
	case r.LastContact.IsZero():
		return "it has never reported"
	case r.Silent:
		return "silent since " + short(now.Sub(r.LastContact))
	case r.Lag > 0:
		return fmt.Sprintf("it holds bundle %d, %s behind", r.Sequence, countOf(r.Lag, "bundle", "bundles"))
	case offset.Abs() > maxZoneSkew:
		return "its clock differs by " + r.ClockOffset
	}
	return ""
}
