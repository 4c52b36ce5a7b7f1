package client_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"packregistry.dev/client"
	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
	"packregistry.dev/pack"
)

// newRegistry serves a registry with the user ann, password secret, over TLS.
func newRegistry(t *testing.T, edits ...func(*httptest.Server)) client.Server {
	t.Helper()
	return newRegistryWith(t, testregistry.Options{Edit: func(h *httptest.Server) {
		for _, edit := range edits {
			edit(h)
		}
	}})
}

func newRegistryWith(t *testing.T, o testregistry.Options) client.Server {
	t.Helper()
	r := testregistry.New(t, o)
	return client.Server{Host: r.Host, CAFile: r.CAFile, PlainHTTP: o.PlainHTTP, Username: testregistry.Username, Password: testregistry.Password}
}

func connect(t *testing.T, s client.Server) *client.Client {
	t.Helper()
	c, err := client.Connect(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func login(t *testing.T, c *client.Config, s client.Server) {
	t.Helper()
	if _, err := c.Login(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

func openPack(t *testing.T, changes map[string]string) (*pack.Directory, string) {
	t.Helper()
	dir := testpack.Dir(t, "demo", "1.0.0", changes)
	d, err := pack.OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d, dir
}

func TestPushListPull(t *testing.T) {
	s := newRegistry(t)
	c := connect(t, s)
	d, dir := openPack(t, map[string]string{"charts/a.tgz": strings.Repeat("x", 100_000)})
	var reported int64
	pushed, err := c.Push(t.Context(), d, client.Push{Progress: func(sent, _ int64) { reported = sent }})
	if err != nil {
		t.Fatal(err)
	}
	if pushed.Tag != "1.0.0" || pushed.Unchanged || reported != pushed.Size {
		t.Errorf("pushed %+v, reported %d bytes", pushed, reported)
	}
	again, err := c.Push(t.Context(), d, client.Push{})
	if err != nil || !again.Unchanged || again.Digest != pushed.Digest {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	list, err := c.List(t.Context(), "")
	if err != nil || len(list) != 1 || list[0].Name != "demo" || list[0].Tags[0] != "1.0.0" {
		t.Errorf("listed %v, %v", list, err)
	}
	for _, reference := range []string{"1.0.0", pushed.Digest.String()} {
		target := t.TempDir()
		pulled, err := c.Pull(t.Context(), "demo", reference, target)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"pack.json", "charts/a.tgz"} {
			want, err1 := os.ReadFile(filepath.Join(dir, file))
			got, err2 := os.ReadFile(filepath.Join(pulled.Path, file))
			if err := errors.Join(err1, err2); err != nil || string(got) != string(want) {
				t.Errorf("%s: %d bytes, want %d, %v", file, len(got), len(want), err)
			}
		}
		if filepath.Base(pulled.Path) != "demo-1.0.0" || pulled.Digest != pushed.Digest {
			t.Errorf("pulled %+v", pulled)
		}
		if _, err := c.Pull(t.Context(), "demo", reference, target); err == nil || !strings.Contains(err.Error(), "exists already") {
			t.Errorf("pulled over what is there: %v", err)
		}
		if entries, _ := os.ReadDir(target); len(entries) != 1 {
			t.Errorf("left behind: %v", entries)
		}
	}
}

func TestVersionsAreReplacedOnPurposeOnly(t *testing.T) {
	s := newRegistry(t)
	c := connect(t, s)
	first, _ := openPack(t, nil)
	if _, err := c.Push(t.Context(), first, client.Push{}); err != nil {
		t.Fatal(err)
	}
	changed, _ := openPack(t, map[string]string{"README.md": "changed"})
	if _, err := c.Push(t.Context(), changed, client.Push{}); !errors.Is(err, client.ErrExists) {
		t.Errorf("pushed over: %v", err)
	}
	replaced, err := c.Push(t.Context(), changed, client.Push{Force: true, Message: "better words"})
	if err != nil || replaced.Unchanged {
		t.Errorf("%+v, %v", replaced, err)
	}
	same, err := c.Push(t.Context(), changed, client.Push{Force: true, Message: "again"})
	if err != nil || !same.Unchanged {
		t.Errorf("the same content is replaced only with SkipDigestCheck: %+v, %v", same, err)
	}
	if same, err = c.Push(t.Context(), changed, client.Push{Force: true, Message: "again", SkipDigestCheck: true}); err != nil || same.Unchanged {
		t.Errorf("%+v, %v", same, err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	s := newRegistry(t)
	d, _ := openPack(t, nil)
	wrong := s
	wrong.Password = "wrong"
	untrusted := s
	untrusted.CAFile = ""
	nobody := s
	nobody.Username, nobody.Password = "", ""
	for name, tt := range map[string]struct {
		server client.Server
		words  string
	}{
		"wrong password": {wrong, "packctl registry login"},
		"no credentials": {nobody, "packctl registry login"},
		"unknown CA":     {untrusted, "unknown authority"},
		"nobody there":   {client.Server{Host: "127.0.0.1:1"}, "connection refused"},
	} {
		_, err := connect(t, tt.server).Push(t.Context(), d, client.Push{})
		if err == nil || !strings.Contains(err.Error(), tt.words) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	text, err := os.ReadFile(s.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	damaged := s
	damaged.CAFile = filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(damaged.CAFile, append(text, text[:len(text)/2]...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Connect(damaged); err == nil || !strings.Contains(err.Error(), damaged.CAFile+": line ") {
		t.Errorf("a damaged CA file: %v", err)
	}
	insecure := untrusted
	insecure.Insecure = true
	if err := connect(t, insecure).Ping(t.Context()); err != nil {
		t.Errorf("insecure: %v", err)
	}
	if _, err := connect(t, s).Pull(t.Context(), "demo", "9.9.9", t.TempDir()); err == nil || !strings.Contains(err.Error(), "there is no pack demo") {
		t.Errorf("missing version: %v", err)
	}
	if _, err := connect(t, s).List(t.Context(), "none"); err == nil || !strings.Contains(err.Error(), "there is no pack none") {
		t.Errorf("missing pack: %v", err)
	}
}

// Registries send clients on to a bucket, with a signature in the URL that is as good as a password for a while.
func TestErrorsShowNoSignature(t *testing.T) {
	broken := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer broken.Close()
	forbidden := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer forbidden.Close()
	for name, bucket := range map[string]string{"breaks off": broken.URL, "refuses": forbidden.URL, "is not there": "http://127.0.0.1:1"} {
		registry := httptest.NewServer(http.RedirectHandler(bucket+"/pack?X-Amz-Signature=hunter2&x=y", http.StatusTemporaryRedirect))
		defer registry.Close()
		err := connect(t, client.Server{Host: strings.TrimPrefix(registry.URL, "http://"), PlainHTTP: true}).Ping(t.Context())
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfig(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	c, err := client.LoadConfig(home)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Server(""); err == nil || !strings.Contains(err.Error(), "packctl registry login") {
		t.Errorf("no default: %v", err)
	}
	login(t, c, client.Server{Host: "packs.example.com", Username: "ann", Password: "a:b", Insecure: true})
	path, err := c.Save(home)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// The documented form.
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), `"auth": "YW5uOmE6Yg=="`) || !strings.Contains(string(text), `"defaultRegistry": "packs.example.com"`) {
		t.Errorf("%s, %v", text, err)
	}
	if c, err = client.LoadConfig(home); err != nil {
		t.Fatal(err)
	}
	s, err := c.Server("https://packs.example.com/")
	if err != nil || s.Username != "ann" || s.Password != "a:b" || !s.Insecure {
		t.Errorf("%+v, %v", s, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client.LoadConfig(home); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("damaged: %v", err)
	}
}

// The file may be a link into a folder of settings, which stays one, and others may keep their keys in it.
func TestConfigBehindALink(t *testing.T) {
	for name, before := range map[string]string{
		"a file":            `{"auths": {"other.example.com": {"auth": "eDp5", "identitytoken": "t"}}, "credHelpers": {"a": "b"}}`,
		"an empty file":     "",
		"blanks":            " \n",
		"a byte order mark": "\ufeff{}",
		"no file yet":       "none",
	} {
		t.Run(name, func(t *testing.T) {
			home, settings := t.TempDir(), t.TempDir()
			target := filepath.Join(settings, "packctl.json")
			if before != "none" {
				if err := os.WriteFile(target, []byte(before), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			// By way of a second link, a relative one.
			link := filepath.Join(home, "config.json")
			if err := errors.Join(os.Symlink(target, filepath.Join(home, "link")), os.Symlink("link", link)); err != nil {
				t.Fatal(err)
			}
			c, err := client.LoadConfig(home)
			if err != nil {
				t.Fatal(err)
			}
			login(t, c, client.Server{Host: "packs.example.com", Username: "ann", Password: "secret"})
			if _, err := c.Save(home); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
				t.Errorf("the link is one no more: %v", err)
			}
			if info, err := os.Lstat(target); err != nil || info.Mode() != 0o600 {
				t.Errorf("the file: %v, %v", info, err)
			}
			text, err := os.ReadFile(target)
			if err != nil || !strings.Contains(string(text), "packs.example.com") {
				t.Errorf("%s, %v", text, err)
			}
			for _, word := range []string{"credHelpers", "identitytoken", "other.example.com"} {
				if strings.Contains(before, word) != strings.Contains(string(text), word) {
					t.Errorf("%s: %s", word, text)
				}
			}
			again, err := client.LoadConfig(home)
			if err != nil {
				t.Fatal(err)
			}
			if s, err := again.Server(""); err != nil || s.Password != "secret" {
				t.Errorf("%v, %v", s, err)
			}
			for _, dir := range []string{home, settings} {
				if left, err := filepath.Glob(filepath.Join(dir, ".config-*")); err != nil || len(left) > 0 {
					t.Errorf("left behind: %v, %v", left, err)
				}
			}
		})
	}
	home := t.TempDir()
	if err := os.Symlink("config.json", filepath.Join(home, "config.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := (&client.Config{}).Save(home); err == nil || !strings.Contains(err.Error(), "too many symbolic links") {
		t.Errorf("a link to itself: %v", err)
	}
}

func TestParseServer(t *testing.T) {
	for in, want := range map[string]client.Server{
		"packs.example.com":             {Host: "packs.example.com"},
		"packs.example.com:5000":        {Host: "packs.example.com:5000"},
		"https://packs.example.com/":    {Host: "packs.example.com", HTTPS: true},
		"https://packs.example.com/v1/": {Host: "packs.example.com", HTTPS: true},
		"http://10.0.0.1:80":            {Host: "10.0.0.1:80", PlainHTTP: true},
		"oci://packs.example.com":       {Host: "packs.example.com"},
		"oci://packs.example.com/a/b/":  {Host: "packs.example.com", BasePath: "a/b"},
		"[::1]:5000":                    {Host: "[::1]:5000"},
		"":                              {}, "ftp://x": {}, "x/y": {}, "http://u:p@x": {}, ":5000": {}, "x?y": {}, "https://x#y": {},
	} {
		got, err := client.ParseServer(in)
		if (err == nil) != (want.Host != "") || err == nil && (got.Host != want.Host || got.BasePath != want.BasePath || got.PlainHTTP != want.PlainHTTP || got.HTTPS != want.HTTPS) {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
}
