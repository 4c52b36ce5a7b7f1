package server

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/pack"
	"packregistry.dev/server/store/driver/inmemory"
	"packregistry.dev/server/ui"
)

const pagesConfig = `version: 0.1
storage: {inmemory: {}}
http: {trustedproxies: [127.0.0.1]}
ui: {actions: [tag, untag, delete]}
auth: {htpasswd: {path: %s}, access: {readonlyusers: [bob]}}
`

// browser sends requests as a browser does through a proxy that ends TLS.
type browser struct {
	*fixture
	cookie string
	// open is the same store without users.
	open *fixture
}

func (b *browser) send(method, path string, form url.Values, headers ...string) *http.Response {
	b.t.Helper()
	client := http.DefaultClient.CheckRedirect
	http.DefaultClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	defer func() { http.DefaultClient.CheckRedirect = client }()
	all := []string{"X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "https", "Sec-Fetch-Site", "same-origin", "Content-Type", "application/x-www-form-urlencoded"}
	if b.cookie != "" {
		all = append(all, "Cookie", b.cookie)
	}
	r := b.do(method, path, strings.NewReader(form.Encode()), append(all, headers...)...)
	if r.Header.Get("WWW-Authenticate") != "" {
		b.t.Errorf("%s %s asks for a scheme of HTTP's", method, path)
	}
	return r
}

func (b *browser) logIn(user, password string) *http.Response {
	b.t.Helper()
	r := b.send("POST", "/ui/login", url.Values{"user": {user}, "password": {password}})
	for _, c := range r.Cookies() {
		b.cookie = c.Name + "=" + c.Value
	}
	return r
}

// browsersOf serves a registry of two users, ann and bob, who may read alone, with two versions and an alias of the pack demo.
func browsersOf(t *testing.T, replicas int) (browsers []*browser, users string) {
	t.Helper()
	d := inmemory.New()
	f := start(t, d, "}", nil)
	for _, version := range []string{"1.0.0", "1.1.0"} {
		f.want(f.putManifest("/v1/demo/manifests/"+version, f.packManifest("demo", version, nil)), 201)
	}
	f.want(f.putManifest("/v1/demo/manifests/stable", f.packManifest("demo", "1.1.0", nil)), 201)
	users = usersFile(t, "ann", "bob")
	c := parseConfig(t, fmt.Sprintf(pagesConfig, users))
	for range replicas {
		browsers = append(browsers, &browser{fixture: replica(t, c, d, users), open: f})
	}
	return browsers, users
}

func TestBrowsersAreLedToThePages(t *testing.T) {
	f := start(t, inmemory.New(), "}\nhttp: {prefix: /packs}", nil)
	b := &browser{fixture: f}
	if r := b.send("GET", "/packs/", nil, "Accept", "text/html,*/*"); r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/packs/ui/" {
		t.Errorf("%s to %q", r.Status, r.Header.Get("Location"))
	}
	f.want(b.send("GET", "/packs/", nil, "Accept", "*/*"), 404, "NOT_FOUND")
	r := b.send("GET", "/packs/ui/", nil)
	f.want(r, 200, "<!doctype html>")
	if got := r.Header.Values("Content-Security-Policy"); len(got) != 1 || got[0] != ui.Policy {
		t.Errorf("the policy is %q", got)
	}
	f.want(b.send("GET", "/ui/", nil), 404)
	own := start(t, inmemory.New(), "}\nhttp: {headers: {Content-Security-Policy: [default-src 'self']}}", nil)
	if got := (&browser{fixture: own}).send("GET", "/ui/", nil).Header.Get("Content-Security-Policy"); got != "default-src 'self'" {
		t.Errorf("the administrator's policy became %q", got)
	}
	off := start(t, inmemory.New(), "}\nui: {enabled: false}", nil)
	off.want(off.do("GET", "/ui/", nil), 404, "NOT_FOUND")
	off.want(off.do("GET", "/", nil, "Accept", "text/html"), 404, "NOT_FOUND")
}

