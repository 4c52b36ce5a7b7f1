package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/bcrypt"

	"packregistry.dev/internal/testserver"
)

// built is the program, as a user runs it.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "packregistry-test-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir+"/registry", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, _ := built(); dir != "" { //nolint:errcheck // whoever needed it was told
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func binary(t testing.TB) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return dir + "/registry"
}

// process is a running registry.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	output *testserver.Output
	// url is where it serves.
	url  string
	done chan struct{}
}

var serving = regexp.MustCompile(`msg=serving .*\baddr=(\S+) tls=(\S+)`)

// launch starts a registry and waits until it serves. change may adjust the command.
func launch(t testing.TB, environ []string, args []string, change func(*exec.Cmd)) *process {
	t.Helper()
	p := begin(t, environ, args, change)
	testserver.Eventually(t, "the registry serves", time.Minute, func() bool {
		select {
		case <-p.done:
			t.Fatalf("the registry ended:\n%s", p.output)
		default:
		}
		m := serving.FindStringSubmatch(p.output.String())
		if m == nil {
			return false
		}
		scheme := map[string]string{"true": "https://", "false": "http://"}[m[2]]
		p.url = scheme + m[1]
		return true
	})
	return p
}

func begin(t testing.TB, environ []string, args []string, change func(*exec.Cmd)) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary(t), args...), output: &testserver.Output{}, done: make(chan struct{})}
	p.cmd.Env = append([]string{"HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.Getenv("TMPDIR")}, environ...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if change != nil {
		change(p.cmd)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait() //nolint:errcheck // looked at where it matters
		close(p.done)
	}()
	t.Cleanup(p.kill)
	return p
}

func (p *process) kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may be gone
	<-p.done
}

