package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"packregistry.dev/client"
	"packregistry.dev/internal/testpack"
)

// packctl runs a command line and returns what it prints.
func packctl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newCommand()
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetIn(strings.NewReader("secret\n"))
	cmd.SetArgs(append([]string{"--home", t.TempDir()}, args...))
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestValidate(t *testing.T) {
	good := testpack.Dir(t, "demo", "1.0.0", nil)
	out, err := packctl(t, "pack", "validate", good)
	if err != nil || !strings.HasPrefix(out, "demo:1.0.0 is a valid pack\n  warning: pack.json#/annotations: no annotation source") {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := packctl(t, "pack", "validate", "--strict", good); exitCode(t.Context(), err) != exitRefused || !strings.Contains(out, "error: pack.json#/annotations") {
		t.Errorf("%q, %v", out, err)
	}
	bad := testpack.Dir(t, "demo", "1.0.0", map[string]string{"values.yaml": "x: 1\na: [\n", "manifests/app.yaml": ""})
	out, err = packctl(t, "pack", "validate", bad, good)
	if exitCode(t.Context(), err) != exitRefused || !strings.Contains(err.Error(), "2 errors in 2 packs") || !strings.Contains(out, "error: values.yaml: not YAML") {
		t.Errorf("%q, %v", out, err)
	}
	out, err = packctl(t, "pack", "validate", "-o", "sarif", bad)
	var log struct {
		Version string
		Runs    []struct {
			Results []struct {
				Level, RuleID string
				Locations     []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
			}
		}
	}
	if json.Unmarshal([]byte(out), &log) != nil || exitCode(t.Context(), err) != exitRefused || log.Version != "2.1.0" || len(log.Runs) != 1 || len(log.Runs[0].Results) < 3 {
		t.Fatalf("%s, %v", out, err)
	}
	if r := log.Runs[0].Results[1]; r.Level != "error" || r.RuleID != "values" || r.Locations[0].PhysicalLocation.ArtifactLocation.URI != bad+"/values.yaml" ||
		r.Locations[0].PhysicalLocation.Region.StartLine != 2 {
		t.Errorf("%+v", r)
	}
	var list []client.Validation
	if out, err = packctl(t, "pack", "validate", "-o", "json", "--recursive", filepath.Dir(good)); json.Unmarshal([]byte(out), &list) != nil || len(list) != 2 || list[0].Name != "demo" || exitCode(t.Context(), err) != exitRefused {
		t.Errorf("%s, %v", out, err)
	}
	if out, err = packctl(t, "pack", "validate", filepath.Dir(good)); exitCode(t.Context(), err) != exitUsage || !strings.Contains(err.Error(), "--recursive") {
		t.Errorf("%s, %v", out, err)
	}
}

func TestErrorsOfTheCommandLine(t *testing.T) {
	for args, words := range map[string]string{
		"pack push %s":                      "packctl registry login",
		"pack push --force %s":              "--force needs --message",
		"pack ls":                           "there is no default",
		"pack pull demo: x":                 "NAME:TAG or NAME@DIGEST",
		"pack delete demo":                  "NAME:TAG or NAME@DIGEST",
		"pack delete demo:1":                "--force",
		"pack delete -f demo:1":             "there is no default",
		"pack tag add demo:1 stable":        "there is no default",
		"pack tag delete demo@sha256:1":     "name a tag as NAME:TAG",
		"registry logout packs.example.com": "nobody is logged in",
		"registry logout a/b":               "host or host:port",
		"pack validate /none":               "no such file",
		"registry login http://x --username a --password-stdin": "--insecure",
		"registry login x --password-stdin":                     "--username",
		"registry login a/b":                                    "host or host:port",
		"registry login 127.0.0.1:1 -u a --password-stdin":      "connection refused",
	} {
		line := strings.Fields(strings.ReplaceAll(args, "%s", testpack.Dir(t, "demo", "1.0.0", nil)))
		out, err := packctl(t, line...)
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", args, err)
		}
		if strings.Contains(out, "secret") || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s shows the password", args)
		}
	}
}

// The error of a password that no registry of ours could take says why.
func TestAPasswordThatBcryptCannotTell(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	for password, want := range map[string]string{
		"secret":                         "unknown user or wrong password",
		"secret\x00secret":               "holds a NUL byte",
		strings.Repeat("secret", 13):     "longer than the 72 bytes",
		strings.Repeat("secret", 64<<10): "more than the 65536 bytes",
	} {
		cmd := newCommand()
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		cmd.SetIn(strings.NewReader(password + "\n"))
		cmd.SetArgs([]string{"--home", t.TempDir(), "registry", "login", server.URL, "--insecure", "-u", "ann", "--password-stdin"})
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.20q: %v, want %q", password, err, want)
		}
	}
}

func TestLogout(t *testing.T) {
	home := t.TempDir()
	c, err := client.LoadConfig(home)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"packs.example.com", "other.example.com"} {
		if _, err := c.Login(t.Context(), client.Server{Host: host, Username: "ann", Password: "secret"}); err != nil {
			t.Fatal(err)
		}
	}
	path, err := c.Save(home)
	if err != nil {
		t.Fatal(err)
	}
	out, err := packctl(t, "--home", home, "registry", "logout", "https://packs.example.com")
	if err != nil || out != "Removed the credentials for packs.example.com\n" {
		t.Errorf("%q, %v", out, err)
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(text), "packs.example.com") || !strings.Contains(string(text), "other.example.com") {
		t.Errorf("%s, %v", text, err)
	}
}
