package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/internal/health"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver/filesystem"
)

// location begins an upload and returns where it goes on.
func location(t *testing.T, base string) string {
	t.Helper()
	r, err := http.Post(base+"/v2/r/blobs/uploads/", "", nil) //nolint:noctx // a server of ours
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	return r.Header.Get("Location")
}

// Who asks for much and reads nothing does not hold a connection for ever; who reads slowly gets everything.
func TestReaders(t *testing.T) {
	addr, _, _ := run(t, "http: {addr: '127.0.0.1:0', limits: {stalltimeout: 500ms}, debug: {addr: '127.0.0.1:0'}}\n")
	content := bytes.Repeat([]byte("0123456789abcdef"), 2<<20) // 32 MiB: more than the sockets hold
	d := digest.FromBytes(content)
	r, err := http.Post("http://"+addr+"/v2/r/blobs/uploads/?digest="+d.String(), "", bytes.NewReader(content)) //nolint:noctx // a server of ours
	if err != nil || r.StatusCode != http.StatusCreated {
		t.Fatal(r, err)
	}
	r.Body.Close()
	get := "GET /v2/r/blobs/" + d.String() + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	idle := dial(t, addr, get)
	slow := dial(t, addr, get)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var received int
	buffer := make([]byte, 1<<20)
	for {
		<-tick.C
		n, err := slow.Read(buffer)
		received += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the slow reader was cut off after %d bytes: %v", received, err)
		}
	}
	if received < len(content) {
		t.Errorf("the slow reader got %d bytes of %d", received, len(content))
	}
	idle.SetReadDeadline(time.Now().Add(10 * time.Second)) //nolint:errcheck // the read below tells
	got, err := io.ReadAll(idle)
	if errors.Is(err, os.ErrDeadlineExceeded) || len(got) >= len(content) {
		t.Errorf("the idle reader still held %d bytes' worth: %v", len(got), err)
	}
}

func TestLimits(t *testing.T) {
	addr, _, _ := run(t, "http: {addr: '127.0.0.1:0', limits: {uploads: 4, manifestbytes: 1000, headerbytes: 8192}}\n")
	base := "http://" + addr
	var open []net.Conn
	for range 2 {
		c := dial(t, addr, "PATCH "+location(t, base)+" HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
		// The handler has its place once it asks for the body.
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
			t.Fatalf("%q, %v", line, err)
		}
		open = append(open, c)
	}
	put := func() *http.Response {
		r, err := http.Post(base+"/v2/r/blobs/uploads/?digest="+digest.FromString("x").String(), "", strings.NewReader("x")) //nolint:noctx // a server of ours
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		return r
	}
	if r := put(); r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" {
		t.Errorf("the third upload is not refused: %s", r.Status)
	}
	for _, c := range open {
		io.WriteString(c, "0123456789") //nolint:errcheck // the next line tells
	}
	testserver.Eventually(t, "there is room again", 10*time.Second, func() bool { return put().StatusCode == http.StatusCreated })

	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, base+"/v2/r/manifests/x", strings.NewReader(strings.Repeat(" ", 1001)))
	if err != nil {
		t.Fatal(err)
	}
	large, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	large.Body.Close()
	if large.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a manifest that is too large: %s", large.Status)
	}
	r.Header.Set("X-Large", strings.Repeat("x", 16<<10))
	r.Body = http.NoBody
	if large, err = http.DefaultClient.Do(r); err != nil || large.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Fatalf("headers that are too large: %v, %v", large, err)
	}
	large.Body.Close()
}

