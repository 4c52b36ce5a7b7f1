package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
)

// exampleCodes are the exit codes of examples that do not end with 0 where nobody is at a terminal, or where the packs are these.
var exampleCodes = map[string]int{
	"packctl registry login packs.example.com":                         exitUsage,
	"packctl registry login 10.10.10.1:5000 --insecure --default":      exitUsage,
	"packctl pack delete nginx:1.2.3":                                  exitUsage,
	"packctl pack delete ubuntu:14.4.3 --group lts":                    exitUsage,
	"packctl pack validate --recursive --strict packs":                 exitRefused,
	"packctl pack diff --exit-code --output json nginx ./nginx-1.17.0": 6,
}

// exampleHosts are hosts in examples that tests do not reach.
var exampleHosts = regexp.MustCompile(`oci://ghcr\.io|https://charts\.example\.com`)

// Every example of every help text does what it says, in a shell, as somebody finds it who has the packs that it names.
func TestExamplesRun(t *testing.T) {
	t.Parallel()
	ran := 0
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
		for line := range strings.Lines(cmd.Example) {
			if line = strings.TrimSpace(line); exampleHosts.MatchString(line) {
				continue // build_test.go builds from such servers
			}
			ran++
			t.Run(line, func(t *testing.T) {
				t.Parallel()
				if code, out := exampleShell(t, line); code != exampleCodes[line] {
					t.Errorf("exit code %d, want %d: %s", code, exampleCodes[line], out)
				}
			})
		}
	}
	visit(newCommand())
	if ran < 40 {
		t.Errorf("%d examples", ran)
	}
}

// exampleShell runs a line in a folder with what examples name: folders of packs, a chart, files of a save, and registries.
func exampleShell(t *testing.T, line string) (code int, output string) {
	t.Helper()
	dir, home := t.TempDir(), t.TempDir()
	hosts := []string{"packs.example.com", "mirror.example.com:5000", "harbor.example.com", "10.10.10.1:5000"}
	var replace []string
	for _, host := range hosts {
		replace = append(replace, host, testregistry.New(t, testregistry.Options{PlainHTTP: true}).Host)
	}
	names := strings.NewReplacer(replace...)
	place := func(from, to string) {
		to = filepath.Join(dir, to)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.CopyFS(to, os.DirFS(from))); err != nil {
			t.Fatal(err)
		}
	}
	for _, version := range []string{"1.16.1", "1.17.0", "1.2.3"} {
		place(testpack.Dir(t, "nginx", version, nil), "nginx-"+version)
	}
	place(testpack.Dir(t, "nginx", "2.0.0", nil), "nginx")
	place(testpack.Dir(t, "redis", "1.2.3", nil), "packs/redis")
	place(testpack.Dir(t, "ubuntu", "14.4.3", withGroup("ubuntu", "14.4.3", "lts")), "packs/ubuntu")
	if err := os.WriteFile(filepath.Join(dir, "nginx-1.16.1.tgz"), []byte(testpack.Chart(t, "nginx", "1.16.1", nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nTEST_PACKCTL_RUN=1 exec %q --home %q \"$@\"\n", os.Args[0], home)
	if err := os.WriteFile(filepath.Join(bin, "packctl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	shell := func(text string) (int, string) {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", names.Replace(text))
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "PASSWORD="+testregistry.Password, "DOCKER_CONFIG="+home)
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	var setUp strings.Builder
	setUp.WriteString("set -e\n")
	for i, host := range hosts {
		if i > 0 && !strings.Contains(line, host) {
			continue
		}
		fmt.Fprintf(&setUp, "echo $PASSWORD | packctl registry login %s -i -u ann --password-stdin\n", host)
	}
	setUp.WriteString("packctl pack push nginx-1.16.1 nginx-1.17.0 nginx-1.2.3 packs/ubuntu packs/redis\n")
	if strings.Contains(line, "packs.tar") {
		setUp.WriteString("packctl pack save redis -o packs.tar\npackctl pack load packs.tar > packs.lock\n")
	}
	if strings.Contains(line, "nginx:stable") {
		setUp.WriteString("packctl pack tag add nginx:1.16.1 stable\n")
	}
	if strings.Contains(line, "ubuntu:beta") {
		setUp.WriteString("packctl pack tag add ubuntu:lts__14.4.3 beta --group lts\n")
	}
	if strings.Contains(line, "oci://harbor.example.com/test") {
		setUp.WriteString("packctl pack copy nginx:1.16.1 oci://harbor.example.com/test\n")
	}
	if strings.Contains(line, "save ") || strings.Contains(line, "pull ") { // which replace nothing
		setUp.WriteString("rm -rf packs.tar nginx-1.17.0\n")
	}
	code, out := shell(setUp.String())
	if code != 0 {
		t.Fatal(out)
	}
	if strings.Contains(line, "@sha256:") {
		_, out := shell("packctl pack describe nginx:1.16.1")
		line = regexp.MustCompile(`sha256:[0-9a-f]{64}`).ReplaceAllString(line, regexp.MustCompile(`Digest +(sha256:[0-9a-f]{64})`).FindStringSubmatch(out)[1])
	}
	// The user of examples is admin; that of these registries has another name.
	return shell(strings.ReplaceAll(line, "--username admin", "--username "+testregistry.Username+" --insecure"))
}
