package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

const mib = 1 << 20

// load is one thing to measure.
type load struct {
	driver string
	// kind is push, pull, get, head or page.
	kind string
	// size of a blob, and of the chunks it is pushed in: 0 for one request after POST.
	size, chunk int64
	// by is tag or digest for manifests, tags or catalog for pages.
	by string
	// entries is how many there are to list, and last says that the page is the last one of 100.
	entries int
	last    bool
	clients int
	// auth says that the registry has users, and tls that it serves HTTPS.
	auth, tls bool
	// quick moves little, to see that it works.
	quick bool
}

func (l load) String() string {
	what := ""
	switch l.kind {
	case "push", "pull":
		what = fmt.Sprintf("%s %d MiB", l.kind, l.size/mib)
		if l.chunk > 0 {
			what += " in chunks"
		}
	case "get", "head":
		what = l.kind + " manifest by " + l.by
	case "page":
		what = fmt.Sprintf("first page of %d %s", l.entries, l.by)
		if l.last {
			what = fmt.Sprintf("last page of %d %s", l.entries, l.by)
		}
	}
	who := "open"
	if l.auth {
		who = "auth"
	}
	if l.tls {
		who = "https and auth"
	}
	clients := fmt.Sprintf("%d clients", l.clients)
	if l.clients == 1 {
		clients = "1 client"
	}
	return fmt.Sprintf("%s: %s, %s, %s", l.driver, what, clients, who)
}

// loads is every load of one driver. quick makes it small.
func loads(quick bool) []load { //nolint:gocognit // loops in loops, over what is combined
	clients, sizes, entries := []int{1, 10, 50}, []int64{1 * mib, 10 * mib, 100 * mib}, []int{10, 10_000, 100_000}
	if quick {
		clients, sizes, entries = []int{2}, []int64{1 * mib}, []int{10, 120}
	}
	var list []load
	for _, access := range []load{{}, {auth: true}, {auth: true, tls: true}} {
		for _, kind := range []string{"get", "head"} {
			for _, by := range []string{"tag", "digest"} {
				for _, n := range clients {
					list = append(list, load{kind: kind, by: by, clients: n, auth: access.auth, tls: access.tls})
				}
			}
		}
		for _, n := range clients {
			for _, size := range sizes {
				list = append(list, load{kind: "pull", size: size, clients: n, auth: access.auth, tls: access.tls})
			}
		}
		for _, size := range sizes {
			for _, chunk := range []int64{0, max(size/10, mib/2)} {
				for _, n := range clients {
					list = append(list, load{kind: "push", size: size, chunk: chunk, clients: n, auth: access.auth, tls: access.tls})
				}
			}
		}
	}
	for _, n := range entries {
		for _, by := range []string{"tags", "catalog"} {
			for _, last := range []bool{false, true} {
				list = append(list, load{kind: "page", by: by, entries: n, last: last, clients: 1})
			}
		}
	}
	for i := range list {
		list[i].quick = quick
	}
	return list
}

// suits says whether a driver can take the load here at all: memory holds only so much.
func (l load) suits() bool {
	return l.driver != "inmemory" || l.kind != "push" || int64(l.clients)*l.size <= 1<<30
}

// operation is done again and again, by each client over a connection of its own. It returns the bytes of content moved.
type operation func(w *wire) (int64, error)

// names of what the loads put into a registry.
const (
	smallRepository   = "bench/small"
	tagsRepository    = "bench/tags-%d"
	catalogRepository = "bench/catalog-%06d"
	indexType         = "application/vnd.oci.image.index.v1+json"
	manifestType      = "application/vnd.oci.image.manifest.v1+json"
)

func digestOf(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return fmt.Sprintf("sha256:%x", h.Sum(nil))
}

// once fills a target, if that has not happened before.
func (t *target) once(key string, fill func() error) error {
	if t.filled[key] {
		return nil
	}
	t.filled[key] = true
	return fill()
}

// prepare puts into a target what the load needs and returns what to do to it.
func (l load) prepare(ctx context.Context, t *target, count int) (operation, error) {
	switch l.kind {
	case "get", "head":
		text := imageManifest("small")
		if err := t.once("manifest", func() error { return pushManifest(ctx, t, text) }); err != nil {
			return nil, err
		}
		reference := "v1"
		if l.by == "digest" {
			reference = digestOf(text)
		}
		method := map[string]string{"get": "GET", "head": "HEAD"}[l.kind]
		return func(w *wire) (int64, error) {
			a, err := w.send(200, method, "/v2/"+smallRepository+"/manifests/"+reference, "Accept: "+manifestType+"\r\n")
			if err == nil && method == "GET" && a.n != int64(len(text)) {
				err = fmt.Errorf("%d bytes, not %d", a.n, len(text))
			}
			return a.n, err
		}, nil
	case "pull":
		blob := newBlob(l.size, 0)
		path := "/v2/" + smallRepository + "/blobs/" + blob.digest
		if t.bare {
			path = "/" + blob.digest
		}
		err := t.once(fmt.Sprint("blob ", l.size), func() error {
			return withWire(ctx, t, func(w *wire) error { return push(w, t, blob, 0) })
		})
		return func(w *wire) (int64, error) {
			a, err := w.send(200, "GET", path, "")
			if err == nil && a.n != l.size {
				err = fmt.Errorf("%d bytes, not %d", a.n, l.size)
			}
			return a.n, err
		}, err
	case "push":
		return l.pushes(t, count), nil
	}
	return l.preparePages(ctx, t)
}

