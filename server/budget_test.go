package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testfuzz"
	"packregistry.dev/server/internal/clientip"
	"packregistry.dev/server/internal/share"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// serveOnce answers one request without a network in between.
func (f *fixture) serveOnce(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

func putRequest(ctx context.Context, path, mediaType, body string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodPut, path, strings.NewReader(body))
	r.Header.Set("Content-Type", mediaType)
	return r
}

// A manifest of 3.9 MB with 1.3 million empty layers is refused at less than four times its size.
func TestAPushedManifestTakesMemoryInProportion(t *testing.T) {
	f := open0(t)
	for name, manifest := range map[string]string{
		"empty layers":    `{"schemaVersion":2,"config":{},"layers":[` + strings.Repeat(`{},`, 1_300_000) + `{}]}`,
		"no descriptors":  `{"schemaVersion":2,"x":"` + strings.Repeat("x", 3_900_000) + `"}`,
		"nested too deep": `{"schemaVersion":2,"x":` + strings.Repeat("[", 3_900_000) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			least := ^uint64(0)
			for range 3 {
				r := putRequest(t.Context(), "/v2/r/manifests/t", imageManifest, manifest)
				memory, _ := testfuzz.Cost(func() {
					if w := f.serveOnce(r); w.Code != http.StatusBadRequest {
						t.Errorf("%d %.300s", w.Code, w.Body)
					}
				})
				least = min(least, memory)
			}
			if most := uint64(8 * len(manifest)); least > most {
				t.Errorf("%d bytes took %d MiB", len(manifest), least>>20)
			}
		})
	}
}

// readCounter counts what is read of objects.
type readCounter struct {
	driver.Driver
	mu    sync.Mutex
	bytes map[string]int
	// opened counts what was asked for, also what was not there.
	opened atomic.Int64
}

func (d *readCounter) add(key string, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bytes[key] += n
}

func (d *readCounter) Read(ctx context.Context, key string) ([]byte, driver.Version, error) {
	data, version, err := d.Driver.Read(ctx, key)
	d.add(key, len(data))
	return data, version, err
}

func (d *readCounter) Open(ctx context.Context, key string) (driver.Object, error) {
	d.opened.Add(1)
	o, err := d.Driver.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	return &countedObject{o, d, key}, nil
}

type countedObject struct {
	driver.Object
	d   *readCounter
	key string
}

func (o *countedObject) Read(p []byte) (int, error) {
	n, err := o.Object.Read(p)
	o.d.add(o.key, n)
	return n, err
}

// What an index names is looked for, and not read, however large it is.
func TestWhatAnIndexNamesIsNotRead(t *testing.T) {
	d := &readCounter{Driver: inmemory.New(), bytes: map[string]int{}}
	f := start(t, d, "}", nil)
	large := `{"schemaVersion":2,"manifests":[],"x":"` + strings.Repeat("x", 3_000_000) + `"}`
	f.want(f.do("PUT", "/v2/r/manifests/large", strings.NewReader(large), "Content-Type", imageIndex), 201)
	clear(d.bytes)
	entry := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, imageIndex, digest.FromString(large), len(large))
	index := `{"schemaVersion":2,"manifests":[` + strings.Repeat(entry+",", 8000) + entry + `]}`
	f.want(f.do("PUT", "/v2/r/manifests/index", strings.NewReader(index), "Content-Type", imageIndex), 201)
	for key, n := range d.bytes {
		if strings.Contains(key, digest.FromString(large).Encoded()) && n > 64<<10 {
			t.Errorf("%d bytes of %s were read", n, key)
		}
	}
}