func TestLoggingIn(t *testing.T) {
	bs, users := browsersOf(t, 2)
	b := bs[0]
	if r := b.send("GET", "/ui/?q=x", nil); r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/ui/login?next=%2Fui%2F%3Fq%3Dx" {
		t.Errorf("nobody is answered %s, %q", r.Status, r.Header.Get("Location"))
	}
	// The password of the API is none here.
	if r := b.send("GET", "/ui/", nil, basic("ann")...); r.StatusCode != http.StatusSeeOther {
		t.Errorf("basic authentication is answered %s", r.Status)
	}
	r := b.logIn("ann", "wrong")
	b.want(r, 403, "Wrong user name or password")
	if b.cookie != "" {
		t.Fatal("a wrong password makes a session")
	}
	r = b.logIn("ann", "ann")
	if r.StatusCode != http.StatusSeeOther || len(r.Cookies()) != 1 {
		t.Fatal(r.Status, r.Cookies())
	}
	c := r.Cookies()[0]
	if !strings.HasPrefix(c.Name, "__Host-") || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.MaxAge <= 0 || strings.Contains(c.Value, "ann") {
		t.Errorf("the cookie is %s", r.Header.Get("Set-Cookie"))
	}
	b.want(b.send("GET", "/ui/", nil), 200, "demo", "Log out")
	// The session counts on these pages alone, over HTTPS alone, and on every replica.
	b.want(b.send("GET", "/ui/", nil, "X-Forwarded-Proto", "http"), 303)
	if r := b.do("GET", "/v1/_catalog", nil, "Cookie", b.cookie); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("the API answers a session with %s", r.Status)
	}
	bs[1].cookie = b.cookie
	b.want(bs[1].send("GET", "/ui/", nil), 200, "demo")
	if r := b.send("POST", "/ui/logout", nil); len(r.Cookies()) != 1 || r.Cookies()[0].MaxAge >= 0 {
		t.Errorf("logging out sets %v", r.Cookies())
	}
	// Another password ends it, without a restart.
	anns, err := os.ReadFile(usersFile(t, "ann", "bob"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	read := make(chan error, 8)
	b.users.Observe = func(err error) { read <- err }
	var group sync.WaitGroup
	group.Go(func() { b.users.Watch(ctx, time.Millisecond) })
	defer group.Wait()
	defer cancel()
	if err := os.WriteFile(users, anns, 0o600); err != nil {
		t.Fatal(err)
	}
	for { // a file may be read before all of it is written
		if err := <-read; err == nil && b.send("GET", "/ui/", nil).StatusCode == http.StatusSeeOther {
			break
		}
	}
}

func TestLoginsThatAreRefused(t *testing.T) {
	bs, _ := browsersOf(t, 1)
	b := bs[0]
	form := url.Values{"user": {"ann"}, "password": {"ann"}}
	b.want(b.send("POST", "/ui/login", form, "X-Forwarded-Proto", "http"), 403, "Logging in needs HTTPS")
	b.want(b.send("GET", "/ui/login", nil, "X-Forwarded-Proto", "http"), 200, "Logging in needs HTTPS")
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Sec-Fetch-Site", "", "Origin", "https://elsewhere.example"}} {
		r := b.send("POST", "/ui/login", form, headers...)
		if b.want(r, 403, "another site"); len(r.Cookies()) > 0 {
			t.Errorf("%v log somebody in", headers)
		}
	}
	b.want(b.send("POST", "/ui/login", url.Values{"password": {strings.Repeat("x", 20<<10)}}), 400)
	for range 5 {
		b.want(b.logIn("ann", fmt.Sprint("wrong", b.t.Name())), 403)
	}
	open := &browser{fixture: open0(t)}
	open.want(open.send("GET", "/ui/login", nil), 404, "has no users")
}

func TestALoginLeadsNowhereElse(t *testing.T) {
	bs, _ := browsersOf(t, 1)
	for _, next := range []string{"//evil.example", "https://evil.example/ui/", "/\\evil.example", "/ui/\\evil", "/v2/", "/ui/../v2/", "/ui/..//evil.example", "javascript:alert(1)",
		"/ui/logout", "/ui/login", "", "/ui/\r\nX: y", "ui/", "//ui/", "/ui//evil.example", "%2F%2Fevil.example", "/ui/%2e%2e/%2e%2e//evil.example"} {
		r := bs[0].send("POST", "/ui/login", url.Values{"user": {"ann"}, "password": {"ann"}, "next": {next}})
		if got := r.Header.Get("Location"); r.StatusCode != http.StatusSeeOther || got != "/ui/" {
			t.Errorf("%q leads to %q (%s)", next, got, r.Status)
		}
	}
	for _, next := range []string{"/ui/packs/demo", "/ui/?q=a&layer=os", "/ui/packs/demo/1.0.0/files/a%20b"} {
		r := bs[0].send("POST", "/ui/login", url.Values{"user": {"ann"}, "password": {"ann"}, "next": {next}})
		if got := r.Header.Get("Location"); got != next {
			t.Errorf("%q leads to %q", next, got)
		}
	}
}

