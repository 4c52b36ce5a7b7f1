package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"
)

// story is a client, and the registry that it talks to.
type story struct {
	t      *testing.T
	random *rand.Rand
	config string
	p      *process
	// revived says that the registry was killed and another is there now.
	revived bool
	// tags are what was acknowledged and not deleted since, named the blobs that a manifest names, and blobs those that were
	// acknowledged since the last collection.
	tags  map[string]digest.Digest
	named map[digest.Digest][]string
	blobs map[string]bool
}

var storyClient = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (s *story) once(method, path string, body io.Reader) (int, http.Header, []byte, error) {
	r, err := http.NewRequestWithContext(context.Background(), method, s.p.url+path, body)
	if err != nil {
		return 0, nil, nil, err
	}
	response, err := storyClient.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, text, err
}

// ask sends a request until it is answered. Where the registry was killed over it, another is started, perhaps everything
// that nothing refers to is collected, and the same request is sent again: perhaps once broken off, perhaps twice at once.
func (s *story) ask(method, path, body string) (int, http.Header) {
	s.t.Helper()
	status, header, text, err := s.once(method, path, strings.NewReader(body))
	if err != nil {
		s.revive(err)
		if s.random.IntN(2) == 0 {
			s.collect()
		}
		if body != "" && s.random.IntN(2) == 0 {
			s.once(method, path, io.MultiReader(strings.NewReader(body[:len(body)/2]), iotest.ErrReader(io.ErrUnexpectedEOF))) //nolint:errcheck // it fails
			s.checkPromised(path)
		}
		var group sync.WaitGroup
		if s.random.IntN(2) == 0 {
			group.Go(func() { s.once(method, path, strings.NewReader(body)) }) //nolint:errcheck // whichever comes first
		}
		status, header, text, err = s.once(method, path, strings.NewReader(body))
		group.Wait()
	}
	for tries := 0; err == nil && status == http.StatusServiceUnavailable && tries < 3; tries++ {
		status, header, text, err = s.once(method, path, strings.NewReader(body))
	}
	if err != nil || status >= http.StatusInternalServerError {
		s.t.Fatalf("%s %s: %d %s %v\n%s", method, path, status, text, err, s.p.output)
	}
	return status, header
}

// checkPromised looks whether a blob that the registry has is whole, though the request that brings it was never acknowledged.
func (s *story) checkPromised(path string) {
	s.t.Helper()
	_, d, ok := strings.Cut(path, "?digest=")
	if !ok {
		return
	}
	blob := "/v2/r/blobs/" + d
	if status, _, _, err := s.once("HEAD", blob, nil); err != nil || status != http.StatusOK {
		return
	}
	if status, _, text, err := s.once("GET", blob, nil); err != nil || status != http.StatusOK || digest.FromBytes(text).String() != d {
		s.t.Errorf("HEAD says that a blob is there, GET %d, %d bytes, %v", status, len(text), err)
	}
}

func (s *story) revive(cause error) {
	s.t.Helper()
	if s.revived {
		s.t.Fatalf("%v, though nobody killed it\n%s", cause, s.p.output)
	}
	s.p.kill()
	s.p, s.revived = launch(s.t, nil, []string{"serve", s.config}, nil), true
}

func (s *story) collect() {
	s.t.Helper()
	s.blobs = map[string]bool{}
	for range 4 {
		if out, err := registry(s.t, "garbage-collect", s.config); err != nil {
			s.t.Fatalf("%s, %v\n%s", out, err, s.p.output)
		}
	}
}

// has says whether the registry tells that a blob is there; then that counts as acknowledged.
func (s *story) has(content string) bool {
	s.t.Helper()
	d := digest.FromString(content)
	status, _ := s.ask("HEAD", "/v2/r/blobs/"+d.String(), "")
	if status == http.StatusOK {
		s.blobs[content] = true
	}
	return status == http.StatusOK
}

// push uploads a blob in the given way until the registry has it.
func (s *story) push(content string, way func(content string) int) digest.Digest {
	s.t.Helper()
	d := digest.FromString(content)
	for range 5 {
		status := way(content)
		if status == http.StatusCreated {
			s.blobs[content] = true
		}
		if status == http.StatusCreated || s.has(content) {
			return d
		}
	}
	s.t.Fatalf("the registry does not take %q\n%s", content, s.p.output)
	return d
}

func (s *story) begin() string {
	s.t.Helper()
	status, header := s.ask("POST", "/v2/r/blobs/uploads/", "")
	if status != http.StatusAccepted {
		s.t.Fatalf("POST: %d", status)
	}
	return strings.Split(header.Get("Location"), "?")[0]
}

func ending(location, content string) string {
	return location + "?digest=" + digest.FromString(content).String()
}

// whole uploads in one request, inTwo begins and ends, inSteps sends the first parts before the end, and stepsOnly all.
func (s *story) whole(content string) int {
	status, _ := s.ask("POST", ending("/v2/r/blobs/uploads/", content), content)
	return status
}

func (s *story) inTwo(content string) int {
	status, _ := s.ask("PUT", ending(s.begin(), content), content)
	return status
}