// pushes pushes a blob of its own each time; hashing them is done before, and not measured.
func (l load) pushes(t *target, count int) operation {
	blobs := make([]blob, count)
	for i := range blobs {
		blobs[i] = newBlob(l.size, rand.Uint64()) //nolint:gosec // nobody needs to be surprised
	}
	var next atomic.Int64
	return func(w *wire) (int64, error) {
		i := next.Add(1) - 1
		if int(i) >= count {
			return 0, errors.New("more pushes than were prepared")
		}
		return l.size, push(w, t, blobs[i], l.chunk)
	}
}

func (l load) preparePages(ctx context.Context, t *target) (operation, error) {
	path, last := "/v2/_catalog?n=100", fmt.Sprintf(catalogRepository, l.entries-101)
	fill := func(i int) (path string, text []byte) {
		text = emptyIndex
		return "/v2/" + fmt.Sprintf(catalogRepository, i) + "/manifests/" + digestOf(text), text
	}
	first := 0 // one registry has one catalog, which grows
	for _, n := range []int{10, 120, 10_000} {
		if n < l.entries && t.filled[fmt.Sprint("catalog", n)] {
			first = n
		}
	}
	if l.by == "tags" {
		name := fmt.Sprintf(tagsRepository, l.entries)
		path, last, first = "/v2/"+name+"/tags/list?n=100", fmt.Sprintf("v%06d", l.entries-101), 0
		fill = func(i int) (string, []byte) { return "/v2/" + name + fmt.Sprintf("/manifests/v%06d", i), emptyIndex }
	}
	err := t.once(fmt.Sprint(l.by, l.entries), func() error {
		return parallel(ctx, t, l.entries-first, func(w *wire, i int) error {
			path, text := fill(first + i)
			_, err := w.send(201, "PUT", path, "Content-Type: "+indexType+"\r\n", text)
			return err
		})
	})
	if l.last && l.entries > 100 {
		path += "&last=" + last
	}
	return func(w *wire) (int64, error) {
		a, err := w.fetch(200, "GET", path)
		if want := min(l.entries, 100); err == nil && bytes.Count(a.body, []byte{','}) < want-1 {
			err = fmt.Errorf("less than %d names: %.200s", want, a.body)
		}
		return a.n, err
	}, err
}

// parallel does something so many times, over several connections.
func parallel(ctx context.Context, t *target, count int, do func(w *wire, i int) error) error {
	const connections = 16
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(connections, count) {
		group.Go(func() {
			err := withWire(ctx, t, func(w *wire) error {
				for ctx.Err() == nil {
					i := int(next.Add(1)) - 1
					if i >= count {
						return nil
					}
					if err := do(w, i); err != nil {
						return err
					}
				}
				return ctx.Err()
			})
			if err != nil {
				cancel(err)
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

func withWire(ctx context.Context, t *target, do func(w *wire) error) error {
	w, err := dial(ctx, t.url, t.tls, t.auth)
	if err != nil {
		return err
	}
	defer w.close()
	return do(w)
}

var emptyIndex = []byte(`{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[]}`)

// imageManifest is as large as manifests are, with nothing in it but the empty config.
func imageManifest(note string) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.unknown.config.v1+json","digest":%q,"size":2},`+
		`"layers":[],"annotations":{"note":%q,"filler":"%0400d"}}`, manifestType, digestOf([]byte("{}")), note, 0)
}

func pushManifest(ctx context.Context, t *target, text []byte) error {
	return withWire(ctx, t, func(w *wire) error {
		if err := push(w, t, blob{size: 2, head: []byte("{}"), digest: digestOf([]byte("{}"))}, 0); err != nil {
			return err
		}
		_, err := w.send(201, "PUT", "/v2/"+smallRepository+"/manifests/v1", "Content-Type: "+manifestType+"\r\n", text)
		return err
	})
}

// blob is content that nobody stored before: a few bytes of its own before filler that all share.
type blob struct {
	size   int64
	head   []byte
	digest string
}

var filler = sync.OnceValue(func() []byte {
	b := make([]byte, 100*mib)
	source := rand.NewChaCha8([32]byte{})
	source.Read(b) //nolint:errcheck // never fails
	return b
})

func newBlob(size int64, seed uint64) blob {
	b := blob{size: size, head: binary.LittleEndian.AppendUint64(nil, seed)}
	b.digest = digestOf(b.parts(0, size)...)
	return b
}

// parts is the content from one offset to another.
func (b blob) parts(from, to int64) [][]byte {
	own := int64(len(b.head))
	var parts [][]byte
	if from < own {
		parts = append(parts, b.head[from:min(to, own)])
	}
	if to > own {
		parts = append(parts, filler()[max(from, own):to])
	}
	return parts
}

// push stores a blob: by POST and PUT, or with PATCHes between them.
func push(w *wire, t *target, b blob, chunk int64) error {
	if t.bare {
		_, err := w.send(201, "PUT", "/"+b.digest, "", b.parts(0, b.size)...)
		return err
	}
	a, err := w.send(202, "POST", "/v2/"+smallRepository+"/blobs/uploads/", "")
	if err != nil {
		return err
	}
	from := int64(0)
	for ; chunk > 0 && from < b.size; from += chunk {
		path, err := w.path(a.location)
		if err != nil {
			return err
		}
		to := min(from+chunk, b.size)
		extra := fmt.Sprintf("Content-Type: application/octet-stream\r\nContent-Range: %d-%d\r\n", from, to-1)
		if a, err = w.send(202, "PATCH", path, extra, b.parts(from, to)...); err != nil {
			return err
		}
	}
	path, err := w.path(a.location)
	if err != nil {
		return err
	}
	separator := "?"
	if bytes.Contains([]byte(path), []byte{'?'}) {
		separator = "&"
	}
	_, err = w.send(201, "PUT", path+separator+"digest="+b.digest, "Content-Type: application/octet-stream\r\n", b.parts(min(from, b.size), b.size)...)
	return err
}