// A request that ends while its manifest is looked into stops that work.
func TestLookingForReferencesEndsWithItsRequest(t *testing.T) {
	f := open0(t)
	var named []string
	for i := range 1000 {
		named = append(named, fmt.Sprintf(`{"digest":%q,"size":1}`, digest.FromString(fmt.Sprint(i))))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := f.serveOnce(putRequest(ctx, "/v2/r/manifests/t", imageIndex, `{"schemaVersion":2,"manifests":[`+strings.Join(named, ",")+`]}`))
	if w.Code != statusClientClosed {
		t.Errorf("%d %.200s", w.Code, w.Body)
	}
}

func TestManifestsShareTheirMemory(t *testing.T) {
	f := open0(t)
	all := int64(max(manifestShare, manifestWeight*(f.config.HTTP.Limits.ManifestBytes+1)))
	small := `{"schemaVersion":2,"manifests":[]}`
	large := `{"schemaVersion":2,"manifests":[],"x":"` + strings.Repeat("x", 1_000_000) + `"}`
	for tag, manifest := range map[string]string{"small": small, "large": large} {
		f.want(f.do("PUT", "/v2/r/manifests/"+tag, strings.NewReader(manifest), "Content-Type", imageIndex), 201)
	}
	f.want(f.do("PUT", "/v2/r/manifests/x", strings.NewReader("{"), "Content-Type", imageIndex), 400)
	f.want(f.do("GET", "/v2/r/manifests/large", nil), 200, large)
	f.want(f.do("GET", "/v2/r/manifests/large", nil, "Range", "bytes=0-9"), 206)
	over := f.do("PUT", "/v2/r/manifests/x", io.MultiReader(strings.NewReader(`{"x":"`), io.LimitReader(zeroes{}, 5<<20)), "Content-Type", imageIndex)
	f.want(over, 413, "SIZE_INVALID")
	f.want(f.do("PUT", "/v2/r/manifests/x", strings.NewReader(strings.Repeat("x", 5<<20)), "Content-Type", imageIndex), 413, "SIZE_INVALID")
	// Everybody has given back what they took, so that all of it is there.
	for _, memory := range []*share.Pool{f.manifests.memory, f.manifests.pushes} {
		if !memory.TryAcquire("another", all) {
			t.Fatal("some of the memory was not given back")
		}
		if memory.TryAcquire("another", 1) {
			t.Fatal("there is more than there should be")
		}
	}
	// With nothing left, small ones are fetched and pushed all the same, and who goes away waits no longer.
	f.want(f.do("GET", "/v2/r/manifests/small", nil), 200, small)
	f.want(f.do("PUT", "/v2/r/manifests/another", strings.NewReader(small), "Content-Type", imageIndex), 201)
	f.want(f.do("HEAD", "/v2/r/manifests/large", nil), 200)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if w := f.serveOnce(putRequest(ctx, "/v2/r/manifests/x", imageIndex, large)); w.Code != statusClientClosed {
		t.Errorf("a client that went: %d", w.Code)
	}
	// Two that wait go on when there is room again.
	var group sync.WaitGroup
	for _, r := range []*http.Request{
		putRequest(t.Context(), "/v2/r/manifests/again", imageIndex, large),
		httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2/r/manifests/large", nil),
	} {
		group.Go(func() {
			if w := f.serveOnce(r); w.Code/100 != 2 {
				t.Errorf("%s: %d %.200s", r.Method, w.Code, w.Body)
			}
		})
	}
	f.manifests.memory.Release("another", all)
	f.manifests.pushes.Release("another", all)
	group.Wait()
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Who announces a large manifest and sends little of it keeps little from others.
func TestMemoryIsSetAsideAsAManifestComes(t *testing.T) {
	s := open0(t).Server
	reader, writer := io.Pipe()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/", reader)
	r.ContentLength = 4 << 20
	read := make(chan error)
	go func() {
		_, _, err := s.readManifest(httptest.NewRecorder(), &request{Request: r})
		read <- err
	}()
	if _, err := writer.Write([]byte("{")); err != nil {
		t.Fatal(err)
	}
	if !s.manifests.pushes.TryAcquire("another", manifestShare-64<<10) {
		t.Error("one byte holds more than 64 KiB")
	}
	writer.CloseWithError(io.ErrUnexpectedEOF)
	if err := <-read; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// from is a request from an address.
func from(t *testing.T, last byte) *request {
	return &request{Request: httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), client: clientip.Client{Addr: netip.AddrFrom4([4]byte{192, 0, 2, last})}}
}

func TestMemoryIsNotWaitedForWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := newManifestBudget(1 << 20)
		if err := acquire(from(t, 1), budget.memory, manifestShare, memoryTaken); err != nil {
			t.Fatal(err)
		}
		var refused *apiError
		if err := acquire(from(t, 2), budget.memory, 1, memoryTaken); !errors.As(err, &refused) || refused.code != codeTooMany {
			t.Error(err)
		}
		time.AfterFunc(placeWait/2, func() { budget.memory.Release(from(t, 1).holder(), manifestShare) })
		if err := acquire(from(t, 2), budget.memory, 1, memoryTaken); err != nil {
			t.Errorf("there was room in time: %v", err)
		}
	})
}

// The largest manifest that the configuration allows fits in, whatever else does.
func TestTheLargestManifestFits(t *testing.T) {
	f := start(t, inmemory.New(), "}\nhttp: {limits: {manifestbytes: 33554432}}\n", nil)
	manifest := append([]byte(`{"schemaVersion":2,"manifests":[],"x":"`), bytes.Repeat([]byte("x"), 33_000_000)...)
	f.want(f.do("PUT", "/v2/r/manifests/t", bytes.NewReader(append(manifest, `"}`...)), "Content-Type", imageIndex), 201)
}

