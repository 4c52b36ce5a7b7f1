//go:build linux

package flood

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
)

// attacker is one process that attacks until its standard input ends.
type attacker struct {
	target string
	ctx    context.Context
	client *http.Client

	// alone says that nothing else goes on, and that a step may end before it is cut off.
	alone bool

	mu     sync.Mutex
	counts map[string]map[string]int
}

// step is one request of an attack: it returns the status of an answer, or what else became of it.
type step func(a *attacker, worker, n int) string

type kind int

const (
	plain kind = iota
	isPack
	holds
)

// holdsAfter is how long what holds places is waited for.
const holdsAfter = 5 * time.Second

// attacks are all that one user who may push to mal/** and mal-* does, and nobody.
var attacks = []struct {
	name    string
	workers int
	step    step
	// steps are those that are done alone, before the flood, and alone is how they are answered then, each at least once.
	steps []int
	alone []string
	// refused is how the flood is answered beside that, by the budget that is meant to.
	refused []string
	// kind is when it begins: what is a pack is pushed before the flood, and what holds the attacker's own share of places comes after the
	// others have had some time.
	kind kind
}{
	{"sparse entry", 1, push("mal-sparse", sparse()), once, []string{"400"}, crowded, isPack},
	{"deep archive", 1, push("mal-deep", archive(map[string]string{strings.Repeat("d/", 100_000) + "f": "x"})), once, []string{"400"}, crowded, isPack},
	{"doubled names", 1, push("mal-double", doubled()), once, []string{"400"}, crowded, isPack},
	{"wrong charts", 1, push("mal-charts", charts()), once, []string{"400"}, crowded, isPack},
	{"zeros", 1, push("mal-zeros", archive(map[string]string{"zeros": strings.Repeat("\x00", 64<<20)})), once, []string{"400"}, crowded, isPack},
	{"many layers", 4, manifest(manyLayers()), once, []string{"400"}, crowded, plain},
	{"one manifest often", 2, manifest(oftenNamed()), once, []string{"201"}, crowded, plain},
	{"large manifests", 4, distinct, once, []string{"201"}, crowded, plain},
	{"referrers", 2, referrers, []int{0, 1, 13, 14}, []string{"200", "201", "400"}, crowded, plain},
	{"one byte a PATCH", 4, patches, once, []string{"202"}, crowded, plain},
	{"dripped uploads", 300, drip("POST", "/v2/mal/x/blobs/uploads/?digest=sha256:"+strings.Repeat("0", 64), 1, ""), once, []string{held}, cutOff, holds},
	{"dripped manifests", 50, drip("PUT", "/v2/mal/x/manifests/v1", 4_000_000, strings.Repeat(" ", 3_900_000)), once, []string{held}, cutOff, holds},
	{"ranges", 2, ranges, []int{0, 1}, []string{"200", "431"}, nil, plain},
	{"wrong passwords", 40, guess, once, []string{"401"}, crowded, plain},
	{"spellings of one", 4, spell, once, []string{"401"}, crowded, plain},
	{"unread downloads", 100, unread("/v2/mal/x/blobs/" + digest.FromBytes(bigBlob).String()), once, []string{"200"}, cutOff, holds},
	{"unread manifests", 100, unread("/v2/mal/x/manifests/large0"), once, []string{"200"}, cutOff, holds},
	{"files of a pack", 40, files, once, []string{"200"}, []string{"404", "429"}, plain},
	{"unfinished heads", 300, drip("GET", "/v2/", 0, ""), once, []string{held}, []string{"400", "408", brokenOff, notConnected}, holds},
	{"tokens", 4, tokens, once, []string{"200"}, nil, plain},
	{"lists", 4, lists, []int{0, 1, 2, 3}, []string{"200"}, nil, plain},
}

// What becomes of an attack that is no answer: it holds what it took, its connection ended, or was never made.
const (
	held         = "held"
	brokenOff    = "broken off"
	notConnected = "not connected"
)

// once is the first step, crowded the answer of a budget, and cutOff what happens to who holds something for too long.
var (
	once    = []int{0}
	crowded = []string{"429"}
	cutOff  = []string{"408", "429", brokenOff, notConnected}
)

var bigBlob = bytes.Repeat([]byte("0123456789abcdef"), 2<<20)

// reported is how each attack was answered: alone, and in the flood.
type reported struct{ Alone, Flood map[string]map[string]int }

