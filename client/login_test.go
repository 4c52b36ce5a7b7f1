package client_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"packregistry.dev/client"
	"packregistry.dev/internal/testregistry"
)

// configWith reads a configuration of the documented form.
func configWith(t *testing.T, text string) *client.Config {
	t.Helper()
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := client.LoadConfig(home)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var basic = base64.StdEncoding.EncodeToString([]byte(testregistry.Username + ":" + testregistry.Password))

// "insecure" means a certificate that is not verified, or no TLS at all: the server's name does not say which.
func TestInsecureFindsOutWhetherThereIsTLS(t *testing.T) {
	t.Parallel()
	d, _ := openPack(t, nil)
	for name, plain := range map[string]bool{"HTTP": true, "HTTPS": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := testregistry.New(t, testregistry.Options{PlainHTTP: plain})
			s := client.Server{Host: r.Host, Username: testregistry.Username, Password: testregistry.Password, Insecure: true}
			verified, err := client.Verify(t.Context(), s)
			if err != nil || verified.PlainHTTP != plain {
				t.Errorf("login: PlainHTTP is %v, %v", verified.PlainHTTP, err)
			}
			if s.Password = "wrong"; true {
				if _, err := client.Verify(t.Context(), s); !errors.Is(err, client.ErrDenied) {
					t.Errorf("wrong password: %v", err)
				}
			}
			for _, key := range []string{r.Host, map[bool]string{true: "http://", false: "https://"}[plain] + r.Host, "https://" + r.Host + "/v1/"} {
				if plain && strings.HasPrefix(key, "https://") {
					key = "oci://" + r.Host
				}
				c := configWith(t, fmt.Sprintf(`{"auths": {%q: {"auth": %q, "insecure": true}}, "defaultRegistry": %q}`, key, basic, r.Host))
				known, err := c.Server("")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := connect(t, known).Push(t.Context(), d, client.Push{}); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
		})
	}
	r := testregistry.New(t, testregistry.Options{PlainHTTP: true})
	for name, s := range map[string]client.Server{
		"without --insecure":        {Host: r.Host},
		"with https:// in its name": {Host: r.Host, Insecure: true, HTTPS: true},
	} {
		if _, err := client.Verify(t.Context(), s); err == nil || !strings.Contains(err.Error(), "--insecure (-i)") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerifySaysWhatTheServerIs(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		words  string
	}{
		"a web site": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Write([]byte("<html>"))
		}, "not as a registry"},
		"another API": {http.NotFound, "not as a registry (404 Not Found for /v2/)"},
		"a registry that lets everybody in": {func(w http.ResponseWriter, r *http.Request) {
			if _, _, ok := r.BasicAuth(); ok {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
			}
		}, "unknown user or wrong password"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := httptest.NewServer(tt.answer)
			t.Cleanup(h.Close)
			s := client.Server{Host: strings.TrimPrefix(h.URL, "http://"), PlainHTTP: true, Username: "ann", Password: "wrong"}
			if _, err := client.Verify(t.Context(), s); err == nil || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestLoginsAreRemembered(t *testing.T) {
	home := t.TempDir()
	c, err := client.LoadConfig(home)
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.crt")
	t.Chdir(filepath.Dir(ca))
	login(t, c, client.Server{Host: "one.example.com", Username: "ann", Password: "1", CAFile: "ca.crt"})
	login(t, c, client.Server{Host: "two.example.com", Username: "ann", Password: "2", PlainHTTP: true, Insecure: true})
	if _, err := c.Save(home); err != nil {
		t.Fatal(err)
	}
	if c, err = client.LoadConfig(home); err != nil {
		t.Fatal(err)
	}
	if s, err := c.Server(""); err != nil || s.Host != "one.example.com" || s.CAFile != ca {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := c.Server("two.example.com"); err != nil || !s.PlainHTTP || !s.Insecure {
		t.Errorf("%+v, %v", s, err)
	}
	list := c.Servers()
	if len(list) != 2 || list[0].Name != "one.example.com" || !list[0].Default || list[0].CAFile != ca || list[1].Default || !list[1].Insecure || list[1].Username != "ann" {
		t.Errorf("%+v", list)
	}
	if known, err := c.Logout(t.Context(), "one.example.com"); err != nil || !known {
		t.Errorf("%v, %v", known, err)
	}
	if s, err := c.Server(""); err == nil {
		t.Errorf("the default after its logout: %+v", s)
	}
}

// Docker's login is good enough where packctl has none, and its helpers keep passwords where they are configured.
func TestCredentialsOfDocker(t *testing.T) {
	s := newRegistry(t)
	d, _ := openPack(t, nil)
	docker, bin := t.TempDir(), t.TempDir()
	t.Setenv("DOCKER_CONFIG", docker)
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	kept := filepath.Join(bin, "kept")
	helper := "#!/bin/sh\ncase $1 in store) cat > " + kept + ";; erase) rm " + kept + ";; get) [ -f " + kept + " ] && cat " + kept + " || { echo credentials not found in native keychain; exit 1; };; esac\n"
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(helper), 0o700); err != nil {
		t.Fatal(err)
	}
	push := func(c *client.Config) error {
		known, err := c.Server(s.Host)
		if err != nil {
			return err
		}
		known.CAFile = s.CAFile
		_, err = connect(t, known).Push(t.Context(), d, client.Push{})
		return err
	}
	if err := push(configWith(t, "{}")); !errors.Is(err, client.ErrDenied) {
		t.Errorf("with no login at all: %v", err)
	}
	if err := os.WriteFile(filepath.Join(docker, "config.json"), fmt.Appendf(nil, `{"auths": {%q: {"auth": %q}}}`, s.Host, basic), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := push(configWith(t, "{}")); err != nil {
		t.Errorf("with Docker's login: %v", err)
	}
	if err := os.Remove(filepath.Join(docker, "config.json")); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`{"credsStore": "test"}`, fmt.Sprintf(`{"credHelpers": {%q: "test"}}`, s.Host)} {
		c := configWith(t, text)
		used, err := c.Login(t.Context(), s)
		if err != nil || used != "test" {
			t.Fatalf("%q, %v", used, err)
		}
		home := t.TempDir()
		path, err := c.Save(home)
		if err != nil {
			t.Fatal(err)
		}
		if file, err := os.ReadFile(path); err != nil || strings.Contains(string(file), basic) || !strings.Contains(string(file), `"test"`) {
			t.Errorf("the file has the password, or lost the helper: %s, %v", file, err)
		}
		if c, err = client.LoadConfig(home); err != nil {
			t.Fatal(err)
		}
		if err := push(c); err != nil {
			t.Errorf("with a helper: %v", err)
		}
		if _, err := c.Logout(t.Context(), s.Host); err != nil {
			t.Error(err)
		}
		if err := push(c); !errors.Is(err, client.ErrDenied) {
			t.Errorf("after the logout: %v", err)
		}
	}
}
