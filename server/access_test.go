package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/bcrypt"

	"packregistry.dev/server/config"
)

// serve serves a configuration as the program does.
func serve(t *testing.T, text string) (*fixture, *lockedLog) {
	t.Helper()
	c, _, err := config.Parse([]byte(text), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var log lockedLog
	s, err := Open(t.Context(), c, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	return &fixture{t, h.URL, s}, &log
}

// usersFile writes users whose passwords are their names.
func usersFile(t testing.TB, names ...string) string {
	t.Helper()
	var lines strings.Builder
	for _, name := range names {
		hash, err := bcrypt.GenerateFromPassword([]byte(name), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%s:%s\n", name, hash)
	}
	path := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(path, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// as returns the header of a user whose password is the name.
func basic(user string) []string {
	if user == "" {
		return nil
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.SetBasicAuth(user, user)
	return []string{"Authorization", r.Header.Get("Authorization")}
}

func TestAccess(t *testing.T) {
	f, log := serve(t, `
version: 0.1
storage: inmemory
auth:
  htpasswd: {path: `+usersFile(t, "ann", "bob", "console")+`}
  access:
    readonlyusers: console
    rules:
    - {users: ann, repositories: "team-a/**", actions: [pull, push, delete]}
    - {users: [bob, console], repositories: "**", actions: [pull, push]}
    - {anonymous: true, repositories: "public/*", actions: pull}
`)
	push := func(user, name string) int {
		return f.do("POST", "/v2/"+name+"/blobs/uploads/", nil, basic(user)...).StatusCode
	}
	for _, tt := range []struct {
		user, name string
		want       int
	}{
		{"ann", "team-a/x", 202}, {"ann", "team-b/x", 403}, {"bob", "team-b/x", 202}, {"console", "team-b/x", 403}, {"", "public/x", 401}, {"", "team-a/x", 401},
	} {
		if got := push(tt.user, tt.name); got != tt.want {
			t.Errorf("%q pushes to %s: %d, want %d", tt.user, tt.name, got, tt.want)
		}
	}
	for _, name := range []string{"team-a/x", "team-b/x", "public/x"} {
		d := f.pushBlobAs("bob", name, "{}")
		f.want(f.do("PUT", "/v2/"+name+"/manifests/v1", strings.NewReader(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"a/b","digest":%q,"size":2},"layers":[]}`, imageManifest, d)),
			append(basic("bob"), "Content-Type", imageManifest)...), 201)
	}
	for _, tt := range []struct {
		user string
		want []string
	}{
		{"ann", []string{"public/x", "team-a/x"}}, {"bob", []string{"public/x", "team-a/x", "team-b/x"}}, {"console", []string{"public/x", "team-a/x", "team-b/x"}}, {"", []string{"public/x"}},
	} {
		var got struct{ Repositories []string }
		if err := json.Unmarshal([]byte(text(f.do("GET", "/v2/_catalog", nil, basic(tt.user)...))), &got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Repositories, tt.want) {
			t.Errorf("%q sees %v, want %v", tt.user, got.Repositories, tt.want)
		}
	}
	// Page by page, though what is hidden lies between.
	first := f.do("GET", "/v2/_catalog?n=1", nil, basic("ann")...)
	f.want(first, 200, "public/x")
	f.want(f.do("GET", strings.Trim(strings.Split(first.Header.Get("Link"), ";")[0], "<>"), nil, basic("ann")...), 200, "team-a/x")

	f.want(f.do("GET", "/v2/public/x/manifests/v1", nil), 200)
	f.want(f.do("GET", "/v2/team-a/x/manifests/v1", nil), 401)
	f.want(f.do("GET", "/v2/team-b/x/manifests/v1", nil, basic("ann")...), 403, "DENIED", "ann may not pull here")
	f.want(f.do("DELETE", "/v2/team-a/x/manifests/v1", nil, basic("bob")...), 403)
	f.want(f.do("DELETE", "/v2/team-a/x/manifests/v1", nil, basic("ann")...), 202)
	// A wrong password is reported, also where nobody needs one.
	f.want(f.do("GET", "/v2/", nil, "Authorization", "Basic YW5uOndyb25n"), 401)
	f.want(f.do("GET", "/v2/public/x/manifests/v1", nil, "Authorization", "Bearer x"), 401, "token")
	f.want(f.do("GET", "/v2/public/x/manifests/v1", nil, "Authorization", "Digest x"), 401, "RFC 7617")
	// Whoever may not read a repository cannot mount from it, and does not learn whether the blob is there.
	d := f.pushBlobAs("bob", "team-b/x", "secret")
	if r := f.do("POST", "/v2/team-a/y/blobs/uploads/?from=team-b/x&mount="+d.String(), nil, basic("ann")...); r.StatusCode != http.StatusAccepted {
		t.Errorf("mounted from elsewhere: %s", r.Status)
	}
	if !log.says("not allowed") || !log.says("action=pull repository=team-b/x user=ann") {
		t.Errorf("the refusal is not in the audit log: %s", log.String())
	}
}

func TestAnonymousPull(t *testing.T) {
	f, _ := serve(t, "version: 0.1\nstorage: inmemory\nauth: {htpasswd: {path: "+usersFile(t, "ann")+"}, access: {anonymouspull: true}}\n")
	d := f.pushBlobAs("ann", "a", "content")
	f.want(f.do("GET", "/v2/a/blobs/"+d.String(), nil), 200, "content")
	r := f.do("POST", "/v2/a/blobs/uploads/", nil)
	f.want(r, 401)
	if r.Header.Get("WWW-Authenticate") == "" {
		t.Error("no challenge, so clients send no password")
	}
	f.want(f.do("DELETE", "/v2/a/blobs/"+d.String(), nil), 401)
	f.want(f.do("GET", "/v1/_catalog", nil), 200)
}

// A registry without users: everybody reads, nobody writes.
func TestAnonymousPullAlone(t *testing.T) {
	f, _ := serve(t, "version: 0.1\nstorage: inmemory\nauth: {access: {anonymouspull: true}}\n")
	f.want(f.do("GET", "/v2/", nil), 200)
	f.want(f.do("GET", "/v1/_catalog", nil), 200)
	f.want(f.do("POST", "/v2/a/blobs/uploads/", nil), 401)
	f.want(f.do("POST", "/v2/a/blobs/uploads/", nil, basic("ann")...), 401)
}

func TestAFloodOfWrongPasswordsIsPutOff(t *testing.T) {
	f, log := serve(t, "version: 0.1\nstorage: inmemory\nhttp: {trustedproxies: 127.0.0.1}\nauth: {htpasswd: {path: "+usersFile(t, "ann", "bob")+"}}\n")
	f.want(f.do("GET", "/v2/", nil, basic("ann")...), 200)
	if codes := f.guess(20, func(int) []string { return []string{"X-Forwarded-For", "198.51.100.7"} }); codes[429] == 0 || codes[401] == 0 {
		t.Errorf("answers: %v", codes)
	}
	f.want(f.do("GET", "/v2/", nil, append(basic("ann"), "X-Forwarded-For", "198.51.100.7")...), 200) // remembered, even from there
	f.want(f.do("GET", "/v2/", nil, append(basic("bob"), "X-Forwarded-For", "203.0.113.9")...), 200)  // new, from elsewhere
	if !log.says("from=198.51.100.7") || log.says("hunter2") {
		t.Errorf("log: %s", log.String())
	}
}

// guess sends n wrong passwords of ann at once, until one is put off, and returns how many were answered how.
func (f *fixture) guess(n int, headers func(i int) []string) map[int]int {
	return f.guesses(n, func(ctx context.Context, i int) (*http.Request, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"/v2/", nil)
		if err != nil {
			return nil, err
		}
		r.SetBasicAuth("ann", fmt.Sprint("hunter2-", i))
		for list := headers(i); len(list) > 1; list = list[2:] {
			r.Header.Set(list[0], list[1])
		}
		return r, nil
	})
}

// guesses is guess with requests of any kind.
func (f *fixture) guesses(n int, request func(ctx context.Context, i int) (*http.Request, error)) map[int]int {
	ctx, stop := context.WithCancel(f.t.Context())
	defer stop()
	var mu sync.Mutex
	codes := map[int]int{}
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			r, err := request(ctx, i)
			if err != nil {
				f.t.Error(err)
				return
			}
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				return // enough are answered
			}
			defer response.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			codes[response.StatusCode]++
			if response.StatusCode == http.StatusTooManyRequests && response.Header.Get("Retry-After") == "" {
				f.t.Error("429 without Retry-After")
			}
			if codes[429] > 0 && codes[401] > 0 {
				stop() // the others wait for their turn
			}
		})
	}
	group.Wait()
	return codes
}

// Behind a proxy that sets X-Forwarded-For, other headers are the client's own words: they neither help it past the
// throttle nor change what the audit log, the access log and Location say.
func TestAClientCannotChooseItsAddress(t *testing.T) {
	f, log := serve(t, "version: 0.1\nstorage: inmemory\nhttp: {relativeurls: false, trustedproxies: 127.0.0.1}\n"+
		"auth: {htpasswd: {path: "+usersFile(t, "ann")+"}}\n")
	codes := f.guess(20, func(i int) []string {
		return []string{"X-Forwarded-For", "198.51.100.7", "Forwarded", fmt.Sprintf("for=203.0.113.%d;host=evil.example;proto=http", i),
			"X-Real-Ip", fmt.Sprintf("203.0.113.%d", i)}
	})
	if codes[429] == 0 {
		t.Errorf("20 wrong passwords at once were answered %v", codes)
	}
	if !log.says("from=198.51.100.7") || log.says("203.0.113.") {
		t.Errorf("log: %s", log.String())
	}
	location := f.do("POST", "/v2/r/blobs/uploads/", nil, append(basic("ann"), "X-Forwarded-For", "198.51.100.8", "X-Forwarded-Host", "packs.example.com",
		"X-Forwarded-Proto", "https", "Forwarded", "for=1.1.1.1;host=evil.example")...).Header.Get("Location")
	if !strings.HasPrefix(location, "https://packs.example.com/v2/r/") {
		t.Errorf("Location: %s", location)
	}
}

// Lines that can never match show where operators look, by number and without their content.
func TestUnusableLinesShowAtHealth(t *testing.T) {
	path := usersFile(t, "ann")
	lines, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append([]byte("\ufeff"), append(lines, "bob:hunter2\n"...)...), 0o600); err != nil {
		t.Fatal(err)
	}
	f, log := serve(t, "version: 0.1\nstorage: inmemory\nauth: {htpasswd: {path: "+path+"}}\n")
	f.want(f.do("GET", "/v2/", nil, basic("ann")...), 200)
	health := text(f.do("GET", "/health", nil))
	if !strings.Contains(health, `"users":"lines of the users' file can never match: 2;`) || !strings.Contains(health, `"status":"UP"`) {
		t.Errorf("/health: %s", health)
	}
	if !log.says("line=2") || log.says("hunter2") || strings.Contains(health, "bob") {
		t.Errorf("log: %s", log.String())
	}
	w := httptest.NewRecorder()
	f.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(w.Body.String(), "packregistry_users_unusable_lines 1\n") {
		t.Error("the metric does not count the line")
	}
}

func (f *fixture) pushBlobAs(user, name, content string) digest.Digest {
	f.t.Helper()
	d := digest.FromString(content)
	f.want(f.do("POST", "/v2/"+name+"/blobs/uploads/?digest="+d.String(), strings.NewReader(content), basic(user)...), 201)
	return d
}

func parseConfig(t *testing.T, text string) *config.Config {
	t.Helper()
	c, _, err := config.Parse([]byte(text), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
