// Package compare shows how one text became another: the lines that went and came, with the part of a line that changed.
package compare

import (
	"slices"

	"github.com/aymanbagabas/go-udiff/lcs"
)

// Bounds on what is compared: above them two texts only differ.
const (
	MaxSize  = 256 << 10
	maxLines = 8000
	// maxMarked is how long a line may be to have its change marked, in characters.
	maxMarked = 500
	// context is how many lines are shown around a change.
	context = 3
	// maxShown is how many lines are shown in all.
	maxShown = 2000
)

// Row is a line of a comparison, or a gap of so many unchanged ones.
type Row struct {
	// Kind is ' ', '-', '+', or '.' for a gap.
	Kind byte
	// Old and New are line numbers; 0 for none.
	Old, New int
	// Skipped is how many lines a gap has.
	Skipped int
	// Before, Changed and After are the line; all of it is in Before where nothing is marked.
	Before, Changed, After string
}

// Result is how two texts differ.
type Result struct {
	Rows           []Row
	Added, Removed int
	// TooLarge says that the texts were not compared, and Cut that not all was shown.
	TooLarge, Cut bool
}

// Lines compares the lines of two texts.
func Lines(before, after []string) Result {
	if len(before) > maxLines || len(after) > maxLines {
		return Result{TooLarge: true}
	}
	var r Result
	at, to := 0, 0 // how far both are shown
	diffs := lcs.DiffLines(before, after)
	for i, d := range diffs {
		r.unchanged(before, at, d.Start, to, i == 0, false)
		r.change(before, after, d)
		at, to = d.End, d.ReplEnd
		r.Removed += d.End - d.Start
		r.Added += d.ReplEnd - d.ReplStart
		if len(r.Rows) > maxShown {
			r.Rows, r.Cut = r.Rows[:maxShown], true
		}
	}
	if len(diffs) > 0 && !r.Cut {
		r.unchanged(before, at, len(before), to, false, true)
	}
	return r
}

// unchanged shows lines between two changes: those next to a change, and a gap for the rest.
func (r *Result) unchanged(lines []string, from, until, to int, first, last bool) {
	head, tail := context, context
	if first {
		head = 0
	}
	if last {
		tail = 0
	}
	skipped := until - from - head - tail
	for i := from; i < until; i++ {
		if skipped > 1 && i == from+head {
			r.Rows = append(r.Rows, Row{Kind: '.', Skipped: skipped})
			i = until - tail
			if i >= until {
				return
			}
		}
		r.Rows = append(r.Rows, Row{Kind: ' ', Old: i + 1, New: to + i - from + 1, Before: lines[i]})
	}
}

// change shows what went and what came. Where as many lines went as came, each is compared with the one in its place.
func (r *Result) change(before, after []string, d lcs.Diff) {
	pairs := d.End-d.Start == d.ReplEnd-d.ReplStart
	var came []Row
	for i := d.ReplStart; i < d.ReplEnd; i++ {
		came = append(came, Row{Kind: '+', New: i + 1, Before: after[i]})
	}
	for i := d.Start; i < d.End; i++ {
		went := Row{Kind: '-', Old: i + 1, Before: before[i]}
		if pairs {
			mark(&went, &came[i-d.Start])
		}
		r.Rows = append(r.Rows, went)
	}
	r.Rows = append(r.Rows, came...)
}

// mark finds the part of two lines that differs, if they share enough for that to help.
func mark(a, b *Row) {
	old, now := []rune(a.Before), []rune(b.Before)
	if len(old) > maxMarked || len(now) > maxMarked {
		return
	}
	head := 0
	for head < min(len(old), len(now)) && old[head] == now[head] {
		head++
	}
	tail := 0
	for tail < min(len(old), len(now))-head && old[len(old)-1-tail] == now[len(now)-1-tail] {
		tail++
	}
	if head+tail < min(len(old), len(now))/3 || !slices.ContainsFunc(old[:head], func(r rune) bool { return r != ' ' }) {
		return
	}
	a.Before, a.Changed, a.After = string(old[:head]), string(old[head:len(old)-tail]), string(old[len(old)-tail:])
	b.Before, b.Changed, b.After = string(now[:head]), string(now[head:len(now)-tail]), string(now[len(now)-tail:])
}
