package main

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testserver"
)

// traced is a registry whose system calls of some kinds are written down.
type traced struct {
	*process
	log string
}

func launchTraced(t *testing.T, calls string) traced {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		testserver.Missing(t, "system calls are counted with strace, which is not installed: %v", err)
	}
	log := filepath.Join(t.TempDir(), "calls")
	config := configFile(t, "version: 0.1\nstorage: {filesystem: {rootdirectory: "+t.TempDir()+"}}\nhttp: {addr: '127.0.0.1:0'}\n")
	p := launch(t, nil, []string{"serve", config}, nil)
	// It ends with the registry.
	tracer := testserver.Exec(t, nil, strace, "--follow-forks", "--trace="+calls, "--output="+log, "--attach="+strconv.Itoa(p.cmd.Process.Pid))
	testserver.Eventually(t, "the registry is traced", 10*time.Second, func() bool { return strings.Contains(tracer.Output.String(), "attached") })
	return traced{p, log}
}

// since returns the calls that were written down after so many bytes, and how many bytes there are now.
func (p traced) since(offset int) ([]string, int) {
	p.t.Helper()
	text, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text[offset:])), "\n"), len(text)
}

// blobsOfOneFolder returns contents of a size whose digests begin with the same byte, so that they lie in one folder.
func blobsOfOneFolder(size, count int) []string {
	var found []string
	filler := strings.Repeat("x", size-8)
	for i := 0; len(found) < count; i++ {
		content := fmt.Sprintf("%08d", i) + filler
		if sha256.Sum256([]byte(content))[0] == 0 {
			found = append(found, content)
		}
	}
	return found
}

// A push is durable when it is acknowledged, which four syncs pay for: of the bytes, of the link, and of their folders.
func TestSyncsOfAPush(t *testing.T) {
	p := launchTraced(t, "fsync,fdatasync,syncfs,sync_file_range,msync")
	blobs := blobsOfOneFolder(1<<20, 4)
	push := func(content string) {
		t.Helper()
		header, _ := p.want("POST", "/v2/r/blobs/uploads/", nil, 202)
		p.want("PUT", header.Get("Location")+"?digest="+digest.FromString(content).String(), strings.NewReader(content), 201)
	}
	push(blobs[0]) // makes the folders
	for _, content := range blobs[1:] {
		_, offset := p.since(0)
		push(content)
		calls, _ := p.since(offset)
		n := 0
		for _, c := range calls {
			if regexp.MustCompile(`sync\w*\(`).MatchString(c) {
				n++
			}
		}
		if n < 2 || n > 4 {
			t.Errorf("%d syncs for a push of 1 MiB, not 2 to 4:\n%s", n, strings.Join(calls, "\n"))
		}
	}
}

// Where TLS is off a blob goes from the file to the socket within the kernel, on a connection that has brought content and on
// one that has not.
func TestBlobsAreSentByTheKernel(t *testing.T) {
	p := launchTraced(t, "sendfile,splice,read,write")
	content := strings.Repeat("0123456789abcdef", 1<<18) // 4 MiB
	d := p.pushBlob("r", content)
	t.Run("the same connection", func(t *testing.T) { p.sentByTheKernel(t, d, content) })
	http.DefaultClient.CloseIdleConnections()
	t.Run("a new connection", func(t *testing.T) { p.sentByTheKernel(t, d, content) })
}

func (p traced) sentByTheKernel(t *testing.T, d digest.Digest, content string) {
	t.Helper()
	_, offset := p.since(0)
	if _, got := p.want("GET", "/v2/r/blobs/"+d.String(), nil, 200); string(got) != content {
		t.Error("the content differs")
	}
	sent := 0
	within := regexp.MustCompile(`(?:sendfile|splice)(?:\(| resumed).* = (\d+)$`)
	copied := regexp.MustCompile(`(?:read|write)(?:\(| resumed).* = \d{5,}$`)
	calls, _ := p.since(offset)
	for _, c := range calls {
		if m := within.FindStringSubmatch(c); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			sent += n
		}
		if copied.MatchString(c) {
			t.Errorf("passed through user space: %s", c)
		}
	}
	// net/http writes the first half KiB beside the headers.
	if sent < len(content)-512 {
		t.Errorf("the kernel sent %d bytes of %d:\n%s", sent, len(content), strings.Join(calls, "\n"))
	}
}