// memory is the most that the process has held, in MiB.
func (p *process) memory() int {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		testserver.Missing(p.t, "peak memory is read from /proc, which only Linux has: %v", err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	kib, err := strconv.Atoi(string(m[1]))
	if err != nil {
		p.t.Fatal(err)
	}
	return kib >> 10
}

// do sends a request and returns status, headers and body.
func (p *process) do(method, path string, body io.Reader) (*http.Response, []byte, error) {
	r, err := http.NewRequestWithContext(context.Background(), method, p.url+path, body)
	if err != nil {
		return nil, nil, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response, text, err
}

func (p *process) want(method, path string, body io.Reader, status int) (http.Header, []byte) {
	p.t.Helper()
	r, text, err := p.do(method, path, body)
	if err != nil {
		p.t.Fatalf("%s %s: %v\n%s", method, path, err, p.output)
	}
	if r.StatusCode != status {
		p.t.Fatalf("%s %s: %s, want %d: %s", method, path, r.Status, status, text)
	}
	return r.Header, text
}

func s3Config(t testing.TB, s *testserver.S3, bucket, endpoint string) string {
	t.Helper()
	return configFile(t, fmt.Sprintf(`
version: 0.1
storage:
  s3: {bucket: %s, regionendpoint: %q, accesskey: %s, secretkey: %s, rootdirectory: /registry}
http: {addr: '127.0.0.1:0', draintimeout: 1s}
`, bucket, endpoint, s.AccessKey, s.SecretKey))
}

func configFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func manifestOf(config digest.Digest, note string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"a/b","digest":%q,"size":2},"layers":[],"annotations":{"note":%q}}`, config, note)
}

func (p *process) pushBlob(name, content string) digest.Digest {
	p.t.Helper()
	d := digest.FromString(content)
	p.want("POST", "/v2/"+name+"/blobs/uploads/?digest="+d.String(), strings.NewReader(content), 201)
	return d
}

// A client never sees that one call in ten to the storage goes wrong.
func TestClientsDoNotSeeTheStoragesFaults(t *testing.T) {
	s := testserver.StartS3(t)
	proxy := testserver.StartProxy(t, s.Endpoint)
	p := launch(t, nil, []string{"serve", s3Config(t, s, s.Bucket(t), proxy.Endpoint)}, nil)
	proxy.Inject(testserver.Randomly(7, 0.1, testserver.Error500, testserver.SlowDown, testserver.Lost, testserver.HalfRequest, testserver.HalfAnswer, testserver.Twice))
	config := p.pushBlob("r", "{}")
	for i := range 20 {
		content := strings.Repeat(fmt.Sprint(i), 300_000)
		d := p.pushBlob("r", content)
		header, _ := p.want("POST", "/v2/r/blobs/uploads/", nil, 202)
		p.want("PATCH", header.Get("Location"), strings.NewReader(content), 202)
		p.want("PUT", header.Get("Location")+"?digest="+d.String(), nil, 201)
		if _, got := p.want("GET", "/v2/r/blobs/"+d.String(), nil, 200); string(got) != content {
			t.Error("the content differs")
		}
		p.want("PUT", fmt.Sprintf("/v2/r/manifests/v%d", i), strings.NewReader(manifestOf(config, fmt.Sprint(i))), 201)
		p.want("PUT", "/v2/r/manifests/latest", strings.NewReader(manifestOf(config, fmt.Sprint(i))), 201)
		if _, got := p.want("GET", "/v2/r/manifests/latest", nil, 200); string(got) != manifestOf(config, fmt.Sprint(i)) {
			t.Error("latest is another manifest")
		}
	}
	if n := len(proxy.Happened()); n != 6 {
		t.Errorf("faults: %v", proxy.Happened())
	}
	if strings.Contains(p.output.String(), s.SecretKey) || strings.Contains(p.output.String(), s.AccessKey) {
		t.Error("the log shows a credential")
	}
}

// How many calls a push and a pull cost is a promise (docs/store.md).
func TestCallsToTheStorage(t *testing.T) {
	s := testserver.StartS3(t)
	proxy := testserver.StartProxy(t, s.Endpoint)
	config := s3Config(t, s, s.Bucket(t), proxy.Endpoint)
	starting := func() int {
		proxy.Reset()
		p := launch(t, []string{"REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED=false", "REGISTRY_HEALTH_STORAGEDRIVER_ENABLED=false"}, []string{"serve", config}, nil)
		n := len(proxy.Calls())
		p.kill()
		return n
	}
	starting() // lays out the store
	empty := starting()
	p := launch(t, []string{"REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED=false", "REGISTRY_HEALTH_STORAGEDRIVER_ENABLED=false"}, []string{"serve", config}, nil)
	count := func(what string, most int, f func()) {
		t.Helper()
		proxy.Reset()
		f()
		var list []string
		for _, c := range proxy.Calls() {
			list = append(list, fmt.Sprintf("%s %s?%s %d", c.Method, c.Path, c.Query, c.Status))
		}
		t.Logf("%s: %d calls", what, len(list))
		if len(list) > most {
			t.Errorf("%s: %d calls, at most %d:\n%s", what, len(list), most, strings.Join(list, "\n"))
		}
	}
	content := strings.Repeat("x", 1<<20)
	d := digest.FromString(content)
	count("push of 1 MiB by POST and PUT", 5, func() {
		header, _ := p.want("POST", "/v2/r/blobs/uploads/", nil, 202)
		p.want("PUT", header.Get("Location")+"?digest="+d.String(), strings.NewReader(content), 201)
	})
	count("push of 1 MiB by POST alone", 4, func() { p.pushBlob("r", strings.Repeat("y", 1<<20)) })
	count("GET of a blob", 2, func() { p.want("GET", "/v2/r/blobs/"+d.String(), nil, 200) })
	count("HEAD of a blob", 1, func() { p.want("HEAD", "/v2/r/blobs/"+d.String(), nil, 200) })
	configBlob := p.pushBlob("r", "{}")
	for i := range 150 {
		p.want("PUT", fmt.Sprintf("/v2/r/manifests/v%03d", i), strings.NewReader(manifestOf(configBlob, "x")), 201)
	}
	count("GET of a manifest by tag", 2, func() { p.want("GET", "/v2/r/manifests/v001", nil, 200) })
	count("a page of 100 tags", 2, func() { p.want("GET", "/v2/r/tags/list?n=100", nil, 200) })
	count("a page of 100 of the catalog", 1, func() { p.want("GET", "/v2/_catalog?n=100", nil, 200) })
	if filled := starting(); filled > empty {
		t.Errorf("a start costs %d calls on a filled store, %d on an empty one", filled, empty)
	}
}

// htpasswd writes a line as htpasswd -Bbn does.
func htpasswd(t testing.TB, user, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), 5)
	if err != nil {
		t.Fatal(err)
	}
	return user + ":" + strings.Replace(string(hash), "$2a$", "$2y$", 1) + "\n"
}