func TestAnonymousPullNeedsNoLogin(t *testing.T) {
	bs, _ := browsersOf(t, 1)
	c := *bs[0].config
	c.Auth.Access.AnonymousPull = true
	f := &browser{fixture: replica(t, &c, inmemory.New(), usersFile(t, "ann"))}
	f.want(f.send("GET", "/ui/", nil), 200, "Log in")
}

func TestActions(t *testing.T) {
	bs, _ := browsersOf(t, 1)
	b := bs[0]
	b.want(b.send("GET", "/ui/packs/demo/1.1.0/delete", nil), 303)
	b.want(b.send("POST", "/ui/packs/demo/stable/untag", nil), 403, "Nobody is logged in")
	b.logIn("bob", "bob")
	b.want(b.send("POST", "/ui/packs/demo/stable/untag", nil), 403, "bob may not")
	b.want(b.send("GET", "/ui/packs/demo/1.1.0/delete", nil), 403, "bob may not")
	b.logIn("ann", "ann")
	b.want(b.send("POST", "/ui/packs/demo/stable/untag", nil, "Sec-Fetch-Site", "cross-site"), 403, "another site")
	wantTags := func(want ...string) {
		t.Helper()
		if r := text(b.do("GET", "/v1/demo/tags/list", nil, basic("ann")...)); !strings.Contains(r, `"tags":["`+strings.Join(want, `","`)+`"]`) {
			t.Errorf("the tags are %s, want %v", r, want)
		}
	}
	all := []string{"1.0.0", "1.0.x", "1.1.0", "1.1.x", "1.x", "stable"}
	wantTags(all...)
	b.want(b.send("POST", "/ui/packs/demo/1.0.0/tag", url.Values{"tag": {"1.2.x"}}), 400, "parent tag")
	b.want(b.send("POST", "/ui/packs/demo/1.0.0/tag", url.Values{"tag": {"2.0.0"}}), 400, "pack.json makes")
	b.want(b.send("POST", "/ui/packs/demo/1.0.0/tag", url.Values{"tag": {"<b>"}}), 400, "&lt;b&gt;")
	b.want(b.send("POST", "/ui/packs/demo/1.0.0/tag", url.Values{"tag": {"stable"}}), 409, "names another version")
	for range 2 { // and again
		b.want(b.send("POST", "/ui/packs/demo/1.0.0/tag", url.Values{"tag": {"old"}}), 303)
		b.want(b.send("POST", "/ui/packs/demo/1.0.0/tag", url.Values{"tag": {"stable"}, "move": {"1"}}), 303)
	}
	for range 2 {
		b.want(b.send("POST", "/ui/packs/demo/old/untag", nil), 303)
	}
	wantTags(all...)
	// The page's forms say which version they were about: what moved since is left alone.
	stale := url.Values{"digest": {"sha256:0"}, "tag": {"old"}}
	b.want(b.send("POST", "/ui/packs/demo/stable/untag", stale), 409, "another version")
	b.want(b.send("POST", "/ui/packs/demo/1.0.0/tag", stale), 409, "another version")
	if page := text(b.send("GET", "/ui/packs/demo/1.0.0/versions", nil)); strings.Count(page, `name="digest" value="sha256:`) != 2 { // the alias to take away, and the form that tags
		t.Errorf("the page's forms do not say which version they are about: %s", page)
	}
	wantTags(all...)

	r := b.send("GET", "/ui/packs/demo/1.0.0/delete", nil)
	page := text(r)
	for _, words := range []string{"1.0.0", "stable", "1.0.x", "none: it goes too", "90 more days", "its alias"} {
		if !strings.Contains(page, words) {
			t.Errorf("the page that asks lacks %q", words)
		}
	}
	form := url.Values{"confirm": {"1.0.0"}, "tag": {"1.0.0", "stable"}, "digest": {between(page, `name="digest" value="`, `"`)}}
	with := func(key string, values ...string) url.Values {
		changed := url.Values{}
		for k, v := range form {
			changed[k] = v
		}
		changed[key] = values
		return changed
	}
	b.want(b.send("POST", "/ui/packs/demo/1.0.0/delete", with("confirm", "1.0.1")), 400, "is not 1.0.0")
	b.want(b.send("POST", "/ui/packs/demo/1.0.0/delete", with("tag", "1.0.0")), 409, "Further tags")
	b.want(b.send("POST", "/ui/packs/demo/1.0.0/delete", with("digest", "sha256:0")), 409, "another version")
	wantTags(all...)
	for range 2 {
		b.want(b.send("POST", "/ui/packs/demo/1.0.0/delete", form), 303)
	}
	wantTags("1.1.0", "1.1.x", "1.x")
	b.want(b.do("GET", "/v1/demo/manifests/"+form.Get("digest"), nil, basic("ann")...), 200) // by its digest

	b.config.Storage.Maintenance.ReadOnly.Enabled = true
	b.want(b.send("POST", "/ui/packs/demo/1.1.0/untag", nil), 405, "read-only")
	b.config.Storage.Maintenance.ReadOnly.Enabled = false
	b.config.UI.Actions = nil
	b.want(b.send("POST", "/ui/packs/demo/1.1.0/untag", nil), 403)
	wantTags("1.1.0", "1.1.x", "1.x")
}

