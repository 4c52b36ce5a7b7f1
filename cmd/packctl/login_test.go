package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/internal/testregistry"
	"packregistry.dev/internal/testserver"
)

// process makes a command that runs packctl as a process of its own.
func process(t *testing.T, home string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"--home", home}, args...)...)
	cmd.Env = append(os.Environ(), "TEST_PACKCTL_RUN=1", "DOCKER_CONFIG="+home)
	return cmd
}

// run runs a command line and returns its exit code and what it prints.
func run(t *testing.T, home, line string) (code int, output string) {
	t.Helper()
	cmd := process(t, home, strings.Fields(line)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Stdin = &out, &out, strings.NewReader(testregistry.Password+"\n")
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// packsBelow makes a folder of packs.
func packsBelow(t *testing.T, names ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range names {
		if err := os.Rename(testpack.Dir(t, name, "1.0.0", nil), filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	readOnly := testregistry.New(t, testregistry.Options{Access: "{readonlyusers: [ann]}"})
	home := t.TempDir()
	demo := testpack.Dir(t, "demo", "1.0.0", nil)
	changed := testpack.Dir(t, "demo", "1.0.0", map[string]string{"README.md": "changed"})
	fresh := filepath.Join(t.TempDir(), "my-app")
	archives := t.TempDir()
	many := packsBelow(t, "one", "two")
	broken := testpack.Dir(t, "demo", "1.0.0", map[string]string{"values.yaml": ""})
	for _, tt := range []struct {
		line  string
		code  int
		words string
	}{
		{"version", 0, "packctl dev"},
		{"", 0, "Usage"},
		{"pakc", 2, `did you mean "pack"`},
		{"pack", 2, "Usage"},
		{"pack psuh x", 2, `did you mean "push"`},
		{"pack frobnicate x", 2, "push"},
		{"registry", 2, "login"},
		{"pack tag", 2, "add"},
		{"pack tag ad x", 2, `did you mean "add"`},
		{"pack push", 2, "Usage"},
		{"pack ls --frobnicate", 2, "unknown flag"},
		{"registry ls -o xml", 2, "is unknown"},
		{"registry login a/b", 2, "host or host:port"},
		{"registry login http://" + r.Host + " -u ann --password-stdin", 2, "--insecure"},
		{"pack pull demo: x", 2, "NAME:TAG"},
		{"pack validate " + broken, 3, "values.yaml"},
		{"pack validate /none", 1, "no such file"},
		{"registry login 127.0.0.1:1 -u ann --password-stdin", 1, "connection refused"},
		{"registry login " + r.Host + " -u ann --password-stdin", 1, "unknown authority"},
		{"registry login " + r.Host + " -u bob --password-stdin --ca-file " + r.CAFile, 4, "unknown user or wrong password"},
		{"pack ls -r " + r.Host + " --ca-file " + r.CAFile, 4, "packctl registry login"},
		{"registry login " + r.Host + " -u ann --password-stdin --ca-file " + r.CAFile, 0, "Login Succeeded"},
		{"registry login " + readOnly.Host + " -u ann --password secret -i", 0, "WARNING"},
		{"registry ls", 0, r.Host + "   ann    yes"},
		{"pack push --dry-run " + demo, 0, "would be pushed demo:1.0.0"},
		{"pack ls demo", 5, "there is no pack demo"},
		{"pack push " + demo, 0, "pushed demo:1.0.0"}, // with the CA of the login
		{"pack push " + demo, 0, "unchanged demo:1.0.0"},
		{"pack push " + changed, 3, "--force"},
		{"pack push -f " + changed, 2, "--message"},
		{"pack push --skip-digest-check " + changed, 2, "--force"},
		{"pack push " + demo + " " + changed, 3, "are both demo:1.0.0"},
		{"pack push " + broken + " " + changed, 3, "nothing was pushed"},
		{"pack push -f -m why " + changed, 0, "replaced demo:1.0.0"},
		{"pack push -f -m why " + changed, 0, "unchanged demo:1.0.0"},
		{"pack push -f -m why --skip-digest-check " + changed, 0, "replaced demo:1.0.0"},
		{"pack push " + many, 2, many + "/one, " + many + "/two; name them, or add --recursive"},
		{"pack push --recursive " + many, 0, "2 pushed, 0 replaced, 0 unchanged, 0 failed"},
		{"pack push --recursive " + many + " " + demo, 3, "0 pushed, 0 replaced, 2 unchanged, 1 failed"},
		{"pack push -o json " + changed, 0, `"unchanged": true`},
		{"pack push " + demo + " -r " + readOnly.Host, 4, "lacks the right to push to demo"},
		{"pack ls none", 5, "there is no pack none"},
		{"pack pull demo:2.0.0", 5, "there is no demo:2.0.0"},
		{"pack pull demo:1.x " + t.TempDir(), 0, "pulled demo:1.0.0"},
		{"pack pull demo -o zip " + archives, 2, "folder or archive"},
		{"pack pull demo -o archive " + archives, 0, archives + "/demo-1.0.0.tar.gz"},
		{"pack pull demo -o archive " + archives, 1, "file exists"},
		{"pack tag add demo:1.x stable", 0, "demo:stable"},
		{"pack tag add demo:1.0.0 beta -g lts", 0, "demo:lts__beta"},
		{"pack ls demo", 0, "1.0.0"},
		{"pack tag ls demo", 0, "1.0.0               1.0.x 1.x   sha256:"},
		{"pack tag ls none", 5, "there is no pack none"},
		{"pack describe demo", 0, "1.0.0, lts__beta, stable, 1.0.x, 1.x"},
		{"pack describe demo:1.x", 0, "manifests/app.yaml    16 B"},
		{"pack describe demo:1.x -o json", 0, `"displayName": "Test"`},
		{"pack describe demo:9", 5, "there is no demo:9"},
		{"pack init " + fresh, 0, "made my-app:0.1.0"},
		{"pack validate " + fresh, 0, "my-app:0.1.0 is a valid pack\n  warning: logo.png: missing"},
		{"pack init " + fresh, 1, "exists already"},
		{"pack ls -n demo " + r.Host, 0, "1.0.0"},
		{"pack tag delete demo:1.x", 3, "parent tag"},
		{"pack delete demo:1.0.0", 2, "--force"},
		{"pack delete -f demo:1.0.0", 0, "1.0.0, lts__beta, stable"},
		{"registry logout nobody.example.com", 1, "nobody is logged in"},
		{"registry logout " + r.Host, 0, "Removed"},
	} {
		if code, out := run(t, home, tt.line); code != tt.code || !strings.Contains(out, tt.words) || strings.Contains(out, "secret") {
			t.Errorf("packctl %s: exit code %d, want %d and %q; %s", tt.line, code, tt.code, tt.words, out)
		}
	}
	if kept, err := os.ReadDir(archives); err != nil || len(kept) != 1 || kept[0].Name() != "demo-1.0.0.tar.gz" {
		t.Errorf("left behind: %v, %v", kept, err)
	}
}

// pseudoTerminal opens a terminal: what a person types goes into it, and what programs write comes out.
func pseudoTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		testserver.Missing(t, "prompts need a pseudo-terminal, which cannot be opened: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	number, unlock := 0, 0
	for request, value := range map[uintptr]*int{unix.TIOCSPTLCK: &unlock, unix.TIOCGPTN: &number} {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, person.Fd(), request, uintptr(unsafe.Pointer(value))); errno != 0 {
			testserver.Missing(t, "prompts need a pseudo-terminal, which cannot be opened: %v", errno)
		}
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		testserver.Missing(t, "prompts need a pseudo-terminal, which cannot be opened: %v", err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// await reads until the words come.
func await(t *testing.T, from io.Reader, words string) {
	t.Helper()
	var got []byte
	for b := make([]byte, 1); !strings.Contains(string(got), words); {
		if _, err := from.Read(b); err != nil {
			t.Fatalf("waiting for %q: %q, %v", words, got, err)
		}
		got = append(got, b...)
	}
}

// Ctrl-C and SIGTERM end a prompt at once, and leave the terminal as it was.
func TestPromptsEndWithASignal(t *testing.T) {
	t.Parallel()
	r := testregistry.New(t, testregistry.Options{})
	home := t.TempDir()
	for _, line := range []string{
		"registry login " + r.Host + " -u ann --password-stdin --ca-file " + r.CAFile,
		"pack push " + testpack.Dir(t, "demo", "1.0.0", nil),
	} {
		if code, out := run(t, home, line); code != 0 {
			t.Fatal(out)
		}
	}
	for _, tt := range []struct{ line, typed, prompt string }{
		{"registry login " + r.Host, "", "Username: "},
		{"registry login " + r.Host, "ann\r", "Password: "},
		{"pack delete demo:1.0.0", "", "[y/N] "},
	} {
		for signal, send := range map[string]func(*os.File, *os.Process){
			"Ctrl-C":  func(person *os.File, _ *os.Process) { person.Write([]byte{3}) },
			"SIGTERM": func(_ *os.File, p *os.Process) { p.Signal(syscall.SIGTERM) },
		} {
			t.Run(tt.prompt+signal, func(t *testing.T) {
				person, program := pseudoTerminal(t)
				before, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
				if err != nil {
					t.Fatal(err)
				}
				cmd := process(t, home, strings.Fields(tt.line)...)
				cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if tt.typed != "" {
					await(t, person, "Username: ")
					person.WriteString(tt.typed)
				}
				await(t, person, tt.prompt)
				send(person, cmd.Process)
				ended := make(chan error, 1)
				go func() { ended <- cmd.Wait() }()
				select {
				case <-ended:
				case <-time.After(time.Minute):
					cmd.Process.Kill()
					t.Fatal("it does not end")
				}
				if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
					t.Errorf("exit code %d", code)
				}
				after, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
				if err != nil || after.Lflag != before.Lflag {
					t.Errorf("the terminal's flags were %x, and are %x; %v", before.Lflag, after.Lflag, err)
				}
			})
		}
	}
	if code, out := run(t, home, "pack ls demo"); code != 0 {
		t.Errorf("the pack is gone: %s", out)
	}
	if text, err := os.ReadFile(filepath.Join(home, "config.json")); err != nil || !strings.Contains(string(text), r.Host) {
		t.Errorf("the login is gone: %s, %v", text, err)
	}
}
