package server

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"packregistry.dev/server/auth"
	"packregistry.dev/server/store/driver/inmemory"
)

func newUsers(t *testing.T) *auth.HTPasswd {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), 4)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(path, []byte("ann:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	users, err := auth.OpenHTPasswd(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return users
}

func TestAuthentication(t *testing.T) {
	f := start(t, inmemory.New(), "}", newUsers(t))
	f.want(f.do("GET", "/health", nil), 200)
	// Every route but /health asks, the ones that do not exist below an API included only once they match.
	for _, row := range routes {
		if row.needs == open {
			continue
		}
		path := strings.NewReplacer("{api}", "v2", "{name}", "a", "{reference}", "t", "{digest}", "sha256:x", "{id}", "x").Replace(row.pattern)
		r := f.do(row.method, path, nil)
		if !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), `Basic realm="test"`) {
			t.Errorf("%s %s: %v", row.method, path, r.Header)
		}
		f.want(r, 401, "UNAUTHORIZED")
	}
	as := func(user, password string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+"/v1/_catalog", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(user, password)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response
	}
	for credential, want := range map[[2]string]int{{"ann", "secret"}: 200, {"ann", "wrong"}: 401, {"bob", "secret"}: 401} {
		if got := as(credential[0], credential[1]).StatusCode; got != want {
			t.Errorf("%v: %d", credential, got)
		}
	}
}
