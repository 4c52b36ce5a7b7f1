package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
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
	"syscall"
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
		p.t.Skipf("peak memory is read from /proc, which only Linux has: %v", err)
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

// Two processes serve one bucket and know nothing of each other.
func TestTwoProcessesOnOneBucket(t *testing.T) {
	s := testserver.StartS3(t)
	config := s3Config(t, s, s.Bucket(t), s.Endpoint)
	a := launch(t, nil, []string{"serve", config}, nil)
	b := launch(t, nil, []string{"serve", config}, nil)

	t.Run("an upload begun on one and finished on the other", func(t *testing.T) {
		large := strings.Repeat("0123456789abcdef", 6<<16) // 6 MiB
		header, _ := a.want("POST", "/v2/r/blobs/uploads/", nil, 202)
		path := strings.Split(header.Get("Location"), "?")[0]
		a.want("PATCH", path, strings.NewReader("first "), 202)
		b.want("PATCH", path, strings.NewReader(large), 202)
		a.want("PATCH", path, strings.NewReader(" third"), 202)
		d := digest.FromString("first " + large + " third")
		b.want("PUT", path+"?digest="+d.String(), nil, 201)
		if _, got := a.want("GET", "/v2/r/blobs/"+d.String(), nil, 200); digest.FromBytes(got) != d {
			t.Error("the content differs")
		}
		b.want("GET", path, nil, 404)
	})
	t.Run("one blob through both at once", func(t *testing.T) {
		for i := range 10 {
			content := strings.Repeat(fmt.Sprint("blob ", i), 10_000)
			var group sync.WaitGroup
			for _, p := range []*process{a, b, a, b} {
				group.Go(func() {
					d := digest.FromString(content)
					if r, text, err := p.do("POST", "/v2/r/blobs/uploads/?digest="+d.String(), strings.NewReader(content)); err != nil || r.StatusCode != http.StatusCreated {
						t.Errorf("%v %s %v", r, text, err)
					}
				})
			}
			group.Wait()
			if _, got := a.want("GET", "/v2/r/blobs/"+digest.FromString(content).String(), nil, 200); string(got) != content {
				t.Error("the content differs")
			}
		}
	})
	t.Run("one tag through both at once", func(t *testing.T) {
		config := a.pushBlob("tags", "{}")
		var group sync.WaitGroup
		for i, p := range []*process{a, b} {
			group.Go(func() {
				for n := range 200 {
					m := manifestOf(config, fmt.Sprint(i, n))
					for _, tag := range []string{"latest", fmt.Sprintf("v%d-%d", i, n)} {
						if r, text, err := p.do("PUT", "/v2/tags/manifests/"+tag, strings.NewReader(m)); err != nil || r.StatusCode != http.StatusCreated {
							t.Errorf("%v %s %v", r, text, err)
						}
					}
				}
			})
		}
		group.Wait()
		_, list := a.want("GET", "/v2/tags/tags/list", nil, 200)
		if n := strings.Count(string(list), `"v`); n != 400 {
			t.Errorf("%d tags of 400: %s", n, list)
		}
		_, fromA := a.want("GET", "/v2/tags/manifests/latest", nil, 200)
		_, fromB := b.want("GET", "/v2/tags/manifests/latest", nil, 200)
		if !bytes.Equal(fromA, fromB) {
			t.Error("the two do not agree on latest")
		}
	})
	t.Run("a deletion is seen at once", func(t *testing.T) {
		d := a.pushBlob("gone", "content")
		b.want("GET", "/v2/gone/blobs/"+d.String(), nil, 200)
		a.want("DELETE", "/v2/gone/blobs/"+d.String(), nil, 202)
		b.want("HEAD", "/v2/gone/blobs/"+d.String(), nil, 404)
		b.pushBlob("gone", "content")
		a.want("GET", "/v2/gone/blobs/"+d.String(), nil, 200)
	})
	t.Run("a blob that was deleted and collected is pushed again at once, through either", func(t *testing.T) {
		collect := func() string {
			t.Helper()
			c := exec.Command(binary(t), "garbage-collect", config)
			c.Env = append(os.Environ(), "REGISTRY_STORAGE_MAINTENANCE_GARBAGECOLLECTION_GRACE=1ns", "REGISTRY_STORAGE_MAINTENANCE_GARBAGECOLLECTION_KEEPUNTAGGED=1ns")
			out, err := c.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return string(out)
		}
		nothing := regexp.MustCompile(`"marked":0,.*"links":0,"blobs":0`)
		for _, again := range []*process{a, b} {
			content := fmt.Sprint("collected, and pushed to ", again.url)
			d := a.pushBlob("collected", content)
			b.want("GET", "/v2/collected/blobs/"+d.String(), nil, 200)
			a.want("DELETE", "/v2/collected/blobs/"+d.String(), nil, 202)
			last := ""
			for i := 0; !nothing.MatchString(last); i++ { // links are marked and removed, then the blob data
				if last = collect(); i == 10 {
					t.Fatalf("there is always something to collect: %s", last)
				}
			}
			again.want("HEAD", "/v2/collected/blobs/"+d.String(), nil, 404)
			again.pushBlob("collected", content)
			for _, p := range []*process{a, b} {
				if _, got := p.want("GET", "/v2/collected/blobs/"+d.String(), nil, 200); string(got) != content {
					t.Errorf("%q", got)
				}
			}
		}
	})
	t.Run("one is killed in the middle of an upload", func(t *testing.T) {
		victim := launch(t, nil, []string{"serve", config}, nil)
		header, _ := victim.want("POST", "/v2/r/blobs/uploads/", nil, 202)
		path := header.Get("Location")
		victim.want("PATCH", path, strings.NewReader("acknowledged "), 202)
		// 25 MiB of a request that never ends: parts are on their way when the process dies.
		reader, writer := io.Pipe()
		failed := make(chan error, 1)
		go func() {
			_, _, err := victim.do("PATCH", path, reader)
			failed <- err
		}()
		if _, err := writer.Write(make([]byte, 25<<20)); err != nil {
			t.Fatal(err)
		}
		victim.kill()
		writer.CloseWithError(errors.New("given up")) //nolint:errcheck // never fails
		if err := <-failed; err == nil {
			t.Fatal("a request to a dead process succeeded")
		}
		header, _ = b.want("GET", path, nil, 204)
		if got := header.Get("Range"); got != "0-12" {
			t.Errorf("what was acknowledged ends at 12, the upload stands at %s", got)
		}
		d := digest.FromString("acknowledged and finished")
		b.want("PUT", path+"?digest="+d.String(), strings.NewReader("and finished"), 201)
		a.want("GET", "/v2/r/blobs/"+d.String(), nil, 200)
	})
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

// zeroes is content of any size that costs no memory.
type zeroes struct{ left int64 }

func (z *zeroes) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.left)
	clear(p[:n])
	z.left -= n
	return int(n), nil
}

