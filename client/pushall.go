package client

import (
	"context"
	"sync"

	"packregistry.dev/pack"
)

// Outcome is what came of one of several pushes.
type Outcome struct {
	Directory string `json:"directory"`
	*Pushed
	// Error is why it failed, and Message what it says.
	Error   error  `json:"-"`
	Message string `json:"error,omitempty"`
}

// Batch says how to push several packs.
type Batch struct {
	Push
	// Progress returns a function that is called with how much of a pack is sent, and one that is called when it is done; nil for
	// nobody.
	Progress func(name string) (sent func(sent, total int64), done func())
	// Done is called with each outcome as it comes, one at a time; nil for nobody.
	Done func(Outcome)
}

// parallelPushes is how many packs are pushed at once.
const parallelPushes = 4

// PushAll pushes the packs of several folders, some at once. One that fails does not keep the others from being pushed.
func (c *Client) PushAll(ctx context.Context, dirs []string, packs []*pack.Directory, b Batch) []Outcome {
	outcomes := make([]Outcome, len(packs))
	places := make(chan struct{}, parallelPushes)
	var all sync.WaitGroup
	var reporting sync.Mutex
	for i, d := range packs {
		all.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			p := b.Push
			if b.Progress != nil && !p.DryRun {
				sent, done := b.Progress(d.Name + ":" + d.Tag())
				p.Progress = sent
				defer done()
			}
			o := Outcome{Directory: dirs[i]}
			o.Pushed, o.Error = c.Push(ctx, d, p)
			if o.Error != nil {
				o.Message = o.Error.Error()
			}
			outcomes[i] = o
			if b.Done != nil {
				reporting.Lock()
				defer reporting.Unlock()
				b.Done(o)
			}
		})
	}
	all.Wait()
	return outcomes
}

// SameVersion returns an error where two folders hold the same version: which of them is meant cannot be known.
func SameVersion(dirs []string, packs []*pack.Directory) error {
	known := map[string]string{}
	for i, d := range packs {
		version := d.Name + ":" + d.Tag()
		if other, ok := known[version]; ok {
			return refused("%s and %s are both %s", other, dirs[i], version)
		}
		known[version] = dirs[i]
	}
	return nil
}
