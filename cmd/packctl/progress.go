package main

import (
	"io"
	"os"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// bars draws how far uploads have come, where a person is looking and the terminal can draw.
type bars struct{ all *mpb.Progress }

func newBars(w io.Writer) *bars {
	if !isTerminal(w) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return &bars{mpb.New(mpb.WithOutput(w), mpb.WithWidth(60))}
}

// start begins a bar; what it returns moves it, and takes it away.
func (b *bars) start(name string) (sent func(sent, total int64), done func()) {
	bar := b.all.New(0, mpb.BarStyle(), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f", decor.WCSyncSpace), decor.AverageSpeed(decor.SizeB1024(0), " % .1f", decor.WCSyncSpace),
			decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace)))
	return func(sent, total int64) {
		bar.SetTotal(total, false)
		bar.SetCurrent(sent)
	}, func() { bar.Abort(true) }
}

// end waits until the last bar is taken away.
func (b *bars) end() {
	if b != nil {
		b.all.Wait()
	}
}