// Whoever looks at a version by its digest whose tag was pushed again is not sent to the other one.
func TestAVersionWhoseTagWasPushedAgain(t *testing.T) {
	bs, _ := browsersOf(t, 1)
	b := bs[0]
	b.logIn("ann", "ann")
	old := between(text(b.send("GET", "/ui/packs/demo/1.0.0/delete", nil)), `name="digest" value="`, `"`)
	if page := text(b.send("GET", "/ui/packs/demo/"+old, nil)); !strings.Contains(page, "pack pull demo:1.0.0") {
		t.Errorf("by its digest, before: %s", page)
	}
	m := b.open.packManifest("demo", "1.0.0", map[string]string{"README.md": "# Another"})
	b.open.want(b.open.putManifest("/v1/demo/manifests/1.0.0", m, "Packregistry-Force", "true"), 201)
	if page := text(b.send("GET", "/ui/packs/demo/"+old, nil)); strings.Contains(page, "pack pull demo:1.0.0") || !strings.Contains(page, old) {
		t.Errorf("by its digest, after: %s", page)
	}
}

func TestPagesWhereTheHostHasAPath(t *testing.T) {
	for _, host := range []string{"https://packs.example.com/x", "https://packs.example.com//"} {
		run(t, "http: {addr: '127.0.0.1:0', host: '"+host+"'}\n") // which fails the test where the server does not start
	}
}

func between(s, before, after string) string {
	_, s, _ = strings.Cut(s, before)
	s, _, _ = strings.Cut(s, after)
	return s
}

// What a page refuses for the viewer's rights is counted and recorded as the API's refusals are.
func TestRefusalsOfThePagesAreRecorded(t *testing.T) {
	f, log := serve(t, fmt.Sprintf(pagesConfig, usersFile(t, "ann", "bob")))
	b := &browser{fixture: f}
	counted := func(outcome string, want int) {
		t.Helper()
		line := fmt.Sprintf(`packregistry_auth_total{outcome=%q} `, outcome)
		if got := between(testserver.Scrape(t, f.metrics.Handler())+line+"0\n", line, "\n"); got != fmt.Sprint(want) {
			t.Errorf("%s: %s times, want %d", outcome, got, want)
		}
	}
	b.want(b.send("POST", "/ui/packs/demo/stable/untag", nil), 403)
	counted("missing", 1)
	b.logIn("bob", "bob")
	b.want(b.send("POST", "/ui/packs/demo/stable/untag", nil), 403)
	b.want(b.send("POST", "/ui/packs/demo/1.0.0/tag", url.Values{"tag": {"x"}}), 403)
	b.want(b.send("GET", "/ui/packs/demo/1.0.0/delete", nil), 403)
	counted("forbidden", 3)
	counted("missing", 1)
	for _, action := range []string{"delete", "push"} {
		if !log.says("action=" + action + " repository=" + pack.Repository("demo") + " user=bob from=192.0.2.1") {
			t.Errorf("no refused %s in the audit log: %s", action, log.String())
		}
	}
	b.logIn("ann", "ann")
	f.config.UI.Actions = nil // which is not a matter of rights
	b.want(b.send("POST", "/ui/packs/demo/stable/untag", nil), 403)
	counted("forbidden", 3)
}