// attack does each attack alone, then all of them at once, and reports how they were answered.
func attack(target string) {
	ctx, stop := context.WithCancel(context.Background())
	alone := &attacker{target: target, ctx: ctx, client: addressed(2), alone: true, counts: map[string]map[string]int{}}
	alone.prepare()
	alone.each()
	a := &attacker{target: target, ctx: ctx, client: alone.client, counts: map[string]map[string]int{}}
	go a.report(alone.counts)
	var group sync.WaitGroup
	for _, one := range attacks {
		for worker := range one.workers {
			group.Go(func() {
				if one.kind == holds {
					select {
					case <-time.After(holdsAfter):
					case <-ctx.Done():
					}
				}
				for n := 0; ctx.Err() == nil; n++ {
					a.count(one.name, one.step(a, worker, n))
					select {
					case <-time.After(20 * time.Millisecond):
					case <-ctx.Done():
					}
				}
			})
		}
	}
	io.Copy(io.Discard, os.Stdin) //nolint:errcheck // its end is all that matters
	stop()
	group.Wait()
}

// each does one attack after the other, and then those that hold something, which takes its time.
func (a *attacker) each() {
	for _, one := range attacks {
		for _, n := range one.steps {
			if one.kind != holds {
				a.count(one.name, one.step(a, 0, n))
			}
		}
	}
	var group sync.WaitGroup
	for _, one := range attacks {
		if one.kind == holds {
			group.Go(func() { a.count(one.name, one.step(a, 0, 0)) })
		}
	}
	group.Wait()
}

// report says every second how each attack was answered.
func (a *attacker) report(alone map[string]map[string]int) {
	for ; a.ctx.Err() == nil; time.Sleep(time.Second) {
		a.mu.Lock()
		json.NewEncoder(os.Stdout).Encode(reported{alone, a.counts}) //nolint:errcheck // who reads it notices
		a.mu.Unlock()
	}
}

func (a *attacker) count(name, answer string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil {
		return // broken off
	}
	if a.counts[name] == nil {
		a.counts[name] = map[string]int{}
	}
	a.counts[name][answer]++
}

// do sends a request as mal, or as nobody.
func (a *attacker) do(method, path string, body []byte, change func(*http.Request)) (string, http.Header) {
	return a.send(method, path, change, body)
}

// send is do with a body of several parts, which are not copied: the attackers' work is not what is measured.
func (a *attacker) send(method, path string, change func(*http.Request), parts ...[]byte) (string, http.Header) {
	var size int64
	readers := make([]io.Reader, len(parts))
	for i, part := range parts {
		size += int64(len(part))
		readers[i] = bytes.NewReader(part)
	}
	r, err := http.NewRequestWithContext(a.ctx, method, a.target+path, io.MultiReader(readers...))
	if err != nil {
		return err.Error(), nil
	}
	if r.ContentLength = size; size == 0 {
		r.Body = http.NoBody
	}
	r.SetBasicAuth("mal", "mal")
	r.Header.Set("Content-Type", indexType)
	if change != nil {
		change(r)
	}
	response, err := a.client.Do(r)
	if err != nil {
		return brokenOff, nil
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body) //nolint:errcheck // the status is there
	return strconv.Itoa(response.StatusCode), response.Header
}

// from is the attacker at another address.
func (a *attacker) from(last byte) *attacker {
	return &attacker{target: a.target, ctx: a.ctx, client: others[last]}
}

var others = map[byte]*http.Client{3: addressed(3)}

func nobody(r *http.Request) { r.Header.Del("Authorization") }

func (a *attacker) blob(repository string, content []byte) digest.Digest {
	d := digest.FromBytes(content)
	a.do("POST", "/v2/"+repository+"/blobs/uploads/?digest="+d.String(), content, nil)
	return d
}

// prepare pushes what the attacks need.
func (a *attacker) prepare() {
	a.blob("mal/x", []byte("{}"))
	a.blob("mal/x", bigBlob)
	ok := push("mal-ok", archive(map[string]string{"big.txt": strings.Repeat("text ", 1<<20)}))
	ok(a, 0, -1)
	ok(a, 0, 0)
	a.do("PUT", "/v2/mal/x/manifests/small", []byte(`{"schemaVersion":2,"mediaType":"`+indexType+`","manifests":[]}`), nil)
	distinct(a, 0, 0)
	for _, one := range attacks {
		if one.kind == isPack {
			one.step(a, 0, -1)
		}
	}
}

// push pushes an archive as a pack.
func push(name string, content []byte) step {
	repository := pack.Repository(name)
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		pack.ConfigMediaType, digest.FromString("{}"), pack.ArchiveMediaType, digest.FromBytes(content), len(content))
	return func(a *attacker, _, n int) string {
		if n < 0 { // before the flood, which takes the attacker's own share of uploads
			a.blob(repository, []byte("{}"))
			a.blob(repository, content)
			return ""
		}
		answer, _ := a.do("PUT", "/v1/"+name+"/manifests/1.0.0", []byte(manifest), func(r *http.Request) {
			r.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		})
		return answer
	}
}

