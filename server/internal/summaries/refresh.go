package summaries

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"packregistry.dev/pack"
)

// Getting to know all packs takes a list of each one's tags, and some reads of those that changed. So it is done when somebody
// searches, and no more often than this: names every so often, packs that are known after so long for each of them. With 10,000 packs
// that is once an hour. What this process changes itself is known at once.
const (
	namesAge  = 15 * time.Second
	passAge   = time.Minute
	perPack   = 360 * time.Millisecond
	namesPage = 1000
	// maxTouched is how many packs that changed are looked at by a search before it answers.
	maxTouched = 100
	// maxFailures is how many packs a refresh leaves out because they cannot be read.
	maxFailures = 100
)

// refreshState is guarded by Index.mu.
type refreshState struct {
	// names are all packs' that there were at the last look, sorted.
	names []string
	// listed is when the names were listed, and passed when all packs were last looked at.
	listed, passed time.Time
	running        bool
	touched        map[string]bool
}

// Touch says that a pack was changed by this process.
func (i *Index) Touch(name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.listed.IsZero() {
		return // it will be found
	}
	if i.touched == nil {
		i.touched = map[string]bool{}
	}
	if len(i.touched) < maxPacks {
		i.touched[name] = true
	}
}

// catchUp looks at packs that this process changed, and has others looked at beside the request, where that is due.
func (i *Index) catchUp(ctx context.Context) error {
	i.mu.Lock()
	var changed []string
	for name := range i.touched {
		if len(changed) == maxTouched {
			break
		}
		changed = append(changed, name)
		delete(i.touched, name)
	}
	due := !i.running && time.Since(i.listed) > namesAge && i.until.Err() == nil
	if due {
		i.running = true
	}
	i.mu.Unlock()
	if due {
		go i.run()
	}
	return i.each(ctx, changed, func(ctx context.Context, _ int, name string) error {
		e, err := i.load(ctx, name)
		switch {
		case err != nil:
			i.Touch(name) // the next search looks again; this one finds what was known
		case e != nil:
			i.addName(name)
		}
		return ctx.Err()
	})
}

func (i *Index) addName(name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if at, there := slices.BinarySearch(i.names, name); !there {
		i.names = slices.Insert(slices.Clip(i.names), at, name)
	}
}

func (i *Index) run() {
	err := i.Refresh(i.until)
	i.mu.Lock()
	i.running = false
	if err != nil {
		i.listed = time.Now() // not at once again
	}
	i.mu.Unlock()
	if err != nil && i.until.Err() == nil {
		i.log.Warn("the packs cannot be indexed; searches find those that are known", "error", err)
	}
}

// Refresh lists the names of all packs, and looks at those that are not known, or at all of them where the last time is long ago. A pack
// that cannot be read keeps it from no other; where many cannot, it stops. It returns the first error.
func (i *Index) Refresh(ctx context.Context) error {
	began := time.Now()
	names, err := i.listNames(ctx)
	if err != nil {
		return err
	}
	i.mu.Lock()
	i.names = names
	whole := time.Since(i.passed) > max(passAge, time.Duration(len(names))*perPack)
	var due []string
	for _, name := range names {
		if whole || i.known[name] == nil {
			due = append(due, name)
		}
	}
	i.mu.Unlock()
	i.forgetOthers(names)
	// A few at a time, so that requests find room.
	var failed failures
	for batch := range slices.Chunk(due, loadsAtOnce/4) {
		err := i.each(ctx, batch, func(ctx context.Context, _ int, name string) error {
			if _, err := i.load(ctx, name); err != nil && failed.add(err) > maxFailures {
				return err
			}
			return ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.listed = began
	if whole {
		i.passed = began
	}
	return failed.first
}

// failures are of packs that are looked at at once.
type failures struct {
	mu    sync.Mutex
	first error
	n     int
}

// add returns how many there are by now.
func (f *failures) add(err error) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n++; f.first == nil {
		f.first = err
	}
	return f.n
}

// forgetOthers forgets packs that are gone.
func (i *Index) forgetOthers(names []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for name, e := range i.known {
		if _, there := slices.BinarySearch(names, name); !there {
			i.bytes -= e.size()
			delete(i.known, name)
		}
	}
}

// listNames returns the names of all packs that are remembered, sorted.
func (i *Index) listNames(ctx context.Context) ([]string, error) {
	var names []string
	for after := ""; len(names) < maxPacks; {
		page, err := i.store.Repositories(ctx, pack.ArchivePrefix, after, namesPage)
		if err != nil {
			return nil, err
		}
		for _, repository := range page {
			after = repository
			names = append(names, strings.TrimPrefix(repository, pack.ArchivePrefix))
		}
		if len(page) < namesPage {
			break
		}
	}
	slices.Sort(names)
	return names, nil
}
