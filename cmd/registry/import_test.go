package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packregistry.dev/internal/testserver"
)

// noPack is where packs lie, but is none.
const noPack = "spectro-packs/archive/demo:1.0.0"

// A real distribution registry is filled by a real client; ours takes over what it stored, in place, and answers the same.
func TestImport(t *testing.T) {
	s := testserver.StartS3(t)
	bucket := s.Bucket(t)
	root := t.TempDir()
	for name, tt := range map[string]struct{ theirs, ours string }{
		"filesystem": {"filesystem: {rootdirectory: " + root + "}", "filesystem: {rootdirectory: " + root + "}"},
		"s3": {
			fmt.Sprintf("s3: {bucket: %s, region: us-east-1, regionendpoint: %q, forcepathstyle: true, secure: false, accesskey: %s, secretkey: %s, rootdirectory: /old}", bucket, s.Endpoint, s.AccessKey, s.SecretKey),
			fmt.Sprintf("s3: {bucket: %s, regionendpoint: %q, accesskey: %s, secretkey: %s, rootdirectory: /old}", bucket, s.Endpoint, s.AccessKey, s.SecretKey),
		},
	} {
		t.Run(name, func(t *testing.T) {
			host, stop := theirs(t, tt.theirs)
			digests := fill(t, host)
			stop()
			config := configFile(t, "version: 0.1\nstorage: {"+tt.ours+"}\nhttp: {addr: '127.0.0.1:0'}\n")
			if out, err := registry(t, "serve", config); err == nil || !strings.Contains(err.Error(), "registry import") {
				t.Fatalf("served an empty registry over another one's storage: %s, %v", out, err)
			}
			for round, want := range []string{`"manifests":5,"tags":4,"blobs":8`, `"manifests":5,"tags":4,"blobs":0`} {
				if out, err := registry(t, "import", config); err != nil || !strings.Contains(out, want) {
					t.Errorf("round %d: %s, %v", round, out, err)
				}
			}
			p := launch(t, nil, []string{"serve", config}, nil)
			crane := testserver.Tool(t, "crane") + "/crane"
			c := &clients{t: t, work: t.TempDir(), env: []string{"DOCKER_CONFIG=" + t.TempDir()}}
			host = strings.TrimPrefix(p.url, "http://")
			for image, want := range digests {
				if got := strings.TrimSpace(c.run(crane, "digest", "--insecure", host+"/"+image)); got != want {
					t.Errorf("%s: %s, was %s", image, got, want)
				}
			}
			c.run(crane, "validate", "--insecure", "--remote", host+"/team/app:v1")
			// What was taken over counts as not validated, whatever tag it has.
			_, manifest := p.want("GET", "/v2/"+strings.Replace(noPack, ":", "/manifests/", 1), nil, 200)
			for _, tag := range []string{"1.0.0", "stable", "2.0.0"} {
				if r, text, err := p.do("PUT", "/v1/demo/manifests/"+tag, bytes.NewReader(manifest)); err != nil || r.StatusCode != http.StatusBadRequest {
					t.Errorf("an import that is no pack was given the tag %s: %v %s %v", tag, r, text, err)
				}
			}
			if out, err := registry(t, "verify", config); err != nil {
				t.Errorf("%s, %v", out, err)
			}
		})
	}
}

// theirs starts a distribution registry.
func theirs(t *testing.T, storage string) (host string, stop func()) {
	t.Helper()
	host = testserver.FreeAddr(t)
	config := configFile(t, fmt.Sprintf("version: 0.1\nlog: {accesslog: {disabled: true}}\nstorage: {%s, delete: {enabled: true}, redirect: {disable: true}}\nhttp: {addr: %q}\n", storage, host))
	p := testserver.Exec(t, []string{"OTEL_TRACES_EXPORTER=none"}, testserver.Tool(t, "distribution")+"/registry", "serve", config)
	testserver.Eventually(t, "the other registry serves", 30*time.Second, func() bool {
		r, err := http.Get("http://" + host + "/v2/") //nolint:noctx // a server of ours
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	return host, p.Stop
}

// fill pushes images and an index, and returns the digests of what can be pulled by tag.
func fill(t *testing.T, host string) map[string]string {
	t.Helper()
	crane := testserver.Tool(t, "crane") + "/crane"
	c := &clients{t: t, work: t.TempDir(), env: []string{"DOCKER_CONFIG=" + t.TempDir()}}
	for _, name := range []string{"one", "two"} {
		c.file(name+"/etc/"+name, strings.Repeat(name, 1000))
		c.run("tar", "-C", name, "-cf", name+".tar", "etc")
	}
	c.run(crane, "append", "--insecure", "-f", "one.tar", "-t", host+"/team/app:v1")
	c.run(crane, "append", "--insecure", "-f", "two.tar", "-t", host+"/team/app:v2")
	c.run(crane, "append", "--insecure", "-f", "two.tar", "-t", host+"/"+noPack)
	c.run(crane, "append", "--insecure", "-f", "two.tar", "-t", host+"/team/app/nested:gone")
	c.run(crane, "delete", "--insecure", host+"/team/app/nested@"+strings.TrimSpace(c.run(crane, "digest", "--insecure", host+"/team/app/nested:gone")))
	c.run(crane, "index", "append", "--insecure", "-m", host+"/team/app:v1", "-t", host+"/multi:latest")
	digests := map[string]string{}
	for _, image := range []string{"team/app:v1", "team/app:v2", "multi:latest", noPack} {
		digests[image] = strings.TrimSpace(c.run(crane, "digest", "--insecure", host+"/"+image))
	}
	return digests
}

func TestImportTellsWhatItCannotTakeOver(t *testing.T) {
	root := t.TempDir()
	host, stop := theirs(t, "filesystem: {rootdirectory: "+root+"}")
	fill(t, host)
	stop()
	blobs, err := filepath.Glob(root + "/docker/registry/v2/blobs/sha256/*/*/data")
	if err != nil || len(blobs) == 0 {
		t.Fatal(blobs, err)
	}
	for _, blob := range blobs {
		text, err := os.ReadFile(blob)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(text), "{") {
			continue
		}
		if err := os.WriteFile(blob, append(text, 'x'), 0o600); err != nil { // every layer is damaged
			t.Fatal(err)
		}
	}
	config := configFile(t, "version: 0.1\nstorage: {filesystem: {rootdirectory: "+t.TempDir()+"}}\n")
	out, err := registry(t, "import", "--from", root, config)
	if err == nil || !strings.Contains(out, "lacks or has damaged") || !strings.Contains(out, `"tags":0`) || !strings.Contains(out, "team/app:v1: names the manifest") {
		t.Errorf("%s, %v", out, err)
	}
	if out, err := registry(t, "import", "--from", t.TempDir(), config); err == nil || !strings.Contains(err.Error(), "nothing to import") {
		t.Errorf("%s, %v", out, err)
	}
}