// manifest pushes one manifest again and again.
func manifest(text []byte) step {
	return func(a *attacker, worker, n int) string {
		answer, _ := a.do("PUT", fmt.Sprintf("/v2/mal/x/manifests/m%d", worker), text, nil)
		return answer
	}
}

func manyLayers() []byte {
	return []byte(`{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[{}` + strings.Repeat(",{}", 1_300_000) + `]}`)
}

func oftenNamed() []byte {
	small := `{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[]}`
	one := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, indexType, digest.FromString(small), len(small))
	return []byte(`{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[` + one + strings.Repeat(","+one, 7_999) + `]}`)
}

// long is the end of a manifest with an annotation of 3.9 MB. What is sent is made once: the attackers' work is not what is measured.
var long = []byte(`"` + strings.Repeat("x", 3_900_000) + `"}}`)

// distinct pushes large manifests, each another.
func distinct(a *attacker, worker, n int) string {
	text := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"n":"%d-%d","x":`, indexType, worker, n%20)
	answer, _ := a.send("PUT", fmt.Sprintf("/v2/mal/x/manifests/large%d", worker), nil, []byte(text), long)
	return answer
}

// referrers pushes referrers of one subject, with annotations that are too large and with others that just are not, and asks for their list.
func referrers(a *attacker, worker, n int) string {
	subject := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":2}`, indexType, digest.FromString("subject"))
	if n <= 12 {
		annotation := long
		if n > 0 {
			annotation = slices.Concat(long[:1], long[len(long)-60_000:])
		}
		text := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[],"subject":%s,"annotations":{"n":"%d-%d","x":`, indexType, subject, worker, n)
		answer, _ := a.send("PUT", fmt.Sprintf("/v2/mal/x/manifests/referrer%d-%d", worker, n), nil, []byte(text), annotation)
		return answer
	}
	answer, _ := a.do([]string{"HEAD", "GET"}[n%2], "/v2/mal/x/referrers/"+digest.FromString("subject").String(), nil, nobody)
	return answer
}

// patches adds one byte at a time to an upload.
func patches(a *attacker, worker, _ int) string {
	answer, header := a.do("POST", fmt.Sprintf("/v2/mal/p%d/blobs/uploads/", worker), nil, nil)
	for at := header.Get("Location"); at != "" && a.ctx.Err() == nil; at = header.Get("Location") {
		if a.alone && header.Get("Range") == "0-2" {
			break
		}
		answer, header = a.do("PATCH", strings.TrimPrefix(at, a.target), []byte("x"), nil)
		a.count("one byte a PATCH", answer)
	}
	return answer
}

var manyRanges = func() []string {
	list := make([]string, 13_000)
	for i := range list {
		list[i] = fmt.Sprintf("%d-", i)
	}
	return list
}()

func ranges(a *attacker, _, n int) string {
	list := manyRanges
	if n%2 == 0 {
		list = list[:5_000] // which fit into a request's head
	}
	answer, _ := a.do("GET", "/v2/mal/x/blobs/"+digest.FromBytes(bigBlob).String(), nil, func(r *http.Request) {
		nobody(r)
		r.Header.Set("Range", "bytes="+strings.Join(list, ","))
	})
	return answer
}

// guess sends wrong passwords, of one user, of many, and of users whom there are not.
func guess(a *attacker, worker, n int) string {
	user := []string{"ann", fmt.Sprint("user", n), "mal", "root"}[worker%4]
	answer, _ := a.do("GET", "/v2/", nil, func(r *http.Request) { r.SetBasicAuth(user, fmt.Sprint("wrong", worker, "-", n)) })
	return answer
}

// spell sends other spellings of the right password.
func spell(a *attacker, _, n int) string {
	answer, _ := a.from(3).do("GET", "/v2/", nil, func(r *http.Request) { r.SetBasicAuth("mal", "mal"+strings.Repeat("\x00mal", 1+n%17)) })
	return answer
}

func files(a *attacker, worker, n int) string {
	method, path := []string{"HEAD", "GET"}[n%2], []string{"", "big.txt", "none"}[worker%3]
	answer, _ := a.do(method, "/v1/mal-ok/files/1.0.0/"+path, nil, nobody)
	return answer
}

func tokens(a *attacker, _, n int) string {
	scopes := url.Values{}
	for i := range 500 {
		scopes.Add("scope", fmt.Sprintf("repository:mal/%d:pull,push,delete", i))
	}
	answer, _ := a.do("GET", "/token?"+scopes.Encode(), nil, nil)
	return answer
}

func lists(a *attacker, _, n int) string {
	path := []string{"/v2/_catalog", "/v2/mal/x/tags/list", "/v1/_catalog", "/v1/mal-ok/tags/list"}[n%4]
	answer, _ := a.do("GET", path, nil, nobody)
	return answer
}
