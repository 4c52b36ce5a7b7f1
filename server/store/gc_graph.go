package store

import (
	"hash/maphash"

	"github.com/opencontainers/go-digest"
)

// This file is what a collector remembers of a repository's manifests: who names whom, and no content. Digests are known by
// hashes of 64 bits with a seed of the collection's own. Two that have one hash are both kept; nothing goes for it.

// node is a manifest.
type node struct {
	digest digest.Digest
	// version is the hash of the record's version, and generation that of the manifest's.
	version, generation uint64
	// marked is when the manifest was marked for deletion, in nanoseconds; 0 where it is not.
	marked int64
	// subject is the hash of its subject's digest; 0 where it has none.
	subject uint64
	// edges are from, up to but without to, in the graph's edges.
	from, to int
	// alive is set for what is tagged, for what that names, and for what has one of those as its subject.
	alive bool
	// gone is set once the manifest was removed.
	gone bool
	// listed is set where the list of its subject has it.
	listed bool
}

type graph struct {
	seed  maphash.Seed
	nodes []node
	// index finds a manifest by the hash of its digest.
	index map[uint64]int32
	// edges are the hashes of everything that manifests name, blobs and manifests.
	edges []uint64
}

func newGraph(seed maphash.Seed) *graph { return &graph{seed: seed, index: map[uint64]int32{}} }

func (g *graph) hash(s string) uint64 { return max(maphash.String(g.seed, s), 1) }

// references are the hashes of what a manifest names.
func (g *graph) references(m *Manifest) []uint64 {
	var refs []uint64
	for _, ref := range m.references() {
		// Whatever it is named as: what is there under that digest stays.
		refs = append(refs, g.hash(string(ref.Digest)))
	}
	for _, file := range m.Files {
		refs = append(refs, g.hash(string(file.Digest)))
	}
	return refs
}

// add adds a manifest that names what references returned.
func (g *graph) add(m *Manifest, refs []uint64) {
	n := node{digest: m.Digest, version: g.hash(string(m.version)), generation: g.hash(m.header.Generation), from: len(g.edges), to: len(g.edges) + len(refs)}
	if m.header.Marked != nil {
		n.marked = m.header.Marked.UnixNano()
	}
	if m.header.Subject != "" {
		n.subject = g.hash(m.header.Subject)
	}
	g.edges = append(g.edges, refs...)
	g.index[g.hash(string(m.Digest))] = int32(len(g.nodes)) //nolint:gosec // there are not so many
	g.nodes = append(g.nodes, n)
}

// find returns the manifest of that digest, if it was there.
func (g *graph) find(d digest.Digest) (int32, bool) {
	i, ok := g.index[g.hash(string(d))]
	return i, ok && g.nodes[i].digest == d
}

// children calls f for the manifests that a manifest names.
func (g *graph) children(i int32, f func(child int32)) {
	for _, ref := range g.edges[g.nodes[i].from:g.nodes[i].to] {
		if child, ok := g.index[ref]; ok && child != i {
			f(child)
		}
	}
}

// referrers are the manifests whose subject is there, by that.
func (g *graph) referrers() map[int32][]int32 {
	found := map[int32][]int32{}
	for i := range g.nodes {
		if subject, ok := g.index[g.nodes[i].subject]; ok && subject != int32(i) { //nolint:gosec // as above
			found[subject] = append(found[subject], int32(i)) //nolint:gosec // as above
		}
	}
	return found
}

// reach finds what is alive: the tagged manifests, those that they name, and those whose subject is among them.
func (g *graph) reach(tagged []int32) {
	referrers := g.referrers()
	for todo := tagged; len(todo) > 0; {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if g.nodes[i].alive {
			continue
		}
		g.nodes[i].alive = true
		g.children(i, func(child int32) { todo = append(todo, child) })
		todo = append(todo, referrers[i]...)
	}
}
