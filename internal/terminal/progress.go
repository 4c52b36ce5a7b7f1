package terminal

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// plainInterval is how often a transfer says how far it is where nobody is looking, as in the log of a pipeline.
const plainInterval = 10 * time.Second

// Progress shows how far transfers have come: a bar for each on a terminal, and else a line now and then of those that take long.
type Progress struct {
	out  io.Writer
	draw bool
	// now is the clock of plain lines.
	now func() time.Time

	mu   sync.Mutex
	bars *mpb.Progress
}

// NewProgress shows progress on w; a nil Progress shows nothing.
func NewProgress(w io.Writer) *Progress {
	return &Progress{out: w, draw: canDraw(w), now: time.Now}
}

// Draws says whether there are bars, which what is printed beside them would tear.
func (p *Progress) Draws() bool { return p != nil && p.draw }

// Start begins a transfer. What it returns takes how far it is, and its end.
func (p *Progress) Start(name string) (sent func(sent, total int64), done func()) {
	if p == nil {
		return func(int64, int64) {}, func() {}
	}
	if name = Line(name); !p.draw {
		return p.lines(name), func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bars == nil {
		p.bars = mpb.New(mpb.WithOutput(p.out), mpb.WithWidth(60))
	}
	bar := p.bars.New(0, mpb.BarStyle(), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f", decor.WCSyncSpace), decor.AverageSpeed(decor.SizeB1024(0), " % .1f", decor.WCSyncSpace),
			decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace)))
	return func(sent, total int64) {
		bar.SetTotal(total, false)
		bar.SetCurrent(sent)
	}, func() { bar.Abort(true) }
}

// lines writes a line whenever the interval has passed.
func (p *Progress) lines(name string) func(sent, total int64) {
	last := p.now()
	var mu sync.Mutex
	return func(sent, total int64) {
		mu.Lock()
		defer mu.Unlock()
		if now := p.now(); now.Sub(last) >= plainInterval && total > 0 && sent < total {
			last = now
			p.Println(fmt.Sprintf("%s: %s of %s (%d%%)", name, Bytes(sent), Bytes(total), sent*100/total))
		}
	}
}

// Println writes a line above the bars.
func (p *Progress) Println(line string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bars != nil {
		if _, err := fmt.Fprintln(p.bars, Line(line)); err == nil {
			return
		}
	}
	fmt.Fprintln(p.out, Line(line))
}

// End waits until the last bar is taken away.
func (p *Progress) End() {
	if p == nil {
		return
	}
	p.mu.Lock()
	bars := p.bars
	p.bars = nil
	p.mu.Unlock()
	if bars != nil {
		bars.Wait()
	}
}

// Bytes says how large something is, as people read it.
func Bytes(n int64) string {
	const kib, mib, gib = 1 << 10, 1 << 20, 1 << 30
	switch {
	case n < kib:
		return fmt.Sprintf("%d B", n)
	case n < mib:
		return fmt.Sprintf("%.1f KiB", float64(n)/kib)
	case n < gib:
		return fmt.Sprintf("%.1f MiB", float64(n)/mib)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/gib)
}

// Ago says how long ago something was, as people say it.
func Ago(then, now time.Time) string {
	d := now.Sub(then)
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{365 * 24 * time.Hour, "year"}, {30 * 24 * time.Hour, "month"}, {24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		switch n := int(d / unit.length); {
		case n == 1:
			return "1 " + unit.name + " ago"
		case n > 1:
			return fmt.Sprintf("%d %ss ago", n, unit.name)
		}
	}
	return "just now"
}
