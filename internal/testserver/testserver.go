// Package testserver starts the real servers that tests talk to: an S3 server (versitygw) and an ACME server (Pebble),
// each built once from its pinned module by hack/tool.sh.
package testserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// root is the top of this repository.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	if !filepath.IsAbs(file) { // trimmed: tests run in their package's folder
		out, err := exec.CommandContext(context.Background(), "git", "rev-parse", "--show-toplevel").Output()
		if err != nil {
			panic(err)
		}
		return strings.TrimSpace(string(out))
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Tool builds a tool of hack/tools, if that has not happened before, and returns the folder it is in.
func Tool(t testing.TB, name string) string {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), filepath.Join(root(), "hack", "tool.sh"), name)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// FreeAddr returns an address on loopback that nobody listened on a moment ago.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Output gathers what a process prints.
type Output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Process is a program that a test runs beside itself.
type Process struct {
	Cmd    *exec.Cmd
	Output *Output
	// Stop ends it before the test does.
	Stop   func()
	exited chan struct{}
}

// Exec starts a program for the time of the test. It dies with the test even where that ends without cleaning up.
func Exec(t testing.TB, environ []string, program string, args ...string) *Process {
	t.Helper()
	// The shell reads what only our own end could close.
	script := `"$@" <&- & pid=$!; trap 'kill -9 $pid 2>/dev/null; wait $pid' EXIT TERM; cat >/dev/null`
	cmd := exec.CommandContext(context.Background(), "sh", append([]string{"-c", script, "sh", program}, args...)...)
	p := &Process{Cmd: cmd, Output: &Output{}, exited: make(chan struct{})}
	cmd.Env = append(os.Environ(), environ...)
	cmd.Stdout, cmd.Stderr = p.Output, p.Output
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		cmd.Wait() //nolint:errcheck // how a server ends when it is told to does not matter
		close(p.exited)
	}()
	p.Stop = func() {
		stdin.Close() //nolint:errcheck // it may be closed
		select {
		case <-p.exited:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill() //nolint:errcheck // it may be gone
			<-p.exited
		}
	}
	t.Cleanup(p.Stop)
	return p
}

// Eventually waits until condition holds.
func Eventually(t testing.TB, what string, limit time.Duration, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", limit, what)
		case <-tick.C:
		}
	}
}

// S3 is a running S3 server.
type S3 struct {
	// Addr is its address, and Endpoint its URL.
	Addr, Endpoint       string
	AccessKey, SecretKey string
	Region               string
	// AccessLog is the file that it writes a line to for every request.
	AccessLog string
	dir       string
}

// StartS3 starts an S3 server for the time of the test.
func StartS3(t testing.TB) *S3 {
	t.Helper()
	return StartS3In(t, t.TempDir(), FreeAddr(t))
}

// StartS3In starts an S3 server at an address, which keeps everything in a folder.
func StartS3In(t testing.TB, work, addr string) *S3 {
	t.Helper()
	s := &S3{Addr: addr, AccessKey: "AKIATESTTESTTESTTEST", SecretKey: "the/secret/of/the/test", Region: "us-east-1",
		AccessLog: filepath.Join(work, "access.log"), dir: filepath.Join(work, "data")}
	s.Endpoint = "http://" + s.Addr
	for _, dir := range []string{s.dir, filepath.Join(work, "meta")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	p := Exec(t, []string{"ROOT_ACCESS_KEY_ID=" + s.AccessKey, "ROOT_SECRET_ACCESS_KEY=" + s.SecretKey},
		filepath.Join(Tool(t, "versitygw"), "versitygw"), "--port", s.Addr, "--keep-alive", "--quiet", "--health", "/health",
		"--access-log", s.AccessLog, "posix", s.dir)
	Eventually(t, "the S3 server answers", 30*time.Second, func() bool {
		select {
		case <-p.exited:
			t.Fatalf("the S3 server ended:\n%s", p.Output)
		default:
		}
		return answers(s.Endpoint + "/health")
	})
	return s
}

// Put makes objects behind the server's back, which takes a hundredth of the time.
func (s *S3) Put(t testing.TB, bucket, key string, data []byte) {
	t.Helper()
	path := filepath.Join(s.dir, bucket, filepath.FromSlash(key))
	err := os.WriteFile(path, data, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func answers(url string) bool {
	r, err := http.Get(url) //nolint:gosec,noctx // a server of ours
	if err != nil {
		return false
	}
	r.Body.Close()
	return r.StatusCode == http.StatusOK
}

var buckets struct {
	sync.Mutex
	n int
}

// Bucket makes a new, empty bucket.
func (s *S3) Bucket(t testing.TB) string {
	t.Helper()
	buckets.Lock()
	defer buckets.Unlock()
	buckets.n++
	name := fmt.Sprintf("bucket-%d", buckets.n)
	if err := os.Mkdir(filepath.Join(s.dir, name), 0o700); err != nil {
		t.Fatal(err)
	}
	return name
}

// Scrape returns what a handler of metrics answers.
func Scrape(t *testing.T, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	return w.Body.String()
}
