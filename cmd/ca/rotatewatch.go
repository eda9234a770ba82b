package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

// watch follows one rotation.
type watch struct {
	app             *app
	stopWhenBlocked bool

	phase    string               // last printed
	blockers map[string]time.Time // last printed, by line without its numbers
	printed  time.Time            // server's clock at the last line
	blocked  time.Time            // since when somebody is needed, by the server's clock
}

// blockedFor is how long somebody has to be needed before --stop-when-blocked ends the
// view: a zone that was told something just now answers in seconds.
const blockedFor = 30 * time.Second

// isBlocked tells whether somebody is needed and has been for a while.
func (w *watch) isBlocked(s *kedgev1.RotationStatus, v verdict) bool {
	now := timeAt(s.GetNow())
	switch {
	case v.code != exitBlocked && v.code != exitUnsafe:
		w.blocked = time.Time{}
	case w.blocked.IsZero():
		w.blocked = now
	}
	return !w.blocked.IsZero() && now.Sub(w.blocked) >= blockedFor
}

// barWidth is the width of the bars of the live view.
const barWidth = 20

// run prints what comes until the rotation is over, ctx ends or, where asked for,
// somebody is needed.
func (w *watch) run(ctx context.Context, c kedgev1.RotationClient) error {
	stream, err := c.Watch(ctx, &kedgev1.RotationStatusRequest{})
	if err != nil {
		return err
	}
	var last *kedgev1.RotationStatus
	for {
		s, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return w.end(last)
		}
		if err != nil {
			return ignoreEnd(ctx, w.lost(err))
		}
		last = s
		if err := w.show(s); err != nil {
			return err
		}
		if v := judge(s, 0); w.stopWhenBlocked && w.isBlocked(s, v) {
			return v.err()
		}
	}
}

// lost says that the view has ended and the rotation has not.
func (w *watch) lost(err error) error {
	if f := describe(err); f.Code != "unreachable" {
		return err
	}
	return &stepError{"server_unreachable", "run ca rotate watch again", fmt.Errorf("the server went away; the rotation is in its journal and goes on: %w", err)}
}

// end is the verdict of a rotation that is over.
func (w *watch) end(last *kedgev1.RotationStatus) error {
	p := last.GetPlan()
	switch {
	case p == nil, p.GetPhase() == phaseDone:
		return nil
	case p.GetPhase() == phaseAborted:
		return &exitError{code: exitAttention}
	}
	return &stepError{"server_unreachable", "run ca rotate watch again", errors.New("the server ended the view; the rotation is in its journal and goes on")}
}

// show prints one status in the way that fits where it goes.
func (w *watch) show(s *kedgev1.RotationStatus) error {
	v := judge(s, 0)
	switch {
	case w.app.output != "table":
		return w.app.print("RotationStatus", rotationInfoOf(s, v), nil)
	case w.app.terminal:
		return w.redraw(s, v)
	}
	return w.lines(s)
}

// redraw writes the whole view over the last one, in one write, so that it does not
// flicker: the cursor goes home, each line clears what was behind it, and what is
// below is cleared at the end.
func (w *watch) redraw(s *kedgev1.RotationStatus, v verdict) error {
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	now := timeAt(s.GetNow())
	if p := s.GetPlan(); p == nil || isOver(p) {
		w.app.tableOfRotation(t, s, v)
	} else {
		tableOfPlan(t, s.GetTrustDomain(), p, now)
		tableOfSteps(t, s.GetSteps(), p.GetPhase(), now)
		w.app.tableOfZones(t, s, barWidth)
		tableOfBlockers(t, s.GetBlockers(), now)
		fmt.Fprintf(t, "\n%s; time to go: %s. Ctrl-C ends this view, not the rotation.\n", v.word(), firstOf(left(timeAt(s.GetEarliestEnd()), now), "-"))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("drawing: %w", err)
	}
	view := "\x1b[H" + strings.ReplaceAll(text.String(), "\n", "\x1b[K\n") + "\x1b[J"
	if w.phase == "" {
		view = "\x1b[2J" + view
	}
	w.phase = firstOf(s.GetPlan().GetPhase(), "none")
	_, err := io.WriteString(w.app.stdout, view)
	return err
}

// lines writes what has changed since the last status, one line each.
func (w *watch) lines(s *kedgev1.RotationStatus) error {
	now, p := timeAt(s.GetNow()), s.GetPlan()
	var lines []string
	if p == nil {
		lines = append(lines, "there was no rotation yet")
	}
	if phase := p.GetPhase(); p != nil && phase != w.phase {
		lines = append(lines, fmt.Sprintf("rotation %s: %s (bundle %d, command %d)", p.GetId(), phase, p.GetSequence(), p.GetEpoch()))
		w.phase, w.blockers = phase, nil
	}
	fresh := make(map[string]time.Time)
	for _, b := range s.GetBlockers() {
		key := b.GetCode() + " " + b.GetZone() + "/" + b.GetReplica()
		fresh[key] = timeAt(b.GetUntil())
		if _, known := w.blockers[key]; !known {
			lines = append(lines, "waits for "+b.GetCode()+": "+blockerLine(b)+until(b, now))
		}
	}
	var gone []string
	for key := range w.blockers {
		if _, still := fresh[key]; !still {
			gone = append(gone, "no longer waits for "+strings.TrimSuffix(strings.TrimSuffix(key, "/"), " "))
		}
	}
	slices.Sort(gone)
	lines = append(lines, gone...)
	w.blockers = fresh
	if len(lines) == 0 && now.Sub(w.printed) >= progressEvery {
		lines = append(lines, progressLine(s))
	}
	for _, line := range lines {
		w.printed = now
		if _, err := fmt.Fprintf(w.app.stdout, "%s  %s\n", now.Format(time.RFC3339), printable(line)); err != nil {
			return err
		}
	}
	return nil
}

func until(b *kedgev1.RotationBlocker, now time.Time) string {
	if b.GetUntil() == nil {
		return ""
	}
	return ", passes by itself in " + left(timeAt(b.GetUntil()), now)
}

// progressLine is each zone's share of the phase.
func progressLine(s *kedgev1.RotationStatus) string {
	var zones []string
	for _, z := range s.GetZones() {
		zones = append(zones, fmt.Sprintf("%s %.0f%%", z.GetName(), progressOf(z, s.GetPlan())*100))
	}
	line := s.GetPlan().GetPhase() + ": " + strings.Join(zones, ", ")
	if end := timeAt(s.GetEarliestEnd()); !end.IsZero() {
		line += "; time to go " + left(end, timeAt(s.GetNow()))
	}
	return line
}
