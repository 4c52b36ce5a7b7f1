package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// countingDriver counts the names that lists return.
type countingDriver struct {
	driver.Driver
	listed atomic.Int64
}

func (d *countingDriver) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	names, err := d.Driver.List(ctx, prefix, after, limit)
	d.listed.Add(int64(len(names)))
	return names, err
}

var nextLink = regexp.MustCompile(`^<([^>]*)>; *rel="next"`)

// Who may see few of many repositories gets short pages that lead on to all of them. No page takes more work than another,
// none shows what is hidden, and replicas understand each other's links.
func TestACatalogOfFewVisibleRepositories(t *testing.T) {
	d := &countingDriver{Driver: inmemory.New()}
	all := start(t, d, "}", nil)
	const index = "application/vnd.oci.image.index.v1+json"
	push := func(name string) {
		r := httptest.NewRequest(http.MethodPut, "/v2/"+name+"/manifests/v1", strings.NewReader(`{"schemaVersion":2,"mediaType":"`+index+`","manifests":[]}`))
		r.Header.Set("Content-Type", index)
		w := httptest.NewRecorder()
		if all.ServeHTTP(w, r); w.Code != http.StatusCreated {
			t.Fatalf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	for i := range 2*maxNamesRead + 10 {
		push(fmt.Sprintf("secret/%06d", i))
	}
	visible := []string{"team/a", "team/b", "team/c"}
	for _, name := range visible {
		push(name)
	}
	rules := "}\nauth: {access: {rules: [{anonymous: true, repositories: 'team/**', actions: pull}]}}\n"
	replicas := []*fixture{start(t, d, rules, nil), start(t, d, rules, nil)}
	var found []string
	pages := 0
	for path := "/v2/_catalog?n=2"; path != ""; pages++ {
		if pages > 10 {
			t.Fatal("there is no end")
		}
		before := d.listed.Load()
		r := replicas[pages%2].do("GET", path, nil)
		if r.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", path, r.Status)
		}
		if n := d.listed.Load() - before; n > maxNamesRead {
			t.Errorf("%s: %d names were read", path, n)
		}
		var page struct{ Repositories []string }
		if err := json.Unmarshal([]byte(text(r)), &page); err != nil {
			t.Fatal(err)
		}
		if page.Repositories == nil {
			t.Errorf("%s: repositories is no list", path)
		}
		found = append(found, page.Repositories...)
		link := r.Header.Get("Link")
		if strings.Contains(link, "secret") {
			t.Errorf("%s: the link shows what is hidden: %s", path, link)
		}
		path = ""
		if m := nextLink.FindStringSubmatch(link); m != nil {
			path = m[1]
		}
	}
	if !slices.Equal(found, visible) || pages < 3 {
		t.Errorf("%v on %d pages", found, pages)
	}
	for _, next := range []string{"x", "AAAA", strings.Repeat("A", 64)} {
		replicas[0].want(replicas[0].do("GET", "/v2/_catalog?next="+next, nil), 400, "PAGINATION_NUMBER_INVALID")
	}
}

// A client that hangs up while it sends is none that sent nonsense, in the metrics and in the log.
func TestAClientThatHangsUpIsCountedAsSuch(t *testing.T) {
	f, log := serve(t, "version: 0.1\nstorage: inmemory\n")
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://")) //nolint:noctx // to a server of the test
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "PUT /v2/r/manifests/v1 HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n{", imageManifest); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	testserver.Eventually(t, "the request is logged", 10*time.Second, func() bool { return log.says("msg=request") })
	if !log.says("status=499") {
		t.Errorf("log: %s", log)
	}
	w := httptest.NewRecorder()
	f.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if body := w.Body.String(); !strings.Contains(body, `code="499",method="PUT"`) || strings.Contains(body, `code="400"`) {
		t.Errorf("metrics: %s", body)
	}
	// A client that stays and sends nonsense is told so.
	f.want(f.do("PUT", "/v2/r/manifests/v1", strings.NewReader("{"), "Content-Type", imageManifest), 400)
}

// An error of the storage that looks like a client's is the server's own.
func TestAStorageThatBreaksOffIsNoClientThatHungUp(t *testing.T) {
	f := open0(t)
	for _, err := range []error{context.Canceled, fmt.Errorf("read: %w", &net.OpError{Op: "read", Err: errors.New("reset")})} {
		w := httptest.NewRecorder()
		r := &request{Request: httptest.NewRequest(http.MethodGet, "/", nil)}
		f.render(&recorder{ResponseWriter: w}, r, &incoming{}, err)
		if w.Code != http.StatusInternalServerError {
			t.Errorf("%v: %d", err, w.Code)
		}
	}
}

func TestFewUnpackAtOnce(t *testing.T) {
	f := open0(t)
	f.putManifest("/v1/demo/manifests/1.0.0", f.packManifest("demo", "1.0.0", nil))
	for range cap(f.unpacks) {
		f.unpacks <- struct{}{}
	}
	// One that waits while all places are taken gives up with its client, or goes on when a place is free.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/demo/files/1.0.0/", nil))
	if w.Code != statusClientClosed {
		t.Errorf("a client that went: %d", w.Code)
	}
	<-f.unpacks
	for range 3 { // each gives its place back
		f.want(f.do("GET", "/v1/demo/files/1.0.0/", nil), 200, "pack.json")
		f.want(f.do("GET", "/v1/demo/files/1.0.0/none", nil), 404)
	}
	if len(f.unpacks) != cap(f.unpacks)-1 {
		t.Errorf("%d of %d places are taken", len(f.unpacks), cap(f.unpacks))
	}
}

func TestUnpackingIsNotWaitedForWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{unpacks: make(chan struct{}, 1)}
		done, err := s.unpackSlot(t.Context(), httptest.NewRecorder())
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		var refused *apiError
		if _, err := s.unpackSlot(t.Context(), w); !errors.As(err, &refused) || refused.code != codeTooMany || w.Header().Get("Retry-After") == "" {
			t.Errorf("%v, %v", err, w.Header())
		}
		time.AfterFunc(placeWait/2, done)
		if _, err := s.unpackSlot(t.Context(), w); err != nil {
			t.Errorf("a place was free in time: %v", err)
		}
	})
}
