package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testserver"
)

// This file has clients that move, delete and read the same few tags at once, and delete the manifests under them. What was read
// is compared with what was acknowledged: a tag may only be what a request made it that no other one followed.

// tagRequest is a request that changes a tag, or that read it.
type tagRequest struct {
	// began and ended are numbers in the order of all events. ended is 0 where it may take effect at any time.
	began, ended int64
	// unknown says that nobody knows what became of it.
	unknown bool
	// to is what the tag was set to or read as, empty where it was deleted or not there.
	to digest.Digest
	// under is the manifest that was deleted by its digest, with all tags of it.
	under digest.Digest
}

// tagLog is everything that was asked of one tag.
type tagLog struct {
	mu      sync.Mutex
	changes []tagRequest
	reads   []tagRequest
}

func (l *tagLog) change(r tagRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes = append(l.changes, r)
}

func (l *tagLog) read(r tagRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads = append(l.reads, r)
}

// explains says whether a read found what a change can have left.
func (l *tagLog) explains(read tagRequest) bool {
	if read.to == "" && !l.followed(tagRequest{}, read) {
		return true // as in the beginning
	}
	for _, c := range l.changes {
		if c.began > read.ended || l.followed(c, read) {
			continue
		}
		switch {
		case c.under != "":
			if read.to == "" && l.stood(c.under, read) {
				return true
			}
		case c.to == read.to:
			return true
		case read.to == "" && c.unknown:
			// The manifest that it pushed is untagged before the tag is moved: a collector, a refused push of the same manifest or
			// a deletion may remove it then. Its process died before it looked whether the manifest is still there, and the tag is dead.
			return true
		}
	}
	return false
}

// followed says that another change of the same value came after c and was over before the read began.
func (l *tagLog) followed(c, read tagRequest) bool {
	for _, later := range l.changes {
		if later.unknown || later.ended > read.began || c.began > 0 && (c.ended == 0 || later.began < c.ended) {
			continue
		}
		if later.under == "" && (c.began > 0 || later.to != "") || later.under != "" && later.under == c.to {
			return true
		}
	}
	return false
}

// stood says that a tag can have named a manifest right before that was deleted, and the tag with it.
func (l *tagLog) stood(d digest.Digest, read tagRequest) bool {
	for _, set := range l.changes {
		if set.to == d && set.began < read.ended && !l.followed(tagRequest{began: set.began, ended: set.ended}, read) {
			return true
		}
	}
	return false
}

