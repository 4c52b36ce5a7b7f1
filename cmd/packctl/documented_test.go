package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
)

// Somebody who knows the command line that packs are documented with finds every word of it: each line stands as it is
// documented but for the name of the program, of files and of servers. What differs is said beside it.
func TestTheDocumentedCommandLine(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{PlainHTTP: true}) // as -i means: HTTP, or a certificate that is not verified
	secure := testregistry.New(t, testregistry.Options{})
	home, dir := t.TempDir(), t.TempDir()
	nginx := testpack.Dir(t, "nginx", "1.16.1", nil)
	changed := testpack.Dir(t, "nginx", "1.16.1", map[string]string{"README.md": "changed"})
	ubuntu := testpack.Dir(t, "ubuntu", "14.4.3", map[string]string{"pack.json": strings.Replace(testpack.Metadata("ubuntu", "14.4.3"), `"layer"`, `"group": "lts", "layer"`, 1)})
	chart := filepath.Join(dir, "web.tgz")
	if err := os.WriteFile(chart, []byte(testpack.Chart(t, "web", "1.0.0", nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	digest := ""
	for _, tt := range []struct {
		line  string
		code  int
		words string
	}{
		{"registry login " + r.Host + " --insecure --default --username ann --password secret", 0, "Login Succeeded"},
		{"registry login --insecure http://" + r.Host + " --username ann --password secret", 0, "Login Succeeded"},
		{"registry login -i " + secure.Host + " --username ann --password secret", 0, "Login Succeeded"},
		{"registry login -i -d " + r.Host + " --username ann --password wrong", 4, "wrong password"},
		{"registry login " + r.Host + " --username ann --password secret", 1, "--insecure (-i)"},
		{"pack build web " + dir + " -p -r " + r.Host + " --chart " + chart, 0, "pushed web:1.0.0"}, // the chart is named, not guessed
		{"pack push " + nginx, 0, "pushed nginx:1.16.1"},
		{"pack push " + nginx + " --registry-server " + secure.Host, 0, "pushed nginx:1.16.1"},
		{"pack push " + ubuntu + " -r " + r.Host, 0, "pushed ubuntu:lts__14.4.3"},
		{"pack push " + changed, 3, "exists already"},
		{"pack push " + changed + " -f", 2, "--message"},
		{"pack push -m why --registry-server " + r.Host + " --force " + changed, 0, "replaced nginx:1.16.1"},
		{"pack push " + changed + " -f -m again", 0, "unchanged"},
		{"pack push " + changed + " -f -m again --skip-digest-check", 0, "replaced"},
		{"pack ls", 0, "lts__14.4.3"},
		{"pack ls " + r.Host, 0, "1.16.1"},
		{"pack ls --name nginx", 0, "1.16.1"},
		{"pack ls --name nginx --registry-server " + r.Host, 0, "1.16.1"},
		{"pack ls -n nginx -r " + r.Host, 0, "1.16.1"},
		{"pack ls -n nginx " + r.Host, 0, "1.16.1"},
		{"pack pull nginx:1.16.1 " + dir, 0, "nginx-1.16.1"},
		{"pack pull nginx@DIGEST " + dir + "/by-digest", 0, "nginx-1.16.1"},
		{"pack pull nginx:1.16.1 " + dir + "/other -r " + secure.Host, 0, "nginx-1.16.1"},
		{"pack tag add ubuntu:lts__14.4.3 stable", 0, "ubuntu:stable"},
		{"pack tag add ubuntu:lts__14.4.3 beta -g lts -r " + r.Host, 0, "ubuntu:lts__beta"},
		// 14.4.3-beta reads as another version, which the pack's own pack.json does not say that it is.
		{"pack tag add ubuntu:lts__14.4.3 14.4.3-beta -g lts -r " + r.Host, 3, "reads as another version"},
		{"pack tag delete ubuntu:lts__14.4.x", 3, "parent tag"},
		{"pack tag delete ubuntu:stable", 0, "removed"},
		{"pack tag delete ubuntu:lts__beta -r " + r.Host, 0, "removed"},
		{"version", 0, "packctl dev linux/"},
		{"--help", 0, "Usage"},
	} {
		line := strings.ReplaceAll(tt.line, "DIGEST", digest)
		code, out := run(t, home, line) // --home is -s, too
		if code != tt.code || !strings.Contains(out, tt.words) {
			t.Errorf("packctl %s: exit code %d, want %d and %q; %s", line, code, tt.code, tt.words, out)
		}
		if found := regexp.MustCompile(`digest +(sha256:[0-9a-f]{64})`).FindStringSubmatch(out); found != nil && strings.Contains(out, "nginx") {
			digest = found[1]
		}
	}
	text, err := os.ReadFile(filepath.Join(home, "config.json"))
	for _, words := range []string{`"auths"`, `"auth": "YW5uOnNlY3JldA=="`, `"insecure": true`, fmt.Sprintf(`"defaultRegistry": %q`, r.Host)} {
		if err != nil || !strings.Contains(string(text), words) {
			t.Errorf("%s lacks %s; %v", text, words, err)
		}
	}
	if code, out := run(t, t.TempDir(), "-s "+home+" pack ls"); code != 0 {
		t.Error(out)
	}
}

// Every command has an example or needs none, and the words of every example are those of a command line that is.
func TestExamplesAreCommandLines(t *testing.T) {
	t.Parallel()
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
		if cmd.HasSubCommands() || cmd.Name() == "help" || cmd.Name() == "version" || cmd.Parent().Name() == "completion" {
			return
		}
		if cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			_, after, found := strings.Cut(line, "packctl")
			if !found {
				t.Errorf("%q is no command line of packctl", line)
				continue
			}
			words := wordsOf("packctl" + after)
			if i := indexOf(words, ">"); i >= 0 {
				words = words[:i]
			}
			command, args, err := newCommand().Find(words[1:])
			if err != nil || command.CommandPath() != cmd.CommandPath() {
				t.Errorf("%q is not an example of %s: %v", line, cmd.CommandPath(), err)
				continue
			}
			if err := command.ParseFlags(args); err != nil {
				t.Errorf("%q: %v", line, err)
			} else if err := command.ValidateArgs(command.Flags().Args()); err != nil {
				t.Errorf("%q: %v", line, err)
			}
		}
	}
	visit(newCommand())
}

