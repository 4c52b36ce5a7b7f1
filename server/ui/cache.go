package ui

import (
	"runtime"

	lru "github.com/hashicorp/golang-lru/v2"
)

// cacheEntries is how many rendered READMEs and the like are kept. Each belongs to a digest, so that none is ever out of date.
const cacheEntries = 32

// work is what costs the processor: what was made of it is kept, and only so much is done at once, so that who asks for hostile
// READMEs in a row takes no more than that.
type work struct {
	results *lru.Cache[string, any]
	places  chan struct{}
}

func newWork() work {
	results, err := lru.New[string, any](cacheEntries)
	if err != nil {
		panic(err) // a negative number of entries
	}
	return work{results, make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

// cached returns what was made under a key, or makes it.
func (h *Handler) cached(key string, do func() any) any {
	if made, ok := h.work.results.Get(key); ok {
		return made
	}
	h.work.places <- struct{}{}
	defer func() { <-h.work.places }()
	if made, ok := h.work.results.Get(key); ok { // another request made it meanwhile
		return made
	}
	made := do()
	h.work.results.Add(key, made)
	return made
}
