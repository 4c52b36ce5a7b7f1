package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testserver"
)

// fleet is some registries on one storage, that are stopped and killed at random.
type fleet struct {
	t      *testing.T
	config string

	mu      sync.Mutex
	members []*process
}

func (f *fleet) launch() *process {
	return launch(f.t, nil, []string{"serve", f.config}, nil)
}

// any returns one of the registries, whatever state it is in.
func (f *fleet) any(random *rand.Rand) *process {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.members[random.IntN(len(f.members))]
}

// disturb stops one of the registries for a while, or kills it and starts another in its place.
func (f *fleet) disturb(random *rand.Rand) {
	f.mu.Lock()
	i := random.IntN(len(f.members))
	victim := f.members[i]
	f.mu.Unlock()
	if random.IntN(3) > 0 {
		victim.cmd.Process.Signal(syscall.SIGSTOP) //nolint:errcheck // it runs
		<-time.After(time.Duration(50+random.IntN(400)) * time.Millisecond)
		victim.cmd.Process.Signal(syscall.SIGCONT) //nolint:errcheck // it is there
		return
	}
	victim.kill()
	next := f.launch()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members[i] = next
}

var historyClient = &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// ask sends a request to one of the registries. ok is false where nobody knows what became of it.
func (f *fleet) ask(random *rand.Rand, method, path, body string) (status int, answer []byte, ok bool) {
	r, err := http.NewRequestWithContext(f.t.Context(), method, f.any(random).url+path, strings.NewReader(body))
	if err != nil {
		f.t.Error(err)
		return 0, nil, false
	}
	response, err := historyClient.Do(r)
	if err != nil {
		return 0, nil, false
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err == nil && response.StatusCode < http.StatusInternalServerError
}

// read asks until somebody answers.
func (f *fleet) read(random *rand.Rand, path string) (int, []byte) {
	for range 100 {
		if status, answer, ok := f.ask(random, http.MethodGet, path, ""); ok {
			return status, answer
		}
	}
	f.t.Errorf("nobody answers GET %s", path)
	return 0, nil
}

// push pushes an image of some of a few blobs that everybody pushes, and says whether it was acknowledged.
func (f *fleet) push(random *rand.Rand, repository, tag string) (layers []digest.Digest, acknowledged, known bool) {
	var entries []string
	for range 1 + random.IntN(3) {
		content := fmt.Sprintf("layer %d", random.IntN(8))
		d := digest.FromString(content)
		layers = append(layers, d)
		entries = append(entries, fmt.Sprintf(`{"mediaType":"a/b","digest":%q,"size":%d}`, d, len(content)))
		if status, _, ok := f.ask(random, http.MethodHead, "/v2/"+repository+"/blobs/"+d.String(), ""); ok && status == http.StatusOK {
			continue
		}
		if status, _, ok := f.ask(random, http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+d.String(), content); !ok || status != http.StatusCreated {
			return nil, false, true
		}
	}
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s],"annotations":{"n":"%d"}}`,
		entries[0], strings.Join(entries, ","), random.IntN(20))
	status, answer, ok := f.ask(random, http.MethodPut, "/v2/"+repository+"/manifests/"+tag, manifest)
	switch {
	case !ok:
		return layers, false, false
	case status == http.StatusCreated:
		return append(layers, digest.FromString(manifest)), true, true
	case status == http.StatusNotFound: // MANIFEST_BLOB_UNKNOWN: collected since it was looked for; nothing was promised
	default:
		f.t.Errorf("push: %d %s", status, answer)
	}
	return nil, false, true
}

// check reads back what was acknowledged: the layers, and the manifest, which is the last.
func (f *fleet) check(random *rand.Rand, repository, tag string, all []digest.Digest) {
	manifest := all[len(all)-1]
	if status, answer := f.read(random, "/v2/"+repository+"/manifests/"+tag); status != http.StatusOK || digest.FromBytes(answer) != manifest {
		f.t.Errorf("an acknowledged tag is lost: %s:%s: %d %.200s", repository, tag, status, answer)
		return
	}
	for _, d := range all[:len(all)-1] {
		if status, answer := f.read(random, "/v2/"+repository+"/blobs/"+d.String()); status != http.StatusOK || digest.FromBytes(answer) != d {
			f.t.Errorf("a layer of what was acknowledged is lost: %s:%s: %d %.200s", repository, tag, status, answer)
		}
	}
}

// Registries that collect without a pause, are stopped in the middle of anything and killed, and serve pushers meanwhile:
// nothing that was acknowledged is lost, and in the end all garbage is gone.
func TestHistoriesOfProcesses(t *testing.T) {
	s := testserver.StartS3(t)
	for name, storage := range map[string]string{
		"filesystem": "filesystem: {rootdirectory: " + t.TempDir() + "}",
		"s3":         fmt.Sprintf("s3: {bucket: %s, regionendpoint: %q, accesskey: %s, secretkey: %s}", s.Bucket(t), s.Endpoint, s.AccessKey, s.SecretKey),
	} {
		t.Run(name, func(t *testing.T) {
			f := &fleet{t: t, config: configFile(t, "version: 0.1\nlog: {accesslog: {disabled: true}}\nstorage: {"+storage+
				", maintenance: {garbagecollection: {interval: 20ms, grace: 1ms, keepuntagged: 1ms}}}\nhttp: {addr: '127.0.0.1:0'}\n")}
			for range 3 {
				f.members = append(f.members, f.launch())
			}
			f.history(6, 50)
		})
	}
}

func (f *fleet) history(pushers, rounds int) {
	var acknowledged, disturbances atomic.Int64
	var actors, chaos sync.WaitGroup
	done := make(chan struct{})
	chaos.Go(func() {
		random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Duration(random.IntN(60)) * time.Millisecond):
			}
			f.disturb(random)
			disturbances.Add(1)
		}
	})
	for p := range pushers {
		actors.Go(func() {
			random := rand.New(rand.NewPCG(uint64(p), 3)) //nolint:gosec // a test
			repository, tag := fmt.Sprintf("r%d", p%2), fmt.Sprintf("tag-%d", p)
			var last []digest.Digest // what the tag stands for, where that is known
			for range rounds {
				if last != nil {
					f.check(random, repository, tag, last)
				}
				all, ok, known := f.push(random, repository, tag)
				switch {
				case ok:
					last = all
					acknowledged.Add(1)
					f.check(random, repository, tag, last)
					if random.IntN(2) == 0 { // so that there is always something to collect
						f.ask(random, http.MethodDelete, "/v2/"+repository+"/manifests/"+tag, "")
						last = nil
					}
				case !known:
					last = nil // it may have been moved, or not
				}
			}
		})
	}
	actors.Wait()
	close(done)
	chaos.Wait()
	f.t.Logf("%d pushes were acknowledged among %d disturbances", acknowledged.Load(), disturbances.Load())
	if acknowledged.Load() < int64(pushers*rounds/4) || disturbances.Load() < 5 {
		f.t.Error("that is not much of a history")
	}
	f.end(pushers)
}

// end deletes everything and waits until it is gone.
func (f *fleet) end(pushers int) {
	random := rand.New(rand.NewPCG(5, 5)) //nolint:gosec // a test
	for p := range pushers {
		path := fmt.Sprintf("/v2/r%d/manifests/tag-%d", p%2, p)
		testserver.Eventually(f.t, "the tag is deleted", time.Minute, func() bool {
			status, _, ok := f.ask(random, http.MethodDelete, path, "")
			return ok && (status == http.StatusAccepted || status == http.StatusNotFound)
		})
	}
	testserver.Eventually(f.t, "all garbage is gone", time.Minute, func() bool {
		if out, err := registry(f.t, "garbage-collect", f.config); err != nil {
			f.t.Fatalf("%s, %v", out, err)
		}
		out, err := registry(f.t, "verify", f.config)
		return err == nil && bytes.Contains([]byte(out), []byte(`"manifests":0,"blobs":0,`))
	})
}
