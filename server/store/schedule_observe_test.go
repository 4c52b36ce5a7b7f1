package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/internal/schedule"
)

// This file is what the schedule tests look at when every operation has ended: what a client would find in the store, and
// what is left in it when all grace periods are over.

// observed is what a client finds.
type observed struct {
	manifests map[string]bool   // repository/name
	blobs     map[string]bool   // repository/content
	tags      map[string]string // repository:tag, with what it names
	referrers map[string]bool   // repository/name of those that are listed for their subject
	catalog   []string
}

// observe reads everything that a scenario speaks of. Whatever no client may find is an error: a blob that is there for
// HEAD and not for GET, a manifest without a blob that nobody deleted, a tag that is listed and does not resolve.
func (c *checker) observe(ctx context.Context, s *Store, deleted map[string]bool) (observed, error) {
	w := c.w
	o := observed{map[string]bool{}, map[string]bool{}, map[string]string{}, map[string]bool{}, nil}
	for repository, contents := range w.contents() {
		for _, content := range contents {
			there, err := readBack(ctx, s.Repository(repository), content)
			if err != nil {
				return o, err
			}
			if there {
				o.blobs[repository+"/"+content] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.artifacts)) {
		a := w.artifacts[name]
		r := s.Repository(a.repository)
		m, err := r.Manifest(ctx, w.digest(name))
		if err == nil {
			o.manifests[a.repository+"/"+name] = true
			if string(m.Content) != string(w.text(name)) {
				return o, fmt.Errorf("manifest %s holds something else", name)
			}
		} else if !errors.Is(err, ErrNotFound) {
			return o, fmt.Errorf("manifest %s: %w", name, err)
		}
		if a.subject == "" {
			continue
		}
		list, _, err := r.Referrers(ctx, w.digest(a.subject), "", 100)
		if err != nil {
			return o, err
		}
		for _, d := range list {
			if d.Digest == w.digest(name) {
				o.referrers[a.repository+"/"+name] = true
			}
		}
	}
	if err := c.whole(o, deleted); err != nil {
		return o, err
	}
	var err error
	if o.catalog, err = s.Repositories(ctx, "", "", 100); err != nil {
		return o, err
	}
	return o, c.readTags(ctx, s, o)
}

// readBack says whether a blob is there. What HEAD says is there GET must get; what is about to be removed GET may get still.
func readBack(ctx context.Context, r *Repository, content string) (there bool, err error) {
	d := digest.FromString(content)
	_, headErr := r.StatBlob(ctx, d)
	text, err := r.ReadBlob(ctx, d, 1<<20)
	if err == nil && string(text) != content {
		return true, fmt.Errorf("blob %q holds %q", content, text)
	}
	for what, err := range map[string]error{"HEAD": headErr, "GET": err} {
		if err != nil && !errors.Is(err, ErrNotFound) {
			return false, fmt.Errorf("%s of blob %s: %w", what, content, err)
		}
	}
	if headErr == nil && err != nil {
		return false, fmt.Errorf("blob %s in %s is there for HEAD, and GET gets: %w", content, r.name, err)
	}
	return headErr == nil, nil
}

// whole checks that everything that manifests name is there, but for what was deleted by name, and for a manifest whose push
// was interrupted.
func (c *checker) whole(o observed, deleted map[string]bool) error {
	alive := c.alive(o)
	for key := range o.manifests {
		repository, name, _ := cutLast(key, '/')
		a := c.w.artifacts[name]
		if !alive[key] && c.unheard(putManifest, name) {
			continue // it will be collected
		}
		for _, layer := range a.layers {
			if blob := repository + "/" + layer; !o.blobs[blob] && !deleted[blob] {
				return fmt.Errorf("manifest %s is there without its blob %s", name, layer)
			}
		}
		for _, child := range a.children {
			if child := repository + "/" + child; !o.manifests[child] && !deleted[child] {
				return fmt.Errorf("index %s is there without its manifest %s", name, child)
			}
		}
	}
	return nil
}

func (c *checker) readTags(ctx context.Context, s *Store, o observed) error {
	w := c.w
	repositories := map[string]bool{}
	names := map[digest.Digest]string{}
	for name, a := range w.artifacts {
		repositories[a.repository] = true
		names[w.digest(name)] = name
	}
	for repository := range repositories {
		r := s.Repository(repository)
		tags, err := r.Tags(ctx, "", 100)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		for _, tag := range tags {
			m, err := r.Tagged(ctx, tag)
			if errors.Is(err, ErrNotFound) && (c.unheard(tagManifest, tag) || c.unheard(tagOnce, tag)) {
				continue // the next collection removes it
			}
			if err != nil {
				return fmt.Errorf("tag %s is listed, but it does not resolve: %w", tag, err)
			}
			o.tags[repository+":"+tag] = names[m.Digest]
		}
	}
	return nil
}

// differs says in what an observation differs from the model, but for what may have been collected by now; "" if in
// nothing. Where the catalog may be mended by the next collection it is not looked at.
func (c *checker) differs(o observed, m model, unlisted bool) string {
	if !maps.Equal(o.tags, m.tags) {
		return fmt.Sprintf("the tags are %v instead of %v", o.tags, m.tags)
	}
	holding := map[string]bool{}
	for name, a := range c.w.artifacts {
		key := a.repository + "/" + name
		_, should := m.manifests[key]
		switch is := o.manifests[key]; {
		case is && !should:
			return fmt.Sprintf("manifest %s is there", name)
		case !is && !c.manifestMayBeGone(m, key, c.now):
			return fmt.Sprintf("manifest %s is gone", name)
		case is:
			holding[a.repository] = true
		}
		if listed := o.referrers[key]; a.subject != "" && !c.died && listed != o.manifests[key] {
			return fmt.Sprintf("referrer %s: there %v, listed %v", name, o.manifests[key], listed)
		}
		for _, layer := range a.layers {
			blob := a.repository + "/" + layer
			_, should := m.blobs[blob]
			switch is := o.blobs[blob]; {
			case is && !should:
				return fmt.Sprintf("blob %s is there", layer)
			case !is && !c.blobMayBeGone(m, a.repository, layer, c.now):
				return fmt.Sprintf("blob %s is gone", layer)
			}
		}
	}
	if want := slices.Sorted(maps.Keys(holding)); !unlisted && !slices.Equal(o.catalog, want) {
		return fmt.Sprintf("the catalog is %v instead of %v", o.catalog, want)
	}
	return ""
}

// unheard says that a push of a manifest, or the setting of a tag, was interrupted, so that nobody was answered.
func (c *checker) unheard(v verb, name string) bool {
	return slices.ContainsFunc(c.actions, func(a *schedule.Action) bool {
		q := a.Subject.(request)
		return !heard(a) && q.verb == v && (q.what == name || q.tag == name)
	})
}

// alive is what of an observation is reached from tags, as the model says it.
func (c *checker) alive(o observed) map[string]bool {
	m := model{manifests: map[string]since{}, tags: o.tags}
	for key := range o.manifests {
		m.manifests[key] = since{}
	}
	return c.live(m)
}

// wanted are the keys that a store holds of what is reached from tags, and nothing else.
func (c *checker) wanted(ctx context.Context, s *Store, o observed) (map[string]bool, error) {
	keys := map[string]bool{}
	for key := range c.alive(o) {
		repository, name, _ := cutLast(key, '/')
		r, a, d := s.Repository(repository), c.w.artifacts[name], c.w.digest(name)
		keys[catalogKey(repository)], keys[manifestKey(repository, d)] = true, true
		if a.subject != "" {
			keys[referrerKey(repository, c.w.digest(a.subject), d)] = true
		}
		for _, layer := range a.layers {
			l, err := r.link(ctx, digest.FromString(layer))
			if errors.Is(err, ErrNotFound) {
				continue // observe has looked whether it should be there
			}
			if err != nil {
				return nil, err
			}
			keys[linkKey(repository, digest.FromString(layer))], keys[l.Key] = true, true
		}
	}
	for tag, name := range o.tags {
		repository, short, _ := cutLast(tag, ':')
		keys[tagKey(repository, short)], keys[taggedKey(repository, c.w.digest(name), short)] = true, true
	}
	return keys, nil
}

// tombstone says that an object stands for nothing, where a storage cannot delete on a condition, or belongs to one that does.
func tombstone(ctx context.Context, s *Store, key string) (bool, error) {
	if repository, name, ok := strings.Cut(key, "/d/"); ok {
		if tag, _, ok := strings.Cut(name, "!"); ok && tag != "" {
			key = repository + "/t/" + tag // as long as that is a tombstone
		}
	}
	data, _, err := s.d.Read(ctx, key)
	if errors.Is(err, driver.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if strings.HasPrefix(key, marksPrefix) {
		var m mark
		return json.Unmarshal(data, &m) == nil && !m.marked() && !m.tombstoned(), nil
	}
	return strings.Contains(string(data), `"purged":true`), nil
}

var nonces = regexp.MustCompile(`![0-9a-f]{32}$`)

// leftovers are keys that are there and should not, and the other way round, when everything is over.
func (c *checker) leftovers(ctx context.Context, s *Store, d *schedule.Driver, p schedule.Promises, o observed) error {
	want, err := c.wanted(ctx, s, o)
	if err != nil {
		return err
	}
	var wrong []string
	var walk func(prefix string) error
	walk = func(prefix string) error {
		return s.each(ctx, prefix, func(name string) error {
			key := prefix + name
			if strings.HasSuffix(name, "/") {
				return walk(key)
			}
			if want[key] {
				delete(want, key)
				return nil
			}
			if key == formatKey || strings.HasPrefix(key, "a/") {
				return nil
			}
			stands := !p.ConditionalDelete
			if stands {
				stands, err = tombstone(ctx, s, key)
			}
			if !stands {
				wrong = append(wrong, "stays: "+nonces.ReplaceAllString(key, "!<nonce>"))
			}
			return err
		})
	}
	if err := walk(""); err != nil {
		return err
	}
	for key := range want {
		wrong = append(wrong, "is missing: "+key)
	}
	for _, id := range d.Streams() {
		wrong = append(wrong, "stays: stream "+id)
	}
	if slices.Sort(wrong); len(wrong) > 0 {
		return fmt.Errorf("when all is over, %s", strings.Join(wrong, "; "))
	}
	return nil
}

// clean collects whatever can be, as time passes, until two collections in a row find nothing to do.
func clean(ctx context.Context, s *Store, w *world) error {
	for idle, rounds := 0, 0; idle < 2; rounds++ {
		if rounds == 20 {
			return errors.New("collections find something to do for ever")
		}
		time.Sleep(forgetTombstones + w.grace)
		if _, err := s.PurgeUploads(ctx, time.Hour, false); err != nil {
			return fmt.Errorf("purge: %w", err)
		}
		done, err := s.Collect(ctx, Collection{Grace: w.grace, KeepUntagged: w.grace})
		if err != nil {
			return fmt.Errorf("collect: %w", err)
		}
		if idle++; done.Marked+done.Manifests+done.Links+done.Blobs > 0 {
			idle = 0
		}
	}
	return nil
}

// heals pushes everything once more, as a client would who found something missing, and reads it back.
func heals(ctx context.Context, s *Store, w *world) error {
	for repository, contents := range w.contents() {
		r := s.Repository(repository)
		for _, content := range contents {
			if err := (request{verb: pushBlob, repository: repository, what: content}).prepare(ctx, s, w); err != nil {
				return fmt.Errorf("push of blob %s once more: %w", content, err)
			}
			if there, err := readBack(ctx, r, content); err != nil || !there {
				return errors.Join(fmt.Errorf("blob %s was pushed once more, and is not there", content), err)
			}
		}
	}
	return nil
}

var _ driver.Driver = (*schedule.Driver)(nil)
