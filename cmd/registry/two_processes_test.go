package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testserver"
)

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
