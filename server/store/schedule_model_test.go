package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"packregistry.dev/server/store/internal/schedule"
)

// This file is what the schedule tests hold the store to: a registry that does one request after the other, in memory,
// in a few lines. What clients were answered and what is left in the store must be what this registry would have answered
// and have left, for some order of the requests in which none comes before one that had ended when it began
// (linearizability). Of a request whose answer nobody heard it may have been done, at any time after its beginning, or not.
//
// Collections are no requests of that order: whatever nothing refers to may be gone at any time, once it was there for its
// grace period and a collection ran since.

// since is when something was last promised to somebody, or lost its last reference.
type since struct {
	step int
	at   time.Time
}

// model is the simple registry. Its keys are "repository/name" and "repository:tag".
type model struct {
	manifests map[string]since
	blobs     map[string]since
	tags      map[string]string
}

func (m model) clone() model {
	return model{maps.Clone(m.manifests), maps.Clone(m.blobs), maps.Clone(m.tags)}
}

// checker decides whether a history is one of the model's.
type checker struct {
	w       *world
	actions []*schedule.Action
	// died says that a process died, or a request came late or twice: what only lists things may be wrong then, until the
	// next collection.
	died bool
	// now is when the check looks, after everything.
	now since
	// removed says that less is there than in the beginning.
	removed bool
	// reason is why the order that came furthest was refused, with so many actions left.
	reason string
	left   int
}

func (c *checker) refuse(reason string, left int) {
	if c.reason == "" || left < c.left {
		c.reason, c.left = reason, left
	}
}

// explain says whether there is an order of all actions after which the model holds what was observed.
func (c *checker) explain(m model, left []*schedule.Action, final func(model) string) bool {
	if !slices.ContainsFunc(left, heard) {
		reason := final(m)
		if reason == "" {
			return true
		}
		c.refuse(reason, len(left))
	}
	for i, a := range left {
		if slices.ContainsFunc(left, func(b *schedule.Action) bool { return heard(b) && b.Ended < a.Began }) {
			continue // b had ended when a began
		}
		rest := slices.Delete(slices.Clone(left), i, i+1)
		next, reason := c.apply(m.clone(), a)
		if reason != "" && heard(a) {
			c.refuse(reason, len(left))
		}
		if reason == "" && c.explain(next, rest, final) {
			return true
		}
		// A process that dies between setting a tag and looking at its manifest, which goes meanwhile, leaves the tag dead.
		if q := a.Subject.(request); reason != "" && !heard(a) && (q.verb == tagManifest || q.verb == tagOnce) {
			if next := m.clone(); c.explain(c.untag(next, q), rest, final) {
				return true
			}
		}
		// A request that is to be made once more may have been done, and may not.
		if reason == "" && errors.Is(a.Err, ErrTryAgain) && c.explain(m.clone(), rest, final) {
			return true
		}
	}
	return false
}

func (c *checker) untag(m model, q request) model {
	delete(m.tags, q.repository+":"+q.tag)
	return m
}

// heard says that the client was answered.
func heard(a *schedule.Action) bool { return a.Ended >= 0 }

// live are the manifests that are reached from tags.
func (c *checker) live(m model) map[string]bool {
	alive := map[string]bool{}
	var reach func(name string)
	reach = func(key string) {
		if _, there := m.manifests[key]; !there || alive[key] {
			return
		}
		alive[key] = true
		for name, a := range c.w.artifacts {
			if a.repository+"/"+name != key {
				if a.subject != "" && a.repository+"/"+a.subject == key {
					reach(a.repository + "/" + name)
				}
				continue
			}
			for _, child := range a.children {
				reach(a.repository + "/" + child)
			}
		}
	}
	for tag, name := range m.tags {
		repository, _, _ := cutLast(tag, ':')
		reach(repository + "/" + name)
	}
	return alive
}

