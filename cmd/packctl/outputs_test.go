package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
)

var update = flag.Bool("update", false, "write the outputs that the documentation shows")

// normalize takes out of an output what differs from run to run.
type normalize struct {
	replace []string
	digests []string
}

var (
	anyDigest = regexp.MustCompile(`sha256:[0-9a-f]{64}`)
	anyTime   = regexp.MustCompile(`20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z`)
)

func (n *normalize) output(text string) string {
	text = strings.NewReplacer(n.replace...).Replace(text)
	text = anyTime.ReplaceAllString(text, "2026-01-31T12:00:00Z")
	return anyDigest.ReplaceAllStringFunc(text, func(d string) string {
		if !slices.Contains(n.digests, d) {
			n.digests = append(n.digests, d)
		}
		return "sha256:" + strings.Repeat(fmt.Sprintf("%02x", slices.Index(n.digests, d)+1), 32)
	})
}

// What commands print with --output json is what the documentation shows, command by command, and YAML holds the same.
func TestOutputsAreAsDocumented(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	home, dir := t.TempDir(), t.TempDir()
	nginx := testpack.Dir(t, "nginx", "1.16.1", map[string]string{
		"pack.json": strings.Replace(testpack.Metadata("nginx", "1.16.1"), `"layer"`, `"addonType": "ingress", "layer"`, 1),
	})
	changed := testpack.Dir(t, "nginx", "1.16.1", map[string]string{"README.md": "# Changed"})
	newer := testpack.Dir(t, "nginx", "1.17.0", nil)
	n := &normalize{replace: []string{
		r.Host, "packs.example.com", newer, "nginx-1.17.0", nginx, "nginx-1.16.1", changed, "nginx-1.16.1", dir, "packs",
		r.CAFile, "ca.crt", runtime.GOARCH, "amd64", runtime.GOOS, "linux",
	}}
	chart := filepath.Join(dir, "web.tgz")
	if err := os.WriteFile(chart, []byte(testpack.Chart(t, "web", "1.0.0", nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{}
	for _, line := range []string{
		"registry login " + r.Host + " -u ann --password-stdin --ca-file " + r.CAFile,
		"registry ls --output json",
		"version --output json",
		"pack init " + dir + "/my-app --output json",
		"pack validate " + nginx + " --output json",
		"pack build web " + dir + " --chart " + chart + " --output json",
		"pack push " + nginx + " " + newer + " --output json",
		"pack push --force --message why " + changed + " --output json",
		"pack tag add nginx:1.16.1 stable --output json",
		"pack tag ls nginx --output json",
		"pack ls --output json",
		"pack ls nginx --output json",
		"pack search ngi --output json",
		"pack describe nginx:stable --output json",
		"pack diff nginx:1.16.1 nginx --output json",
		"pack save nginx:1.x --file " + dir + "/nginx.tar --output json",
		"pack pull nginx:1.x " + dir + " --output json",
		"pack tag delete nginx:stable --output json",
		"pack delete nginx:1.16.1 --force --output json",
	} {
		code, out := run(t, home, line)
		if code != 0 {
			t.Fatalf("%s: %d %s", line, code, out)
		}
		if !strings.Contains(line, "--output json") {
			continue
		}
		var fromJSON, fromYAML any
		if err := json.Unmarshal([]byte(out), &fromJSON); err != nil {
			t.Errorf("%s: %v in %s", line, err, out)
		}
		if reads := regexp.MustCompile(` (ls|search|describe|version) ?`); reads.MatchString(line) {
			_, text := run(t, home, strings.Replace(line, "json", "yaml", 1))
			if err := yaml.Unmarshal([]byte(text), &fromYAML); err != nil || fmt.Sprint(fromJSON) != fmt.Sprint(fromYAML) {
				t.Errorf("%s: %v, and as YAML %v; %v", line, fromJSON, fromYAML, err)
			}
		}
		command, _, err := newCommand().Find(strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		shown[strings.ReplaceAll(command.CommandPath(), " ", "_")] += "$ packctl " + n.output(line) + "\n" + n.output(out)
	}
	for name, text := range shown {
		file := filepath.Join("outputs", name+".txt")
		if *update {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(file); err != nil || string(want) != text {
			t.Errorf("%s is not what is printed; if that is meant: go test ./cmd/packctl -run Outputs -update, and make generate\n%s; %v", file, text, err)
		}
	}
	for _, cmd := range withOutput(newCommand()) {
		if shown[strings.ReplaceAll(cmd.CommandPath(), " ", "_")] == "" {
			t.Errorf("%s has --output, and the documentation shows none", cmd.CommandPath())
		}
	}
}

// withOutput returns the commands that print data.
func withOutput(cmd *cobra.Command) []*cobra.Command {
	var found []*cobra.Command
	if cmd.Flags().Lookup("output") != nil {
		found = append(found, cmd)
	}
	for _, sub := range cmd.Commands() {
		found = append(found, withOutput(sub)...)
	}
	return found
}