func TestPushesStopBeforeTheStorageIsFull(t *testing.T) {
	dir := t.TempDir()
	text := "version: 0.1\nstorage: {filesystem: {rootdirectory: " + dir + ", minfree: %d}}\n"
	f, _ := serve(t, fmt.Sprintf(text, 1))
	d := f.pushBlob("r", "content")
	full, log := serve(t, fmt.Sprintf(text, int64(1)<<62))
	for range 3 {
		full.want(full.do("POST", "/v2/r/blobs/uploads/", nil), 507, "INSUFFICIENT_STORAGE", "nearly full")
	}
	if n := strings.Count(log.String(), "nearly full"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	full.want(full.do("GET", "/v2/r/blobs/"+d.String(), nil), 200, "content")
	full.want(full.do("DELETE", "/v2/r/blobs/"+d.String(), nil), 202)
	full.want(full.do("GET", "/health", nil), 200)
	w := httptest.NewRecorder()
	full.health.Handler(nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/status", nil))
	var status health.Status
	if err := json.Unmarshal(w.Body.Bytes(), &status); err != nil || status.Storage.Size == 0 || status.Storage.Free > status.Storage.Size {
		t.Errorf("%s, %v", w.Body, err)
	}
	// What would not fit is refused before it is sent.
	free, _, ok := f.store.Space(t.Context())
	if !ok {
		t.Fatal("a file system that does not know its size")
	}
	c := dial(t, strings.TrimPrefix(f.url, "http://"), fmt.Sprintf("PATCH %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n", location(t, f.url), free+1<<30))
	answer, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(answer), "507") || !strings.Contains(string(answer), "do not fit") {
		t.Errorf("%q, %v", answer, err)
	}
}

// A volume that is really full: what is in the way fails cleanly, and what fits goes on.
func TestAFullVolumeFailsCleanly(t *testing.T) {
	f, _ := serve(t, "version: 0.1\nstorage: {filesystem: {rootdirectory: "+testserver.SmallVolume(t, 16).Dir+", minfree: 1}}\n")
	large := strings.Repeat("x", 20<<20)
	chunked := struct{ io.Reader }{strings.NewReader(large)} // no length, so nobody can tell before
	path := location(t, f.url)
	f.want(f.do("PUT", path+"?digest="+digest.FromString(large).String(), chunked), 507, "INSUFFICIENT_STORAGE")
	f.want(f.do("DELETE", path, nil), 204)
	f.want(f.do("HEAD", "/v2/r/blobs/"+digest.FromString(large).String(), nil), 404)
	small := strings.Repeat("y", 8<<20)
	d := f.pushBlob("r", small)
	f.want(f.do("GET", "/v2/r/blobs/"+d.String(), nil), 200)
}

func TestAbsoluteLocations(t *testing.T) {
	f, _ := serve(t, "version: 0.1\nstorage: inmemory\nhttp: {relativeurls: false, trustedproxies: [127.0.0.1]}\n")
	if got := f.do("POST", "/v2/r/blobs/uploads/", nil).Header.Get("Location"); !strings.HasPrefix(got, f.url+"/v2/r/blobs/uploads/") {
		t.Errorf("Location %s", got)
	}
	got := f.do("POST", "/v2/r/blobs/uploads/", nil, "X-Forwarded-For", "198.51.100.7",
		"X-Forwarded-Proto", "https", "X-Forwarded-Host", "packs.example.com:8443").Header.Get("Location")
	if !strings.HasPrefix(got, "https://packs.example.com:8443/v2/r/blobs/uploads/") {
		t.Errorf("behind a proxy: Location %s", got)
	}
}

func TestManifestsThatNameWhatIsMissing(t *testing.T) {
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"a/b","digest":%q,"size":2},"layers":[]}`, imageManifest, digest.FromString("{}"))
	for mode, want := range map[string]int{"refuse": 404, "accept": 201} {
		f, _ := serve(t, "version: 0.1\nstorage: inmemory\nmanifests: {missing: "+mode+"}\n")
		f.want(f.putManifest("/v2/r/manifests/v1", manifest), want)
	}
}

// A storage that fails shows where probes look, and is noticed when it is back.
func TestStorageThatFails(t *testing.T) {
	s3 := testserver.StartS3(t)
	p := testserver.StartProxy(t, s3.Endpoint)
	f, _ := serve(t, fmt.Sprintf("version: 0.1\nstorage: {s3: {bucket: %s, regionendpoint: %q, accesskey: %s, secretkey: %s}}\nhealth: {storagedriver: {threshold: 1}}\n", s3.Bucket(t), p.Endpoint, s3.AccessKey, s3.SecretKey))
	f.health.Check(t.Context())
	f.want(f.do("GET", "/health", nil), 200, `{"status":"UP"}`)
	p.Inject(func(*http.Request) testserver.Fault { return testserver.Hang })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f.health.Check(ctx)
	f.want(f.do("GET", "/health", nil), 503, `"DOWN"`, `"storage":"failing"`)
	w := httptest.NewRecorder()
	f.health.Handler(nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if w.Code != 503 {
		t.Errorf("/readyz: %d", w.Code)
	}
	p.Inject(func(*http.Request) testserver.Fault { return testserver.None })
	f.health.Check(ctx)
	f.want(f.do("GET", "/health", nil), 200)
}

func TestPurgingOfAbandonedUploads(t *testing.T) {
	d, err := filesystem.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	u, err := s.Repository("r").NewUpload(digest.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Append(t.Context(), strings.NewReader("half")); err != nil {
		t.Fatal(err)
	}
	var log lockedLog
	c := parseConfig(t, "version: 0.1\nstorage: {inmemory: {}, maintenance: {uploadpurging: {age: 1ns, interval: 10ms}}}\n")
	server := New(c, s, nil, slog.New(slog.NewTextHandler(&log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { server.jobs().PurgeUploads(ctx, c.Storage.Maintenance.UploadPurging) })
	testserver.Eventually(t, "the upload is purged", 10*time.Second, func() bool { return log.says("purged abandoned uploads") })
	cancel()
	group.Wait()
	if _, err := s.Repository("r").Upload(t.Context(), u.ID()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// Garbage goes by itself, while the server serves.
func TestGarbageIsCollected(t *testing.T) {
	f, log := serve(t, "version: 0.1\nstorage: {inmemory: {}, maintenance: {garbagecollection: {interval: 20ms, grace: 40ms, keepuntagged: 40ms}}}\n")
	garbage, kept := f.pushBlob("r", "garbage"), f.pushBlob("r", "{}")
	f.want(f.putManifest("/v2/r/manifests/v1", fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"a/b","digest":%q,"size":2},"layers":[]}`, imageManifest, kept)), 201)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { f.jobs().CollectGarbage(ctx, f.config.Storage.Maintenance.GarbageCollection) })
	testserver.Eventually(t, "the bytes are gone", 10*time.Second, func() bool {
		return strings.Contains(testserver.Scrape(t, f.metrics.Handler()), `packregistry_gc_removed_total{what="blobs"} 1`)
	})
	cancel()
	group.Wait()
	f.want(f.do("GET", "/v2/r/blobs/"+garbage.String(), nil), 404)
	f.want(f.do("GET", "/v2/r/blobs/"+kept.String(), nil), 200)
	if got := testserver.Scrape(t, f.metrics.Handler()); !strings.Contains(got, "packregistry_gc_freed_bytes_total 7") || !strings.Contains(got, `packregistry_gc_removed_total{what="links"} 1`) {
		t.Errorf("metrics: %s", got)
	}
	if !log.says("collected garbage") || !log.says("bytes=7") {
		t.Errorf("log: %s", log.String())
	}
	f.pushBlob("r", "garbage")
	f.want(f.do("GET", "/v2/r/blobs/"+garbage.String(), nil), 200, "garbage")
}