func TestTagLog(t *testing.T) {
	a, b := digest.FromString("a"), digest.FromString("b")
	for name, tt := range map[string]struct {
		changes []tagRequest
		read    tagRequest
		want    bool
	}{
		"nothing":               {nil, tagRequest{began: 1, ended: 2}, true},
		"of nowhere":            {nil, tagRequest{began: 1, ended: 2, to: a}, false},
		"set":                   {[]tagRequest{{began: 1, ended: 2, to: a}}, tagRequest{began: 3, ended: 4, to: a}, true},
		"set and lost":          {[]tagRequest{{began: 1, ended: 2, to: a}}, tagRequest{began: 3, ended: 4}, false},
		"perhaps set":           {[]tagRequest{{began: 1, unknown: true, to: a}}, tagRequest{began: 3, ended: 4}, true},
		"perhaps set, and read": {[]tagRequest{{began: 1, unknown: true, to: a}}, tagRequest{began: 3, ended: 4, to: a}, true},
		"perhaps moved, and dead": {[]tagRequest{{began: 1, ended: 2, to: a}, {began: 3, ended: 4, unknown: true, to: b}},
			tagRequest{began: 5, ended: 6}, true},
		"perhaps moved": {[]tagRequest{{began: 1, ended: 2, to: a}, {began: 3, ended: 4, unknown: true, to: b}},
			tagRequest{began: 5, ended: 6, to: a}, true},
		"perhaps moved, and set": {[]tagRequest{{began: 1, ended: 2, unknown: true, to: b}, {began: 3, ended: 4, to: a}},
			tagRequest{began: 5, ended: 6}, false},
		"perhaps set later": {[]tagRequest{{began: 1, ended: 2, to: a}, {began: 7, ended: 8, unknown: true, to: b}},
			tagRequest{began: 5, ended: 6}, false},
		"perhaps set at any time": {[]tagRequest{{began: 1, unknown: true, to: b}, {began: 3, ended: 4, to: a}},
			tagRequest{began: 5, ended: 6}, true},
		"perhaps deleted": {[]tagRequest{{began: 1, ended: 2, to: a}, {began: 3, ended: 4, unknown: true}},
			tagRequest{began: 5, ended: 6}, true},
		"set later":              {[]tagRequest{{began: 5, ended: 6, to: a}}, tagRequest{began: 3, ended: 4, to: a}, false},
		"moved":                  {[]tagRequest{{began: 1, ended: 2, to: a}, {began: 3, ended: 4, to: b}}, tagRequest{began: 5, ended: 6, to: a}, false},
		"moved at once":          {[]tagRequest{{began: 1, ended: 3, to: a}, {began: 2, ended: 4, to: b}}, tagRequest{began: 5, ended: 6, to: a}, true},
		"deleted":                {[]tagRequest{{began: 1, ended: 2, to: a}, {began: 3, ended: 4}}, tagRequest{began: 5, ended: 6, to: a}, false},
		"deleted, and not there": {[]tagRequest{{began: 1, ended: 2, to: a}, {began: 3, ended: 4}}, tagRequest{began: 5, ended: 6}, true},
		"its manifest deleted":   {[]tagRequest{{began: 1, ended: 2, to: a}, {began: 3, ended: 4, under: a}}, tagRequest{began: 5, ended: 6, to: a}, false},
		"moved as its manifest goes, and not there": {[]tagRequest{{began: 1, ended: 2, to: a}, {began: 3, ended: 6, under: a}, {began: 4, ended: 5, to: b}},
			tagRequest{began: 7, ended: 8}, false},
		"set as its manifest goes, and not there": {[]tagRequest{{began: 1, ended: 4, to: a}, {began: 2, ended: 3, under: a}},
			tagRequest{began: 7, ended: 8}, true},
		"another manifest deleted": {[]tagRequest{{began: 1, ended: 2, to: a}, {began: 3, ended: 4, under: b}}, tagRequest{began: 5, ended: 6, to: a}, true},
	} {
		l := &tagLog{changes: tt.changes}
		if got := l.explains(tt.read); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// crossing is clients that share tags of one repository.
type crossing struct {
	f          *fleet
	repository string
	logs       map[string]*tagLog
	sequence   atomic.Int64
}

func newCrossing(f *fleet, repository string) *crossing {
	c := &crossing{f: f, repository: repository, logs: map[string]*tagLog{}}
	for _, tag := range []string{"a", "b", "c"} {
		c.logs[tag] = &tagLog{}
	}
	return c
}

// act does one thing to a tag, and reads it.
func (c *crossing) act(random *rand.Rand) {
	tag := string(rune('a' + random.IntN(len(c.logs))))
	c.change(random, tag)
	r := tagRequest{began: c.sequence.Add(1)}
	status, manifest, ok := c.f.ask(random, http.MethodGet, "/v2/"+c.repository+"/manifests/"+tag, "")
	if !ok {
		return
	}
	c.ended(&r, true)
	switch status {
	case http.StatusOK:
		r.to = digest.FromBytes(manifest)
	case http.StatusNotFound:
	default:
		c.f.t.Errorf("%s:%s: %d %.200s", c.repository, tag, status, manifest)
		return
	}
	c.logs[tag].read(r)
}

func (c *crossing) change(random *rand.Rand, tag string) {
	path := "/v2/" + c.repository + "/manifests/"
	r := tagRequest{began: c.sequence.Add(1)}
	switch random.IntN(5) {
	default:
		all, acknowledged, known := c.f.push(random, c.repository, tag)
		if known && !acknowledged || len(all) == 0 {
			return
		}
		r.to = all[len(all)-1]
		c.ended(&r, acknowledged)
		c.logs[tag].change(r)
	case 3:
		status, _, ok := c.f.ask(random, http.MethodDelete, path+tag, "")
		if ok && status != http.StatusAccepted {
			return
		}
		c.ended(&r, ok)
		c.logs[tag].change(r)
	case 4:
		status, manifest, ok := c.f.ask(random, http.MethodGet, path+tag, "")
		if !ok || status != http.StatusOK {
			return
		}
		r.began, r.under = c.sequence.Add(1), digest.FromBytes(manifest)
		status, _, ok = c.f.ask(random, http.MethodDelete, path+r.under.String(), "")
		if ok && status != http.StatusAccepted {
			return
		}
		c.ended(&r, ok)
		for _, l := range c.logs {
			l.change(r)
		}
	}
}

// ended notes the end of a request. One that was not answered ended with its process, but for what a server of the storage still does for it.
func (c *crossing) ended(r *tagRequest, ok bool) {
	r.unknown = !ok
	if ok || !c.f.remote {
		r.ended = c.sequence.Add(1)
	}
}

// end compares what was read with what was acknowledged, waits until every tag that is listed can be had, and deletes all.
func (c *crossing) end() {
	random := rand.New(rand.NewPCG(6, 6)) //nolint:gosec // a test
	reads := 0
	for tag, l := range c.logs {
		last := tagRequest{began: c.sequence.Add(1)}
		if status, manifest := c.f.read(random, "/v2/"+c.repository+"/manifests/"+tag); status == http.StatusOK {
			last.to = digest.FromBytes(manifest)
		}
		last.ended = c.sequence.Add(1)
		for _, r := range append(l.reads, last) {
			if reads++; !l.explains(r) {
				c.f.t.Errorf("%s:%s was read as %q, which no request can have left: %+v, %+v", c.repository, tag, r.to, r, l.changes)
			}
		}
	}
	c.f.t.Logf("%d reads of tags that others moved and deleted", reads)
	testserver.Eventually(c.f.t, "what is listed can be had", time.Minute, func() bool {
		var list struct{ Tags []string }
		status, answer := c.f.read(random, "/v2/"+c.repository+"/tags/list")
		if status == http.StatusOK && json.Unmarshal(answer, &list) != nil {
			c.f.t.Errorf("the list is %q", answer)
		}
		for _, tag := range list.Tags {
			if status, _ := c.f.read(random, fmt.Sprintf("/v2/%s/manifests/%s", c.repository, tag)); status != http.StatusOK {
				return false
			}
		}
		return true
	})
	for tag := range c.logs {
		testserver.Eventually(c.f.t, "the tag is deleted", time.Minute, func() bool {
			status, _, ok := c.f.ask(random, http.MethodDelete, "/v2/"+c.repository+"/manifests/"+tag, "")
			return ok && (status == http.StatusAccepted || status == http.StatusNotFound)
		})
	}
}