// A blob of 1 GiB goes in and out in less than 64 MiB of memory.
func TestMemoryDoesNotGrowWithBlobs(t *testing.T) {
	const size, most = 1 << 30, 64
	h := sha256.New()
	if _, err := io.Copy(h, &zeroes{size}); err != nil {
		t.Fatal(err)
	}
	d := digest.NewDigest(digest.SHA256, h)
	s := testserver.StartS3(t)
	for name, config := range map[string]string{
		"filesystem": configFile(t, "version: 0.1\nstorage: {filesystem: {rootdirectory: "+t.TempDir()+"}}\nhttp: {addr: '127.0.0.1:0'}\n"),
		"s3":         s3Config(t, s, s.Bucket(t), s.Endpoint),
	} {
		t.Run(name, func(t *testing.T) {
			p := launch(t, nil, []string{"serve", config}, nil)
			p.t = t
			header, _ := p.want("POST", "/v2/r/blobs/uploads/", nil, 202)
			p.want("PUT", header.Get("Location")+"?digest="+d.String(), &zeroes{size}, 201)
			pull := func() {
				r, err := http.Get(p.url + "/v2/r/blobs/" + d.String()) //nolint:noctx // a server of ours
				if err != nil {
					t.Fatal(err)
				}
				defer r.Body.Close()
				h := sha256.New()
				if n, err := io.Copy(h, r.Body); err != nil || n != size || digest.NewDigest(digest.SHA256, h) != d {
					t.Errorf("%d bytes, %v", n, err)
				}
			}
			pull()
			pushed := p.memory()
			// In chunks, as other clients do it.
			header, _ = p.want("POST", "/v2/r/blobs/uploads/", nil, 202)
			for range 2 {
				p.want("PATCH", header.Get("Location"), &zeroes{size / 2}, 202)
			}
			p.want("DELETE", "/v2/r/blobs/"+d.String(), nil, 202)
			p.want("PUT", header.Get("Location")+"?digest="+d.String(), nil, 201)
			pull()
			t.Logf("at most %d MiB in one request, %d in several", pushed, p.memory())
			if p.memory() >= most {
				t.Errorf("%d MiB, which is not less than %d", p.memory(), most)
			}
		})
	}
}