// A manifest that lacks very much is answered with some of that, in few bytes, and not all of it is looked for.
func TestWhatIsMissingIsBounded(t *testing.T) {
	d := &readCounter{Driver: inmemory.New(), bytes: map[string]int{}}
	f := start(t, d, "}", nil)
	var named []string
	for i := range 3000 {
		named = append(named, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1,"annotations":{"a":%q}}`, imageIndex, digest.FromString(fmt.Sprint(i)), strings.Repeat("x", 1000)))
	}
	index := `{"schemaVersion":2,"manifests":[` + strings.Join(named, ",") + `]}`
	r := f.do("PUT", "/v2/r/manifests/t", strings.NewReader(index), "Content-Type", imageIndex)
	if r.StatusCode != http.StatusNotFound {
		t.Fatal(r.Status)
	}
	body := text(r)
	if !strings.Contains(body, digest.FromString("0").String()) || !strings.Contains(body, "MANIFEST_BLOB_UNKNOWN") || len(body) > 64<<10 {
		t.Errorf("%d bytes: %.300s", len(body), body)
	}
	if opened := d.opened.Load(); opened > 200 {
		t.Errorf("%d objects were looked for", opened)
	}
	// Where what is missing is accepted all of it is looked for.
	lenient := start(t, inmemory.New(), "}\nmanifests: {missing: accept}", nil)
	lenient.want(lenient.do("PUT", "/v2/r/manifests/t", strings.NewReader(index), "Content-Type", imageIndex), 201)
}

// What is wrong with a manifest is said without repeating all of it.
func TestWhatIsWrongWithAManifestIsShort(t *testing.T) {
	f := open0(t)
	long := strings.Repeat("\x7f", 1_000_000)
	for name, manifest := range map[string]string{
		"digest":         fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"digest":"%s"}]}`, long),
		"subject":        fmt.Sprintf(`{"schemaVersion":2,"manifests":[],"subject":{"digest":"%s"}}`, long),
		"media type":     fmt.Sprintf(`{"schemaVersion":2,"manifests":[],"mediaType":"%s"}`, long),
		"schema version": fmt.Sprintf(`{"schemaVersion":%s,"manifests":[]}`, strings.Repeat("1", 1_000_000)),
		"key":            fmt.Sprintf(`{"%s":1,"%[1]s":1}`, long),
		"size":           fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"size":"%s"}]}`, long),
	} {
		t.Run(name, func(t *testing.T) {
			for _, mediaType := range []string{imageIndex, ""} {
				r := f.do("PUT", "/v2/r/manifests/t", strings.NewReader(manifest), "Content-Type", mediaType)
				if body := text(r); r.StatusCode != http.StatusBadRequest || len(body) > 4<<10 {
					t.Errorf("as %q: %s, %d bytes: %.200s", mediaType, r.Status, len(body), body)
				}
			}
		})
	}
}

// A large manifest is read once memory is set aside for it, and not before: who waits for memory takes none. What needs no content reads none.
func TestLargeManifestsAreNotReadWithoutMemory(t *testing.T) {
	d := &readCounter{Driver: inmemory.New(), bytes: map[string]int{}}
	f := start(t, d, "}", nil)
	manifest := annotated(f.packManifest("big", "1.0.0", nil))
	f.want(f.putManifest("/v1/big/manifests/1.0.0", manifest), 201)
	named := digest.FromString(manifest).String()
	repository := "/v2/spectro-packs/archive/big/"
	all := int64(max(manifestShare, manifestWeight*(f.config.HTTP.Limits.ManifestBytes+1)))
	if !f.manifests.memory.TryAcquire("another", all) {
		t.Fatal("not all of the memory is free")
	}
	clear(d.bytes)
	var group sync.WaitGroup
	for _, request := range [][2]string{
		{"GET", "/v1/big/manifests/1.x"},
		{"GET", repository + "manifests/1.0.0"},
		{"GET", repository + "manifests/" + named},
		{"DELETE", repository + "manifests/" + named},
	} {
		group.Go(func() {
			f.want(f.do(request[0], request[1], nil), http.StatusTooManyRequests, "TOOMANYREQUESTS")
		})
	}
	group.Wait()
	f.want(f.do("GET", repository+"tags/list", nil), 200, "1.0.0")
	f.want(f.do("PUT", repository+"manifests/1.0.0", strings.NewReader("{}"), "Content-Type", imageIndex), 400)
	f.want(f.putManifest("/v1/big/manifests/1.0.0", f.packManifest("big", "1.0.0", map[string]string{"more": "x"})), http.StatusConflict)
	f.want(f.do("DELETE", repository+"manifests/1.0.0", nil), 202)
	if n := f.manifestReads(d, manifest); n > 256<<10 {
		t.Errorf("%d bytes of a manifest of %d were read without memory set aside", n, len(manifest))
	}
	f.manifests.memory.Release("another", all)
	f.want(f.do("GET", repository+"manifests/"+named, nil), 200, manifest)
	f.want(f.do("DELETE", repository+"manifests/"+named, nil), 202)
	if !f.manifests.memory.TryAcquire("another", all) {
		t.Error("some of the memory was not given back")
	}
}