// wordsOf splits a line as a shell does that knows double quotes alone.
func wordsOf(line string) []string {
	var words []string
	for _, word := range regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(line, -1) {
		words = append(words, strings.Trim(word, `"`))
	}
	return words
}

func indexOf(words []string, word string) int {
	for i, w := range words {
		if w == word {
			return i
		}
	}
	return -1
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	home := t.TempDir()
	for _, line := range []string{
		"registry login " + r.Host + " -u ann --password-stdin --ca-file " + r.CAFile,
		"pack push " + testpack.Dir(t, "demo", "1.0.0", nil) + " " + testpack.Dir(t, "dns", "2.1.0", nil),
	} {
		if code, out := run(t, home, line); code != 0 {
			t.Fatal(out)
		}
	}
	for line, want := range map[string]string{
		"pack pull d":                     "demo\ndns\n:6\n",
		"pack pull demo:":                 "demo:1.0.0\n:4\n",
		"pack describe dns:2":             "dns:2.1.0\n:4\n",
		"pack tag ls d":                   "demo\ndns\n:6\n",
		"registry logout 1":               r.Host + "\n:4\n",
		"pack pull -r nobody.invalid:1 d": ":4\n",
	} {
		if code, out := run(t, home, "__complete "+line); code != 0 || !strings.HasPrefix(out, want) {
			t.Errorf("%s: %d %q, want %q", line, code, out, want)
		}
	}
}

// The documentation in the repository is that of the commands.
func TestDocumentationIsCurrent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if code, out := run(t, t.TempDir(), "docs "+dir); code != 0 {
		t.Fatal(out)
	}
	made, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil || len(made) < 20 {
		t.Fatal(made, err)
	}
	for _, file := range made {
		want, err1 := os.ReadFile(file)
		got, err2 := os.ReadFile(filepath.Join("../../docs/packctl", filepath.Base(file)))
		if err1 != nil || err2 != nil || string(got) != string(want) {
			t.Errorf("docs/packctl/%s is stale: run make generate; %v %v", filepath.Base(file), err1, err2)
		}
	}
	if kept, err := filepath.Glob("../../docs/packctl/*.md"); err != nil || len(kept) != len(made) {
		t.Errorf("%d files are kept, %d are made; %v", len(kept), len(made), err)
	}
	man := t.TempDir()
	if code, out := run(t, t.TempDir(), "docs --man "+man); code != 0 {
		t.Fatal(out)
	}
	if page, err := os.ReadFile(filepath.Join(man, "packctl-pack-push.1")); err != nil || !strings.Contains(string(page), ".SH EXAMPLE") {
		t.Errorf("%s, %v", page, err)
	}
}
