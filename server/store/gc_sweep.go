package store

import "slices"

// This file is the order in which a collector decides on manifests: an index before what it names, and a subject before what
// refers to it. Where somebody tags the first at that moment it stays, and so must the others; they are held then.
//
// An index can name a manifest of which it, or another that it names, is the referrer's subject. In such a ring it is the subject
// that does not count, since the rest can be had without it; but only there, and not of what comes behind the ring.

// sweeper is a sweep under way.
type sweeper struct {
	g         *graph
	referrers map[int32][]int32
	// parents counts the indexes of each manifest that are not decided yet.
	parents []int32
	// waits is set for what has a subject that is not decided yet.
	waits, held, decided []bool
	// ready can be decided, and waiting has no parent left but waits for its subject.
	ready, waiting []int32
	// namedBy are the parents by what they name. It is made when the first ring is found.
	namedBy map[int32][]int32
}

// sweep calls decide for every manifest, which says whether it is gone now.
func (g *graph) sweep(decide func(n *node, held bool) (gone bool, err error)) error {
	size := len(g.nodes)
	s := &sweeper{g: g, referrers: g.referrers(), parents: make([]int32, size),
		waits: make([]bool, size), held: make([]bool, size), decided: make([]bool, size)}
	for i := range g.nodes {
		g.children(int32(i), func(child int32) { s.parents[child]++ }) //nolint:gosec // there are not so many
	}
	for _, list := range s.referrers {
		for _, i := range list {
			s.waits[i] = true
		}
	}
	for i := range g.nodes {
		s.enqueue(int32(i)) //nolint:gosec // as above
	}
	for {
		i, more := s.next()
		if !more {
			return nil
		}
		s.decided[i] = true
		gone, err := decide(&g.nodes[i], s.held[i])
		if err != nil {
			return err
		}
		g.nodes[i].gone = gone
		s.release(i, gone)
	}
}

func (s *sweeper) enqueue(i int32) {
	switch {
	case s.parents[i] > 0 || s.decided[i]:
	case s.waits[i]:
		s.waiting = append(s.waiting, i)
	default:
		s.ready = append(s.ready, i)
	}
}

// release lets go of what waited for a manifest that is decided, and holds it where that one stays.
func (s *sweeper) release(i int32, gone bool) {
	s.g.children(i, func(child int32) {
		s.parents[child]--
		s.held[child] = s.held[child] || !gone
		s.enqueue(child)
	})
	for _, referrer := range s.referrers[i] {
		s.waits[referrer] = false
		s.held[referrer] = s.held[referrer] || !gone
		s.enqueue(referrer)
	}
}

// next returns the manifest to be decided next.
func (s *sweeper) next() (i int32, more bool) {
	for _, list := range []*[]int32{&s.ready, &s.waiting} {
		for len(*list) > 0 {
			i := (*list)[len(*list)-1]
			if s.decided[i] {
				*list = (*list)[:len(*list)-1]
				continue
			}
			if list == &s.waiting {
				return s.ofRing(i), true // everything that is left is in a ring or behind one
			}
			*list = (*list)[:len(*list)-1]
			return i, true
		}
	}
	return 0, false
}

// ofRing follows what i waits for, until it comes to a ring, and returns one of that which waits for nothing but its subject.
func (s *sweeper) ofRing(i int32) int32 {
	if s.namedBy == nil {
		s.namedBy = map[int32][]int32{}
		for parent := range s.g.nodes {
			s.g.children(int32(parent), func(child int32) { //nolint:gosec // as above
				s.namedBy[child] = append(s.namedBy[child], int32(parent)) //nolint:gosec // as above
			})
		}
	}
	var path []int32
	places := map[int32]int{}
	for at := i; ; at = s.waitsFor(at) {
		if begin, seen := places[at]; seen {
			path = path[begin:]
			break
		}
		places[at] = len(path)
		path = append(path, at)
	}
	if found := slices.IndexFunc(path, func(at int32) bool { return s.parents[at] == 0 }); found >= 0 {
		return path[found]
	}
	return i
}

// waitsFor returns something undecided that must be decided before i.
func (s *sweeper) waitsFor(i int32) int32 {
	if s.parents[i] > 0 {
		for _, parent := range s.namedBy[i] {
			if !s.decided[parent] {
				return parent
			}
		}
	}
	return s.g.index[s.g.nodes[i].subject]
}
