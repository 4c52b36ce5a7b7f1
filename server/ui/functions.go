package ui

import (
	"fmt"
	"html/template"
	"strings"
	"time"
)

// functions are what the templates can call.
func (h *Handler) functions() template.FuncMap {
	return template.FuncMap{
		"asset":     func(name string) string { return h.Base + "assets/" + name + "?v=" + h.assets[name].hash },
		"ago":       func(t time.Time) string { return ago(h.Now(), t) },
		"iso":       func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"day":       func(t time.Time) string { return t.UTC().Format("2 Jan 2006") },
		"minute":    func(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04") },
		"size":      size,
		"bytes":     func(n uint64) string { return size(int64(n)) }, //nolint:gosec // a volume has no exabytes
		"count":     count,
		"thousands": thousands,
		"letters":   letters,
		"label":     label,
		"short":     func(d fmt.Stringer) string { return short(d.String()) },
		"command":   newCommand,
		"dict":      newNamed,
		"indent":    func(n int) int { return min(n/2*2, 8) },
	}
}

// ago says in words how long ago something was.
func ago(now, t time.Time) string {
	d := now.Sub(t)
	days := int(d.Hours() / 24)
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return count(int(d.Minutes()), "minute") + " ago"
	case days == 0:
		return count(int(d.Hours()), "hour") + " ago"
	case days == 1:
		return "yesterday"
	case days < 14:
		return count(days, "day") + " ago"
	case days < 70:
		return count(days/7, "week") + " ago"
	case days < 730:
		return count(days/30, "month") + " ago"
	}
	return count(days/365, "year") + " ago"
}

// size is a number of bytes for people.
func size(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), 0
	for ; value >= 1023.95 && unit < 4; unit++ {
		value /= 1 << 10
	}
	return fmt.Sprintf("%.1f %s", value, [...]string{"B", "KiB", "MiB", "GiB", "TiB"}[unit])
}

// count is a number with its noun, in the plural where that is due.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return thousands(n) + " " + noun
}

// thousands is a number with commas.
func thousands(n int) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// letters stand in for a logo.
func letters(name string) string {
	var first []rune
	words := strings.Fields(name)
	for _, word := range words {
		for _, r := range word {
			first = append(first, r)
			if len(words) > 1 && len(first) < 2 {
				break
			}
			if len(first) == 2 {
				return string(first)
			}
		}
	}
	return string(first)
}

// command is a command to copy, with its name.
type command struct{ Name, Text string }

func newCommand(name, text string) command { return command{name, text} }

// named is a heading's id and text, for parts that several pages have.
type named struct {
	ID, Text string
	Data     any
}

func newNamed(id, text string, data any) named { return named{id, text, data} }