// container is a folder that a registry runs in as in its image: chroot, the built-in configuration, no other files.
func container(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("running in a root directory of its own needs root")
	}
	root := t.TempDir()
	for _, dir := range []string{"auth", "data", "certs", "tmp", "etc/spectro"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/registry", program, 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	// htpasswd -Bbn admin admin > /auth/htpasswd-basic
	hash := htpasswd(t, "admin", "admin")
	if err := os.WriteFile(root+"/auth/htpasswd-basic", []byte(hash), 0o600); err != nil {
		t.Fatal(err)
	}
	return root
}

func inContainer(root string) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		c.Path, c.Dir = "/registry", "/"
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	}
}

// curl does what the documents tell to verify an installation.
func curl(t *testing.T, want int, args ...string) string {
	t.Helper()
	out, err := exec.Command("curl", append([]string{"-sS", "-w", "\n%{http_code}"}, args...)...).CombinedOutput()
	body, code, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if code == "" {
		body, code = "", body
	}
	if err != nil || !strings.HasSuffix(string(out), fmt.Sprint(want)) {
		t.Errorf("curl %v: %s %v, want %d", args, out, err, want)
	}
	_ = code
	return body
}

// The documents' command lines, word for word but for the port on the host.
func TestDocumentedDockerRun(t *testing.T) {
	t.Run("HTTPS mode", func(t *testing.T) {
		root := container(t)
		// The documents' command for a self-signed certificate, with a smaller key for the sake of time.
		out, err := exec.Command("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-sha256", "-keyout", root+"/certs/tls.key", "-x509", "-days", "365",
			"-out", root+"/certs/tls.crt", "-subj", "/CN=localhost").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		addr := testserver.FreeAddr(t)
		p := launch(t, []string{"REGISTRY_LOG_LEVEL=info", "REGISTRY_AUTH=htpasswd", "REGSITRY_AUTH_HTPASSWD_REALM=Registry Realm", //nolint:misspell // as documented
			"REGISTRY_AUTH_HTPASSWD_PATH=/auth/htpasswd-basic", "REGISTRY_HTTP_TLS_CERTIFICATE=/certs/tls.crt", "REGISTRY_HTTP_TLS_KEY=/certs/tls.key",
			"REGISTRY_HTTP_ADDR=" + addr}, []string{"serve"}, inContainer(root))
		url := fmt.Sprintf("https://localhost:%d", testserver.Port(t, addr))
		if body := curl(t, 200, "--cacert", root+"/certs/tls.crt", url+"/health"); !strings.Contains(body, `{"status":"UP"}`) {
			t.Errorf("/health: %s", body)
		}
		curl(t, 200, "--cacert", root+"/certs/tls.crt", "-u", "admin:admin", url+"/v1/_catalog")
		curl(t, 401, "--cacert", root+"/certs/tls.crt", "-u", "admin:wrong", url+"/v1/_catalog")
		if !strings.Contains(p.output.String(), "did you mean REGISTRY_AUTH_HTPASSWD_REALM") {
			t.Errorf("the misspelt variable is not reported: %s", p.output)
		}
	})
	t.Run("HTTP mode", func(t *testing.T) {
		root := container(t)
		p := launch(t, []string{"REGISTRY_LOG_LEVEL=info", "REGISTRY_AUTH=htpasswd", "REGISTRY_AUTH_HTPASSWD_REALM=Registry Realm",
			"REGISTRY_AUTH_HTPASSWD_PATH=/auth/htpasswd-basic", "REGISTRY_HTTP_ADDR=127.0.0.1:0"}, []string{"serve", "/etc/spectro/config.yml"}, func(c *exec.Cmd) {
			inContainer(root)(c)
			copyFile(t, "../../server/config/default.yml", root+"/etc/spectro/config.yml")
		})
		curl(t, 200, p.url+"/health")
		curl(t, 200, "-u", "admin:admin", p.url+"/v1/_catalog")
		if head := curl(t, 401, "-i", p.url+"/v1/_catalog"); !strings.Contains(head, "HTTP/1.1 401") {
			t.Errorf("%s", head)
		}
		r, _, err := p.do("GET", "/v1/", nil)
		if err != nil || r.Header.Get("WWW-Authenticate") != `Basic realm="Registry Realm", charset="UTF-8"` {
			t.Errorf("%v %v", r, err)
		}
		if !strings.Contains(p.output.String(), "not recommended") {
			t.Errorf("the log does not say that plain HTTP is not recommended: %s", p.output)
		}
		if entries, err := os.ReadDir(root + "/data/.spectro-server"); err != nil || len(entries) == 0 {
			t.Errorf("the packs are not below /data: %v", err)
		}
	})
	t.Run("realm and level by variables", func(t *testing.T) {
		root := container(t)
		p := launch(t, []string{"REGISTRY_LOG_LEVEL=debug", "REGISTRY_AUTH=htpasswd", "REGISTRY_AUTH_HTPASSWD_REALM=My Enterprise Realm", "REGISTRY_HTTP_ADDR=127.0.0.1:0"},
			[]string{"serve"}, inContainer(root))
		r, _, err := p.do("GET", "/v1/", nil)
		if err != nil || !strings.Contains(r.Header.Get("WWW-Authenticate"), "My Enterprise Realm") {
			t.Errorf("%v %v", r, err)
		}
	})
	t.Run("a configuration of one's own", func(t *testing.T) {
		root := container(t)
		if err := os.WriteFile(root+"/etc/myconfig.yml", []byte("version: 0.1\nlog: {level: debug}\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0'}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p := launch(t, nil, []string{"/registry", "serve", "/etc/myconfig.yml"}, inContainer(root))
		curl(t, 200, p.url+"/v1/_catalog")
	})
	t.Run("REGISTRY_AUTH=htpasswd with no section in the file", func(t *testing.T) {
		root := container(t)
		if err := os.WriteFile(root+"/etc/c.yml", []byte("version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0'}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p := begin(t, []string{"REGISTRY_AUTH=htpasswd"}, []string{"serve", "/etc/c.yml"}, inContainer(root))
		<-p.done
		if !strings.Contains(p.output.String(), "auth.htpasswd.path: missing") {
			t.Errorf("%s", p.output)
		}
		p = launch(t, []string{"REGISTRY_AUTH=htpasswd", "REGISTRY_AUTH_HTPASSWD_PATH=/auth/htpasswd-basic"}, []string{"serve", "/etc/c.yml"}, inContainer(root))
		curl(t, 401, p.url+"/v1/_catalog")
		curl(t, 200, "-u", "admin:admin", p.url+"/v1/_catalog")
	})
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
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
