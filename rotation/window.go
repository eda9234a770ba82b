package rotation

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Window is when automatic plans may act: on some days, between two times of day, in
// UTC. The zero value is always. One whose end is not after its begin ends on the
// next day.
type Window struct {
	days       []time.Weekday // in order; none is every day
	begin, end time.Duration  // since midnight
}

const windowForm = "15:04"

var weekdays = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}

// ParseWindow reads "08:00-16:00", "Mon,Tue 22:00-04:00", "mon-fri 09:00-16:00"; "" is
// always.
func ParseWindow(text string) (Window, error) {
	if text == "" {
		return Window{}, nil
	}
	var w Window
	hours := text
	if days, rest, found := strings.Cut(text, " "); found {
		hours = rest
		for name := range strings.SplitSeq(days, ",") {
			named, err := parseDays(name)
			if err != nil {
				return Window{}, fmt.Errorf("window %q: %w", text, err)
			}
			for _, day := range named {
				if !slices.Contains(w.days, day) {
					w.days = append(w.days, day)
				}
			}
		}
		slices.Sort(w.days)
	}
	begin, end, found := strings.Cut(hours, "-")
	from, errFrom := time.Parse(windowForm, begin)
	to, errTo := time.Parse(windowForm, end)
	if !found || errFrom != nil || errTo != nil || from.Equal(to) {
		return Window{}, fmt.Errorf("window %q needs two different times of day, as in Mon,Tue 08:00-16:00", text)
	}
	w.begin, w.end = sinceMidnight(from), sinceMidnight(to)
	return w, nil
}

// parseDays reads Mon, or Mon-Fri, in any case.
func parseDays(text string) ([]time.Weekday, error) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	from := slices.IndexFunc(weekdays, func(d string) bool { return strings.EqualFold(d, first) })
	to := slices.IndexFunc(weekdays, func(d string) bool { return strings.EqualFold(d, last) })
	if from < 0 || to < 0 {
		return nil, fmt.Errorf("day %q is none of %s", text, strings.Join(weekdays, ", "))
	}
	var days []time.Weekday
	for day := from; ; day = (day + 1) % len(weekdays) {
		if days = append(days, time.Weekday(day)); day == to {
			return days, nil
		}
	}
}

func sinceMidnight(t time.Time) time.Duration {
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
}

// IsZero tells whether the window is always open.
func (w Window) IsZero() bool { return w.begin == w.end }

// String is the window as ParseWindow reads it, each day by name.
func (w Window) String() string {
	if w.IsZero() {
		return ""
	}
	names := make([]string, len(w.days))
	for i, d := range w.days {
		names[i] = weekdays[d]
	}
	hours := time.Time{}.Add(w.begin).Format(windowForm) + "-" + time.Time{}.Add(w.end).Format(windowForm)
	if len(names) == 0 {
		return hours
	}
	return strings.Join(names, ",") + " " + hours
}

// MarshalText is String.
func (w Window) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText is ParseWindow.
func (w *Window) UnmarshalText(text []byte) error {
	parsed, err := ParseWindow(string(text))
	*w = parsed
	return err
}

// Opens is when the window is open next: t itself while it is.
func (w Window) Opens(t time.Time) time.Time {
	if w.IsZero() {
		return t
	}
	// A window that began yesterday may still be open; within a week each begins.
	for day := -1; day <= 7; day++ {
		midnight := t.UTC().Truncate(24*time.Hour).AddDate(0, 0, day)
		if len(w.days) > 0 && !slices.Contains(w.days, midnight.Weekday()) {
			continue
		}
		begin, end := midnight.Add(w.begin), midnight.Add(w.end)
		if w.end <= w.begin {
			end = end.AddDate(0, 0, 1)
		}
		if t.Before(end) {
			return later(begin, t)
		}
	}
	return t
}