// A read-only registry serves a volume that cannot be written to, and makes no call to a bucket that writes.
func TestReadOnlyStorage(t *testing.T) {
	s3 := testserver.StartS3(t)
	proxy := testserver.StartProxy(t, s3.Endpoint)
	dir := t.TempDir()
	for name, storage := range map[string]string{
		"filesystem": "filesystem: {rootdirectory: " + dir + "}",
		"s3":         fmt.Sprintf("s3: {bucket: %s, regionendpoint: %q, accesskey: %s, secretkey: %s}", s3.Bucket(t), proxy.Endpoint, s3.AccessKey, s3.SecretKey),
	} {
		t.Run(name, func(t *testing.T) {
			proxy.Inject(func(*http.Request) testserver.Fault { return testserver.None })
			f, _ := serve(t, "version: 0.1\nstorage: {"+storage+"}\n")
			d := f.pushBlob("r", "content")
			if name == "filesystem" {
				if err := syscall.Mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
					testserver.Missing(t, "mounting a volume read-only needs root on Linux: %v", err)
				}
				t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) }) //nolint:errcheck // gone with the machine
				if err := syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
					t.Fatal(err)
				}
			}
			proxy.Inject(func(r *http.Request) testserver.Fault {
				if r.Method != http.MethodGet && r.Method != http.MethodHead {
					t.Errorf("%s %s", r.Method, r.URL)
					return testserver.Unimplemented
				}
				return testserver.None
			})
			f, _ = serve(t, "version: 0.1\nstorage: {"+storage+", maintenance: {readonly: {enabled: true}}}\n")
			f.want(f.do("GET", "/v2/r/blobs/"+d.String(), nil), 200, "content")
			f.want(f.do("HEAD", "/v2/r/blobs/"+d.String(), nil), 200)
			f.want(f.do("GET", "/v2/_catalog", nil), 200)
			f.want(f.do("POST", "/v2/r/blobs/uploads/", nil), 405, "read-only")
			f.want(f.do("DELETE", "/v2/r/blobs/"+d.String(), nil), 405)
		})
	}
}

