package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/auth"
	"packregistry.dev/server/config"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver/inmemory"
)

const formType = "application/x-www-form-urlencoded"

// token asks for a token as docker does, and wants to get one.
func (f *fixture) token(user string, scopes ...string) string {
	f.t.Helper()
	query := url.Values{"service": {tokenService}, "scope": scopes, "account": {user}, "client_id": {"docker"}}
	r := f.do("GET", "/token?"+query.Encode(), nil, basic(user)...)
	return f.tokenOf(r)
}

func (f *fixture) tokenOf(r *http.Response) string {
	f.t.Helper()
	var answer struct {
		Token       string
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if r.StatusCode != http.StatusOK || r.Header.Get("Cache-Control") != "no-store" {
		f.t.Fatalf("%s: %v %s", r.Status, r.Header, text(r))
	}
	if err := json.Unmarshal([]byte(text(r)), &answer); err != nil || answer.Token == "" || answer.Token != answer.AccessToken || answer.ExpiresIn != 300 {
		f.t.Fatalf("%+v, %v", answer, err)
	}
	return answer.Token
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// wantChallenge wants a 401 with a challenge that has these words.
func (f *fixture) wantChallenge(r *http.Response, words ...string) {
	f.t.Helper()
	got := r.Header.Get("WWW-Authenticate")
	if r.StatusCode != http.StatusUnauthorized {
		f.t.Errorf("%s %s: %s, want 401", r.Request.Method, r.Request.URL.Path, r.Status)
	}
	for _, word := range words {
		if !strings.Contains(got, word) {
			f.t.Errorf("%s %s: the challenge lacks %s: %s", r.Request.Method, r.Request.URL.Path, word, got)
		}
	}
}

const tokenConfig = `
version: 0.1
storage: inmemory
auth:
  htpasswd: {path: %s}
  access:
    rules:
    - {users: ann, repositories: ["team/**", "public/*"], actions: [pull, push, delete]}
    - {users: bob, repositories: "team/**", actions: pull}
    - {anonymous: true, repositories: "public/*", actions: pull}
`

func TestTokenFlow(t *testing.T) {
	users := usersFile(t, "ann", "bob")
	f, log := serve(t, fmt.Sprintf(tokenConfig, users))
	f.config.HTTP.Host = f.url
	secret, public := f.pushBlobAs("ann", "team/x", "secret"), f.pushBlobAs("ann", "public/x", "public")

	// Who comes without credentials gets a challenge, and need not follow it.
	realm := `realm="` + f.url + `/token"`
	f.wantChallenge(f.do("GET", "/v2/", nil), "Bearer "+realm, `service="packregistry"`)
	f.wantChallenge(f.do("HEAD", "/v2/", nil), "Bearer "+realm)
	f.wantChallenge(f.do("GET", "/v2/team/x/blobs/"+secret.String(), nil), "Bearer "+realm, `scope="repository:team/x:pull"`)
	f.wantChallenge(f.do("POST", "/v2/public/x/blobs/uploads/", nil), `scope="repository:public/x:pull,push"`)
	f.wantChallenge(f.do("POST", "/v2/team/x/blobs/uploads/?from=public/x&mount="+public.String(), nil), `scope="repository:team/x:pull,push repository:public/x:pull"`)
	f.wantChallenge(f.do("DELETE", "/v2/team/x/blobs/"+secret.String(), nil), `scope="repository:team/x:delete"`)
	f.want(f.do("GET", "/v2/public/x/blobs/"+public.String(), nil), 200, "public")
	f.want(f.do("GET", "/v2/_catalog", nil), 200)

	nobody := f.token("", "repository:public/x:pull,push", "repository:team/x:pull")
	f.want(f.do("GET", "/v2/", nil, bearer(nobody)...), 200)
	f.want(f.do("GET", "/v2/public/x/blobs/"+public.String(), nil, bearer(nobody)...), 200, "public")
	f.wantChallenge(f.do("GET", "/v2/team/x/blobs/"+secret.String(), nil, bearer(nobody)...), `error="insufficient_scope"`, `scope="repository:team/x:pull"`)
	f.wantChallenge(f.do("POST", "/v2/public/x/blobs/uploads/", nil, bearer(nobody)...), `error="insufficient_scope"`)
	f.wantChallenge(f.do("GET", "/v2/_catalog", nil, bearer(nobody)...), `scope="registry:catalog:*"`)
	f.want(f.do("GET", "/v2/_catalog", nil, bearer(f.token("", "registry:catalog:*"))...), 200)

	// A user's token is good for what was asked for, as far as the user may.
	anns := f.token("ann", "repository:team/x:pull,push")
	f.want(f.do("GET", "/v2/", nil, bearer(anns)...), 200)
	f.want(f.do("GET", "/v2/team/x/blobs/"+secret.String(), nil, bearer(anns)...), 200, "secret")
	f.want(f.do("POST", "/v2/team/x/blobs/uploads/", nil, bearer(anns)...), 202)
	f.wantChallenge(f.do("DELETE", "/v2/team/x/blobs/"+secret.String(), nil, bearer(anns)...), `error="insufficient_scope"`, `scope="repository:team/x:delete"`)
	f.wantChallenge(f.do("GET", "/v2/team/y/tags/list", nil, bearer(anns)...), `error="insufficient_scope"`)
	f.want(f.do("POST", "/v2/team/x/blobs/uploads/?from=public/x&mount="+public.String(), nil, bearer(anns)...), 202) // not read without the scope
	both := f.token("ann", "repository:team/x:pull,push repository:public/x:pull")
	f.want(f.do("POST", "/v2/team/x/blobs/uploads/?from=public/x&mount="+public.String(), nil, bearer(both)...), 201)
	f.want(f.do("DELETE", "/v2/team/x/blobs/"+secret.String(), nil, bearer(f.token("ann", "repository:team/x:*"))...), 202)

	// A known user who may not is denied, and is sent no challenge.
	bobs := f.token("bob", "repository:team/x:pull,push")
	f.want(f.do("POST", "/v2/team/x/blobs/uploads/", nil, bearer(bobs)...), 403, "DENIED", "bob may not push here")
	f.want(f.do("GET", "/v2/elsewhere/tags/list", nil, bearer(bobs)...), 403, "DENIED")

	// Passwords are as good as ever.
	f.want(f.do("GET", "/v2/", nil, basic("ann")...), 200)
	f.want(f.do("POST", "/v2/team/x/blobs/uploads/", nil, basic("ann")...), 202)
	f.want(f.do("POST", "/v2/team/x/blobs/uploads/", nil, basic("bob")...), 403)
	f.wantChallenge(f.do("GET", "/v2/", nil, "Authorization", "Basic YW5uOndyb25n"), "Bearer")

	// The pack API asks for passwords, and takes tokens from clients that use both.
	f.want(f.do("GET", "/v1/", nil), 200)
	f.wantChallenge(f.do("POST", "/v1/x/blobs/uploads/", nil), "Basic ")
	f.want(f.do("GET", "/v1/", nil, bearer(anns)...), 200)
	f.wantChallenge(f.do("GET", "/v1/", nil, bearer("x")...), "Basic ")

	for _, bad := range []string{"", "x", anns + "x", "prt1.00000000.e30.AAAA", strings.ToUpper(anns)} {
		f.wantChallenge(f.do("GET", "/v2/", nil, bearer(bad)...), "Bearer", `error="invalid_token"`)
		f.wantChallenge(f.do("GET", "/v2/public/x/blobs/"+public.String(), nil, bearer(bad)...), `error="invalid_token"`)
	}
	f.tokens.Now = func() time.Time { return time.Now().Add(auth.TokenLife) }
	f.wantChallenge(f.do("GET", "/v2/", nil, bearer(anns)...), `error="invalid_token"`)
	for _, token := range []string{nobody, anns, both, bobs} {
		if log.says(token) || log.says(token[len(token)-20:]) {
			t.Error("a token is in the log")
		}
	}
	if !log.says("user=ann") || !log.says("user=bob") {
		t.Error("the users of tokens are not in the log")
	}
}

func TestTokensByForm(t *testing.T) {
	f, log := serve(t, fmt.Sprintf(tokenConfig, usersFile(t, "ann")))
	post := func(values ...string) *http.Response {
		form := url.Values{}
		for i := 0; i < len(values); i += 2 {
			form.Add(values[i], values[i+1])
		}
		return f.do("POST", "/token", strings.NewReader(form.Encode()), "Content-Type", formType)
	}
	token := f.tokenOf(post("grant_type", "password", "username", "ann", "password", "ann", "client_id", "docker", "service", "x", "access_type", "offline",
		"scope", "repository:team/x:pull,push"))
	f.want(f.do("POST", "/v2/team/x/blobs/uploads/", nil, bearer(token)...), 202)
	f.wantChallenge(post("grant_type", "password", "username", "ann", "password", "hunter2"), "Basic")
	f.wantChallenge(post("grant_type", "password"), "Basic")
	f.want(post("grant_type", "refresh_token", "refresh_token", "x"), 400, "grant_type")
	f.want(post(), 400, "grant_type")
	f.want(f.do("POST", "/token", strings.NewReader("%"), "Content-Type", formType), 400, "TOKEN_REQUEST_INVALID")
	f.want(f.do("POST", "/token", strings.NewReader("grant_type=password&x="+strings.Repeat("x", maxTokenRequest)), "Content-Type", formType), 400)
	f.wantChallenge(f.do("GET", "/token", nil, "Authorization", "Basic YW5uOmh1bnRlcjI="), "Basic")
	f.wantChallenge(f.do("GET", "/token", nil, bearer(token)...), "Basic")
	f.want(f.do("PUT", "/token", nil), 405)
	if log.says("hunter2") || log.says(token) {
		t.Error("a secret is in the log")
	}
}

func TestWrongPasswordsForTokensArePutOff(t *testing.T) {
	f, _ := serve(t, fmt.Sprintf(tokenConfig, usersFile(t, "ann")))
	codes := f.guesses(20, func(ctx context.Context, i int) (*http.Request, error) {
		if i%2 == 0 {
			form := url.Values{"grant_type": {"password"}, "username": {"ann"}, "password": {fmt.Sprint("guess", i)}}
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url+"/token", strings.NewReader(form.Encode()))
			if err == nil {
				r.Header.Set("Content-Type", formType)
			}
			return r, err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"/token", nil)
		if err == nil {
			r.SetBasicAuth("ann", fmt.Sprint("guess", i))
		}
		return r, err
	})
	if codes[401] == 0 || codes[429] == 0 || len(codes) != 2 {
		t.Errorf("answers: %v", codes)
	}
}

func TestTokensEndWithTheUser(t *testing.T) {
	path := usersFile(t, "ann", "bob")
	f, _ := serve(t, fmt.Sprintf(tokenConfig, path))
	f.config.HTTP.Host = f.url
	anns, bobs := f.token("ann", "repository:team/x:pull,push"), f.token("bob", "repository:team/x:pull")
	lines, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, kept, _ := strings.Cut(string(lines), "\n")
	if err := os.WriteFile(path, []byte(kept), 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	f.users.Observe = func(err error) { read <- err }
	go f.users.Watch(t.Context(), time.Millisecond)
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	f.wantChallenge(f.do("GET", "/v2/", nil, bearer(anns)...), `error="invalid_token"`)
	f.want(f.do("POST", "/v2/team/x/blobs/uploads/", nil, bearer(anns)...), 401)
	f.want(f.do("GET", "/v2/", nil, bearer(bobs)...), 200)
}

// Registries that everybody must log in to, that nobody can, and that ask for nothing, are as they were.
func TestNoTokensWhereNobodyNeedsThem(t *testing.T) {
	for name, more := range map[string]string{
		"users only":     "auth: {htpasswd: {path: " + usersFile(t, "ann") + "}}",
		"anonymous only": "auth: {access: {anonymouspull: true}}",
		"open":           "",
	} {
		f, _ := serve(t, "version: 0.1\nstorage: inmemory\n"+more+"\n")
		f.want(f.do("GET", "/token", nil, basic("ann")...), 404)
		f.want(f.do("POST", "/token", strings.NewReader("grant_type=password&username=ann&password=ann"), "Content-Type", formType), 404)
		if r := f.do("GET", "/v2/", nil); strings.Contains(r.Header.Get("WWW-Authenticate"), "Bearer") || r.StatusCode == http.StatusUnauthorized != (name == "users only") {
			t.Errorf("%s: %s %v", name, r.Status, r.Header)
		}
	}
}

// The realm is where the client is, and never leads from TLS to plain HTTP.
func TestRealm(t *testing.T) {
	users := usersFile(t, "ann")
	proxied := []string{"X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "packs.test"}
	for name, tt := range map[string]struct {
		config  string
		headers []string
		want    string
	}{
		"plain HTTP, or a proxy that adds nothing": {"", nil, ""},
		"a host of plain HTTP":                     {"http: {host: 'http://registry.test'}", nil, `realm="http://registry.test/token"`},
		"a host":                                   {"http: {host: 'https://packs.example.com', prefix: /p/}", nil, `realm="https://packs.example.com/p/token"`},
		"a host, and a proxy":                      {"http: {host: 'https://packs.example.com'}", proxied, `realm="https://packs.example.com/token"`},
		"relative locations":                       {"http: {relativeurls: true, host: 'https://packs.example.com'}", nil, `realm="https://packs.example.com/token"`},
		"a proxy":                                  {"http: {trustedproxies: 127.0.0.1}", proxied, `realm="https://packs.test/token"`},
		"a proxy that says http":                   {"http: {trustedproxies: 127.0.0.1}", []string{"X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "http"}, `realm="http://registry.test/token"`},
		"nobody's proxy":                           {"", proxied, ""},
		"a proxy that says no scheme":              {"http: {trustedproxies: 127.0.0.1}", []string{"X-Forwarded-For", "192.0.2.1"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f, log := serve(t, fmt.Sprintf(tokenConfig, users)+tt.config+"\n")
			prefix := strings.TrimSuffix(f.prefix, "/")
			r := f.do("GET", prefix+"/v2/", nil, append(tt.headers, "Host", "registry.test")...)
			if tt.want != "" {
				f.wantChallenge(r, tt.want)
				return
			}
			f.want(r, 200)
			f.wantChallenge(f.do("POST", "/v2/team/x/blobs/uploads/", nil, tt.headers...), "Basic ")
			if !log.says("http.host") || !log.says("http.trustedproxies") {
				t.Error("the log does not say why")
			}
		})
	}
}

// A connection with TLS shows the URL that clients use.
func TestRealmOfTLS(t *testing.T) {
	f, _ := serve(t, fmt.Sprintf(tokenConfig, usersFile(t, "ann")))
	r := httptest.NewRequest(http.MethodGet, "https://registry.test/v2/", nil)
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if got := w.Header().Get("WWW-Authenticate"); w.Code != http.StatusUnauthorized || !strings.Contains(got, `Bearer realm="https://registry.test/token"`) {
		t.Errorf("%d, %s", w.Code, got)
	}
}

// Replicas that begin at once share one key, and take each other's tokens.
func TestReplicasShareTheKeysOfTokens(t *testing.T) {
	d := inmemory.New()
	path := usersFile(t, "ann")
	c := parseConfig(t, fmt.Sprintf(tokenConfig, path))
	replicas := make([]*fixture, 8)
	for i := range replicas {
		replicas[i] = replica(t, c, d, path)
	}
	tokens := make([]string, len(replicas))
	var group sync.WaitGroup
	for i, f := range replicas {
		group.Go(func() {
			token, err := f.tokens.Sign(t.Context(), "ann", nil)
			if err != nil {
				t.Error(err)
			}
			tokens[i] = token
		})
	}
	group.Wait()
	ids := map[string]bool{}
	for _, token := range tokens {
		ids[auth.KeyID(token)] = true
		for _, f := range replicas {
			f.want(f.do("GET", "/v2/", nil, bearer(token)...), 200)
		}
	}
	if len(ids) != 1 {
		t.Errorf("%d keys", len(ids))
	}
	// A restart takes the key that is there, also where the registry has become read-only.
	c.Storage.Maintenance.ReadOnly.Enabled = true
	again := replica(t, c, d, path)
	again.want(again.do("GET", "/v2/", nil, bearer(tokens[0])...), 200)
	// One that never was anything else has a key of its own.
	alone := replica(t, c, inmemory.New(), path)
	alone.want(alone.do("GET", "/v2/", nil, bearer(alone.token("ann"))...), 200)
	alone.want(alone.do("GET", "/v2/", nil, bearer(tokens[0])...), 401)
	if _, err := alone.store.ReadPrivate(t.Context(), "token-keys"); err == nil {
		t.Error("wrote to a registry that is read-only")
	}
}

func replica(t *testing.T, c *config.Config, d *inmemory.Driver, users string) *fixture {
	t.Helper()
	content, err := store.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	file, err := auth.OpenHTPasswd(users, log)
	if err != nil {
		t.Fatal(err)
	}
	s := New(c, content, file, log)
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	return &fixture{t, h.URL, s}
}

// What is damaged is made anew: tokens end, and clients get others.
func TestDamagedKeysOfTokens(t *testing.T) {
	f, log := serve(t, fmt.Sprintf(tokenConfig, usersFile(t, "ann")))
	if err := f.store.WritePrivate(t.Context(), "token-keys", []byte("{")); err != nil {
		t.Fatal(err)
	}
	f.want(f.do("GET", "/v2/", nil, bearer(f.token("ann"))...), 200)
	if !log.says("damaged") {
		t.Error("not in the log")
	}
	if d := digest.FromString("x"); f.do("GET", "/v2/team/x/blobs/"+d.String(), nil, bearer(f.token("ann", "repository:team/x:pull"))...).StatusCode != http.StatusNotFound {
		t.Error("the new key is no good")
	}
}
