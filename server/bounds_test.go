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

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/internal/share"
	"packregistry.dev/server/internal/transfer"
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
	// A client that stays and sends nonsense gets an error.
	f.want(f.do("PUT", "/v2/r/manifests/v1", strings.NewReader("{"), "Content-Type", imageManifest), 400)
}

// An error of the storage that looks like a client's is the server's own.
func TestAStorageThatBreaksOffIsNoClientThatHungUp(t *testing.T) {
	f := open0(t)
	for _, err := range []error{context.Canceled, fmt.Errorf("read: %w", &net.OpError{Op: "read", Err: errors.New("reset")})} {
		w := httptest.NewRecorder()
		r := &request{Request: httptest.NewRequest(http.MethodGet, "/", nil)}
		f.render(&transfer.Writer{ResponseWriter: w}, r, &transfer.Body{}, err)
		if w.Code != http.StatusInternalServerError {
			t.Errorf("%v: %d", err, w.Code)
		}
	}
}

func TestFewUnpackAtOnce(t *testing.T) {
	f := open0(t)
	f.putManifest("/v1/demo/manifests/1.0.0", f.packManifest("demo", "1.0.0", nil))
	all := f.unpacks.Size()
	if !f.unpacks.TryAcquire("another", all) || !f.validations.TryAcquire("another", f.validations.Size()) {
		t.Fatal("not all places are free")
	}
	// One that waits while all places are taken gives up with its client, or goes on when a place is free.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/demo/files/1.0.0/pack.json", nil))
	if w.Code != statusClientClosed {
		t.Errorf("a client that went: %d", w.Code)
	}
	w = httptest.NewRecorder()
	f.ServeHTTP(w, putRequest(ctx, "/v1/other/manifests/1.0.0", imageManifest, f.packManifest("other", "1.0.0", nil)))
	if w.Code != statusClientClosed {
		t.Errorf("a client that went while its pack was to be checked: %d", w.Code)
	}
	f.unpacks.Release("another", 1)
	for range 3 { // each gives its place back
		f.want(f.do("GET", "/v1/demo/files/1.0.0/pack.json", nil), 200, `"name"`)
	}
	if f.unpacks.Taken() != all-1 {
		t.Errorf("%d of %d places are taken", f.unpacks.Taken(), all)
	}
}

func TestUnpackingIsNotWaitedForWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unpacks := share.New(1, 1)
		done, err := place(from(t, 1), unpacks, "x")
		if err != nil {
			t.Fatal(err)
		}
		var refused *apiError
		if _, err := place(from(t, 2), unpacks, "x"); !errors.As(err, &refused) || refused.code != codeTooMany {
			t.Error(err)
		}
		time.AfterFunc(placeWait/2, done)
		if _, err := place(from(t, 2), unpacks, "x"); err != nil {
			t.Errorf("a place was free in time: %v", err)
		}
	})
}

// One user who begins uploads and sends nothing takes no more than a share of the places, from however many addresses, and so does one
// address without users: others push meanwhile. The same holds for manifests, and for the memory that they take.
func TestWhoDripsLeavesRoomForOthers(t *testing.T) {
	for name, auth := range map[string]string{
		"users":     "auth: {htpasswd: {path: " + usersFile(t, "mal", "ann") + "}}\n",
		"addresses": "",
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := serve(t, "version: 0.1\nstorage: inmemory\nhttp: {trustedproxies: 127.0.0.1, limits: {uploads: 8}}\n"+auth)
			drip := func(i int, method, path string, size int, sent string) {
				from := "X-Forwarded-For: 198.51.100.7\r\n"
				if auth != "" {
					from = fmt.Sprintf("X-Forwarded-For: 198.51.100.%d\r\nAuthorization: %s\r\n", i, basic("mal")[1])
				}
				conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://")) //nolint:noctx // to a server of the test
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n%s", method, path, imageIndex, from, size, sent); err != nil {
					t.Fatal(err)
				}
			}
			most := strings.Repeat(" ", 3<<20)
			for i := range 30 {
				drip(i, "POST", "/v2/mal/blobs/uploads/?digest=sha256:"+strings.Repeat("0", 64), 100, "x")
				if i < 8 {
					drip(i, "PUT", "/v2/mal/manifests/x", len(most)+1, most)
				}
			}
			testserver.Eventually(t, "the share is taken", 30*time.Second, func() bool {
				return f.uploads.Taken() == 3 && f.manifests.pushes.Taken() >= manifestShare*3/8
			})
			others := []string{"X-Forwarded-For", "203.0.113.9", "Content-Type", imageIndex}
			if auth != "" {
				others = append(others, basic("ann")...)
			}
			for range 3 {
				d := digest.FromString("content").String()
				f.want(f.do("POST", "/v2/ann/blobs/uploads/?digest="+d, strings.NewReader("content"), others...), 201)
				f.want(f.do("PUT", "/v2/ann/manifests/v1", strings.NewReader(`{"schemaVersion":2,"manifests":[]}`), others...), 201)
			}
			if f.uploads.Taken() != 3 {
				t.Errorf("%d places are taken", f.uploads.Taken())
			}
		})
	}
}
