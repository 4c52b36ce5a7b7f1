package main

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"packregistry.dev/internal/testserver"
)

// limitFiles lets a command have so many open files.
func limitFiles(c *exec.Cmd, most int) {
	c.Args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$@"`, most), "sh", c.Path}, c.Args[1:]...)
	c.Path, c.Err = exec.LookPath("sh")
}

// A registry that may open 400 files goes on taking pushes when it has read more small objects than that.
func TestFewOpenFiles(t *testing.T) {
	config := configFile(t, "version: 0.1\nlog: {accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: "+testserver.MemoryDir(t)+
		"}}\nhealth: {storagedriver: {interval: 100ms, threshold: 1}}\nhttp: {addr: '127.0.0.1:0'}\n")
	p := launch(t, nil, []string{"serve", config}, func(c *exec.Cmd) { limitFiles(c, 400) })
	blob := p.pushBlob("r", "{}")
	for i := range 250 { // each reads a tag and a manifest
		tag := fmt.Sprint("/v2/r/manifests/v", i)
		p.want("PUT", tag, strings.NewReader(manifestOf(blob, fmt.Sprint(i))), 201)
		p.want("GET", tag, nil, 200)
	}
	for i := range 10 {
		p.pushBlob("r", fmt.Sprint("blob ", i))
	}
	testserver.Eventually(t, "it is healthy", 10*time.Second, func() bool {
		r, _, err := p.do("GET", "/health", nil)
		return err == nil && r.StatusCode == http.StatusOK
	})
}