func cutLast(s string, c byte) (before, after string, ok bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == c {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// collected says whether a collection can have removed something by now that was last promised then.
func (c *checker) collected(last, now since) bool {
	if now.at.Sub(last.at) < c.w.grace {
		return false
	}
	return slices.ContainsFunc(c.actions, func(a *schedule.Action) bool {
		return a.Subject.(request).verb == collectGarbage && (a.Ended < 0 || a.Ended >= last.step) && a.Began <= now.step
	})
}

// collecting says that a collection was under way during a request, or died.
func (c *checker) collecting(a *schedule.Action) bool {
	return slices.ContainsFunc(c.actions, func(b *schedule.Action) bool {
		return b.Subject.(request).verb == collectGarbage && b.Began < a.Ended && (!heard(b) || b.Ended > a.Began)
	})
}

// manifestMayBeGone says whether a manifest is absent, or can be.
func (c *checker) manifestMayBeGone(m model, key string, now since) bool {
	last, there := m.manifests[key]
	return !there || !c.live(m)[key] && c.collected(last, now)
}

// blobMayBeGone is the same of a blob: every manifest that names it may be gone.
func (c *checker) blobMayBeGone(m model, repository, content string, now since) bool {
	last, there := m.blobs[repository+"/"+content]
	if !there {
		return true
	}
	for name, a := range c.w.artifacts {
		key := a.repository + "/" + name
		if _, there := m.manifests[key]; there && a.repository == repository && slices.Contains(a.layers, content) && !c.manifestMayBeGone(m, key, now) {
			return false
		}
	}
	return c.collected(last, now)
}

// released notes that a manifest, and all that it reaches, may have lost its last reference now.
func (c *checker) released(m model, repository, name string, now since) {
	key := repository + "/" + name
	a := c.w.artifacts[name]
	if _, there := m.manifests[key]; there {
		m.manifests[key] = now
	}
	for _, layer := range a.layers {
		if _, there := m.blobs[repository+"/"+layer]; there {
			m.blobs[repository+"/"+layer] = now
		}
	}
	for _, child := range a.children {
		c.released(m, repository, child, now)
	}
	for other, b := range c.w.artifacts {
		if b.repository == repository && b.subject == name {
			c.released(m, repository, other, now)
		}
	}
}

// apply does a request on the model, which it changes, or says why it cannot have been answered as it was.
func (c *checker) apply(m model, a *schedule.Action) (after model, reason string) {
	q := a.Subject.(request)
	begun := since{a.Began, a.BeganAt}
	now := since{a.Ended, a.EndedAt}
	ok := a.Err == nil || errors.Is(a.Err, ErrTryAgain)
	if !heard(a) {
		now, begun = c.now, since{} // nobody was promised anything
	}
	wrong := func(why string) (model, string) {
		return m, fmt.Sprintf("%q was answered %q, but %s", q, answer(a), why)
	}
	if errors.Is(a.Err, ErrOutOfOrder) {
		return m, ""
	}
	if errors.Is(a.Err, ErrTryAgain) && q.verb != tagManifest && q.verb != tagOnce && !c.collecting(a) {
		return wrong("no collection was under way")
	}
	blob, manifest, tag := q.repository+"/"+q.what, q.repository+"/"+q.what, q.repository+":"+q.tag
	switch q.verb {
	case pushBlob:
		if !ok {
			return wrong("it needs nothing")
		}
		m.blobs[blob] = begun
	case commitUpload:
		if ok {
			m.blobs[q.repository+"/"+q.content] = begun
		}
	case headBlob, getBlob:
		_, there := m.blobs[blob]
		switch {
		case ok && !there:
			return wrong("it is not there")
		case !ok && !c.blobMayBeGone(m, q.repository, q.what, now):
			return wrong("it is there")
		case ok && q.verb == headBlob:
			m.blobs[blob] = begun
		case !ok:
			delete(m.blobs, blob)
		}
	case mountBlob:
		if _, there := m.blobs[q.from+"/"+q.what]; ok && !there {
			return wrong("it is not there")
		} else if !ok && !c.blobMayBeGone(m, q.from, q.what, now) {
			return wrong("it is there")
		} else if ok {
			m.blobs[blob], m.blobs[q.from+"/"+q.what] = begun, begun
		}
	case deleteBlob:
		if !ok && !c.blobMayBeGone(m, q.repository, q.what, now) {
			return wrong("it is there")
		}
		delete(m.blobs, blob)
	case putManifest:
		return c.push(m, q, ok, begun, now, wrong)
	case tagManifest, tagOnce:
		return c.tag(m, q, a.Err, ok, begun, now, wrong)
	case deleteTag:
		name, there := m.tags[tag]
		if !ok && there {
			return wrong("it names " + name)
		}
		if delete(m.tags, tag); there {
			c.released(m, q.repository, name, begun)
		}
	case deleteManifest:
		if !ok && !c.manifestMayBeGone(m, manifest, now) {
			return wrong("it is there")
		}
		maps.DeleteFunc(m.tags, func(tag, name string) bool { return name == q.what && tag[:len(q.repository)+1] == q.repository+":" })
		c.released(m, q.repository, q.what, begun)
		delete(m.manifests, manifest)
	case getTag:
		if name, there := m.tags[tag]; ok != there {
			return wrong(fmt.Sprintf("it names %q", name))
		}
	}
	return m, ""
}

func answer(a *schedule.Action) string {
	if a.Ended < 0 {
		return "(nothing)"
	}
	if a.Err == nil {
		return "ok"
	}
	return a.Err.Error()
}

// push is the part of apply for manifests.
func (c *checker) push(m model, q request, ok bool, begun, now since, wrong func(string) (model, string)) (model, string) {
	a, gone := c.w.artifacts[q.what], ""
	maybe := false
	for _, layer := range a.layers {
		if _, there := m.blobs[q.repository+"/"+layer]; !there {
			gone = "blob " + layer
		}
		maybe = maybe || c.blobMayBeGone(m, q.repository, layer, now)
	}
	for _, child := range a.children {
		if _, there := m.manifests[q.repository+"/"+child]; !there {
			gone = "manifest " + child
		}
		maybe = maybe || c.manifestMayBeGone(m, q.repository+"/"+child, now)
	}
	switch {
	case ok && gone != "":
		return wrong(gone + " was not there")
	case !ok && !maybe:
		return wrong("all that it names is there")
	case ok:
		m.manifests[q.repository+"/"+q.what] = begun
		c.released(m, q.repository, q.what, begun)
	}
	return m, ""
}

// tag is the part of apply for tags.
func (c *checker) tag(m model, q request, err error, ok bool, begun, now since, wrong func(string) (model, string)) (model, string) {
	manifest, tag := q.repository+"/"+q.what, q.repository+":"+q.tag
	before, tagged := m.tags[tag]
	_, there := m.manifests[manifest]
	switch {
	case errors.Is(err, ErrTagExists):
		if !tagged || before == q.what {
			return wrong("the tag is free")
		}
	case !ok:
		if !c.manifestMayBeGone(m, manifest, now) {
			return wrong("the manifest is there")
		}
		delete(m.manifests, manifest)
	case !there:
		return wrong("the manifest is not there")
	case q.verb == tagOnce && tagged && before != q.what:
		return wrong("the tag names " + before)
	default:
		if m.tags[tag] = q.what; tagged {
			c.released(m, q.repository, before, begun)
		}
		m.manifests[manifest] = begun
	}
	return m, ""
}