func (s *story) inSteps(content string) int   { return s.steps(content, len(content)*2/3) }
func (s *story) stepsOnly(content string) int { return s.steps(content, len(content)) }

func (s *story) steps(content string, sent int) int {
	location := s.begin()
	for at := 0; at < sent; {
		s.ask("PATCH", location, content[at:min(sent, at+1+sent/2)])
		status, header := s.ask("GET", location, "") // where does it stand?
		if status != http.StatusNoContent {
			return status
		}
		at = 0
		if _, last, ok := strings.Cut(header.Get("Range"), "-"); ok && header.Get("Range") != "0-0" {
			n, err := strconv.Atoi(last)
			if err != nil {
				s.t.Fatal(err)
			}
			at = n + 1
		}
		if at > sent {
			return http.StatusRequestedRangeNotSatisfiable // the same request arrived twice
		}
	}
	status, _ := s.ask("PUT", ending(location, content), content[sent:])
	return status
}

// tag pushes a manifest until the registry has it, and the blobs that it names where those went meanwhile.
func (s *story) tag(tag, note, config string, blobs ...string) digest.Digest {
	s.t.Helper()
	var layers []string
	for _, content := range blobs {
		layers = append(layers, fmt.Sprintf(`{"mediaType":"a/b","digest":%q,"size":%d}`, digest.FromString(content), len(content)))
	}
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"a/b","digest":%q,"size":%d},"layers":[%s],"annotations":{"note":%q}}`,
		digest.FromString(config), len(config), strings.Join(layers, ","), note)
	for range 5 {
		for _, content := range append(blobs, config) {
			if !s.has(content) {
				s.push(content, s.whole)
			}
		}
		if status, _ := s.ask("PUT", "/v2/r/manifests/"+tag, manifest); status == http.StatusCreated {
			d := digest.FromString(manifest)
			s.tags[tag], s.named[d] = d, append(blobs, config)
			return d
		}
	}
	s.t.Fatalf("the registry does not take the manifest of %s\n%s", tag, s.p.output)
	return ""
}

func (s *story) delete(path string, tags ...string) {
	s.t.Helper()
	if status, _ := s.ask("DELETE", path, ""); status != http.StatusAccepted && status != http.StatusNotFound {
		s.t.Fatalf("DELETE %s: %d", path, status)
	}
	for _, tag := range tags {
		delete(s.tags, tag)
	}
}

// play goes through the whole story.
func (s *story) play() {
	large := strings.Repeat("more than one step is kept in memory ", 50_000)
	s.push("in one request", s.whole)
	s.push("begun and ended", s.inTwo)
	s.push("in steps and an end", s.inSteps)
	s.push("all in steps "+large, s.stepsOnly)
	s.push("in steps and an end", s.inSteps) // which is there
	s.tag("v1", "one", "{}", "in one request", "in steps and an end")
	s.tag("v2", "two", "{}", "begun and ended")
	s.tag("v1", "moved", "{}", "all in steps "+large)
	gone := s.tag("v3", "three", "{}", "in one request")
	s.tag("v4", "three", "{}", "in one request")
	s.delete("/v2/r/manifests/v2", "v2")
	s.delete("/v2/r/manifests/"+gone.String(), "v3", "v4")
	s.tag("v3", "three", "{}", "in one request") // the same again
	s.push("never referred to", s.stepsOnly)
	s.delete("/v2/r/blobs/" + digest.FromString("never referred to").String())
	delete(s.blobs, "never referred to")
	s.tag("v5", "five", "{}", "never referred to")
}

// check reads back what was acknowledged.
func (s *story) check() {
	s.t.Helper()
	get := func(path string) string {
		status, _, text, err := s.once("GET", path, nil)
		if err != nil || status != http.StatusOK {
			s.t.Errorf("acknowledged, and lost: %s: %d %.200s %v", path, status, text, err)
		}
		return string(text)
	}
	contents := maps.Clone(s.blobs)
	for tag, d := range s.tags {
		if digest.FromString(get("/v2/r/manifests/"+tag)) != d {
			s.t.Errorf("%s is another manifest than the one that was acknowledged", tag)
		}
		for _, content := range s.named[d] {
			contents[content] = true
		}
	}
	for content := range contents {
		if get("/v2/r/blobs/"+digest.FromString(content).String()) != content {
			s.t.Errorf("a blob became another: %.60q", content)
		}
	}
	_, _, list, err := s.once("GET", "/v2/r/tags/list", nil)
	for tag := range s.tags {
		if !bytes.Contains(list, []byte(strconv.Quote(tag))) || err != nil {
			s.t.Errorf("%s is not listed: %s, %v", tag, list, err)
		}
	}
	if bytes.Contains(list, []byte(`"v2"`)) || bytes.Contains(list, []byte(`"v4"`)) {
		s.t.Errorf("a deleted tag is listed: %s", list)
	}
	if out, err := registry(s.t, "verify", s.config); err != nil {
		s.t.Errorf("verify: %s, %v", out, err)
	}
	if s.t.Failed() {
		s.t.Log(s.p.output)
	}
}
