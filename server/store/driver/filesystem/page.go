package filesystem

import (
	"container/heap"
	"slices"
)

// page keeps the first names, in byte order, of all that are added to it.
type page struct {
	limit int
	heap  entryHeap
}

type entry struct {
	name string
	dir  bool
}

// entryHeap has the greatest name on top: the one to drop when a smaller one comes.
type entryHeap []entry

func (h entryHeap) Len() int           { return len(h) }
func (h entryHeap) Less(i, j int) bool { return h[i].name > h[j].name }
func (h entryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *entryHeap) Push(x any)        { *h = append(*h, x.(entry)) }
func (h *entryHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

func newPage(limit int) *page { return &page{limit: limit} }

func (p *page) add(name string, dir bool) {
	switch {
	case p.limit <= 0:
	case len(p.heap) < p.limit:
		heap.Push(&p.heap, entry{name, dir})
	case name < p.heap[0].name:
		p.heap[0] = entry{name, dir}
		heap.Fix(&p.heap, 0)
	}
}

func (p *page) names() []string {
	names := make([]string, 0, len(p.heap))
	slices.SortFunc(p.heap, func(a, b entry) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	for _, e := range p.heap {
		name := e.name
		if e.dir {
			name += "/"
		}
		names = append(names, name)
	}
	return names
}
