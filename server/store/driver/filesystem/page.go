package filesystem

import (
	"container/heap"
	"slices"
)

// page keeps the first names, in byte order, of all that are added to it.
type page struct {
	limit int
	heap  nameHeap
}

// nameHeap has the greatest name on top: the one to drop when a smaller one comes.
type nameHeap []string

func (h nameHeap) Len() int           { return len(h) }
func (h nameHeap) Less(i, j int) bool { return h[i] > h[j] }
func (h nameHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *nameHeap) Push(x any)        { *h = append(*h, x.(string)) }
func (h *nameHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

func newPage(limit int) *page { return &page{limit: limit} }

func (p *page) add(name string) {
	switch {
	case p.limit <= 0:
	case len(p.heap) < p.limit:
		heap.Push(&p.heap, name)
	case name < p.heap[0]:
		p.heap[0] = name
		heap.Fix(&p.heap, 0)
	}
}

func (p *page) names() []string { return slices.Sorted(slices.Values(p.heap)) }