func TestJSONErrorsAreValid(t *testing.T) {
	f := open0(t)
	for _, path := range []string{"/v2/r/blobs/sha256:x", "/v2/%22/tags/list", "/nowhere"} {
		var body struct {
			Errors []struct{ Code, Message string }
		}
		if err := json.Unmarshal([]byte(text(f.do("GET", path, nil))), &body); err != nil || len(body.Errors) != 1 || body.Errors[0].Code == "" {
			t.Errorf("%s: %+v, %v", path, body, err)
		}
	}
}

// Clients are sent to the storage for content where it can answer them; host and port as in the documents.
func TestRedirects(t *testing.T) {
	s3 := testserver.StartS3(t)
	public := testserver.StartProxy(t, s3.Endpoint)
	text := fmt.Sprintf(`
version: 0.1
storage:
  cache: {blobdescriptor: inmemory}
  s3:
    region: us-east-1
    bucket: %s
    rootdirectory: /registry
    encrypt: "false"
    secure: "false"
    accesskey: %s
    secretkey: %s
    host: 127.0.0.1
    port: %d
`, s3.Bucket(t), s3.AccessKey, s3.SecretKey, testserver.Port(t, s3.Addr))
	plain, _ := serve(t, text)
	d := plain.pushBlob("r", "content")
	plain.want(plain.do("GET", "/v2/r/blobs/"+d.String(), nil), 200, "content")
	noFollow := func(f *fixture, path string) *http.Response {
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		r, err := client.Get(f.url + path) //nolint:noctx // a server of ours
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		return r
	}
	if r := noFollow(plain, "/v2/r/blobs/"+d.String()); r.StatusCode != http.StatusOK {
		t.Errorf("an endpoint that is not AWS is no place to send clients to unless it is said: %s", r.Status)
	}
	redirecting, _ := serve(t, text+"    redirectendpoint: "+public.Endpoint+"\n")
	r := noFollow(redirecting, "/v2/r/blobs/"+d.String())
	if r.StatusCode != http.StatusTemporaryRedirect || !strings.HasPrefix(r.Header.Get("Location"), public.Endpoint) || r.Header.Get("Docker-Content-Digest") != d.String() {
		t.Fatalf("%s to %s", r.Status, r.Header.Get("Location"))
	}
	redirecting.want(redirecting.do("GET", "/v2/r/blobs/"+d.String(), nil), 200, "content")
	redirecting.want(redirecting.do("GET", "/v2/r/blobs/"+d.String(), nil, "Range", "bytes=3-"), 206, "tent")
	redirecting.want(redirecting.do("HEAD", "/v2/r/blobs/"+d.String(), nil), 200)
	redirecting.want(redirecting.do("GET", "/v2/other/blobs/"+d.String(), nil), 404)
	// What is to be shown as an image or not at all is served from here, with the headers that keep it harmless.
	if r := noFollow(redirecting, "/v2/r/blobs/"+d.String()+"?type=text/html"); r.StatusCode != http.StatusOK || r.Header.Get("Content-Disposition") != "attachment" {
		t.Errorf("?type=: %s", r.Status)
	}
	off, _ := serve(t, text+"    redirectendpoint: "+public.Endpoint+"\n  redirect: {disable: true}\n")
	if r := noFollow(off, "/v2/r/blobs/"+d.String()); r.StatusCode != http.StatusOK {
		t.Errorf("though redirects are turned off: %s", r.Status)
	}
}
