package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testserver"
)

// fleet is some registries on one storage, that are stopped and killed at random.
type fleet struct {
	t      *testing.T
	config string
	// files is how many a registry may have open, or zero; troubles are what else happens to the storage.
	files    int
	troubles []func(random *rand.Rand)
	// remote says that the storage is a server: it may go on with a request of a registry that was killed.
	remote bool

	mu      sync.Mutex
	members []*process
}

func (f *fleet) launch() *process {
	return launch(f.t, nil, []string{"serve", f.config}, func(c *exec.Cmd) {
		if f.files > 0 {
			limitFiles(c, f.files)
		}
	})
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
	if len(f.troubles) > 0 && random.IntN(4) == 0 {
		f.troubles[random.IntN(len(f.troubles))](random)
		return
	}
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

// historyClient waits longer than a registry takes to undo something: whoever has no answer knows that it is over.
var historyClient = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// ask sends a request to one of the registries. ok is false where nobody knows what became of it.
func (f *fleet) ask(random *rand.Rand, method, path, body string) (status int, answer []byte, ok bool) {
	response, answer, ok := f.send(random, method, path, strings.NewReader(body))
	if ok {
		status = response.StatusCode
	}
	return status, answer, ok
}

func (f *fleet) send(random *rand.Rand, method, path string, body io.Reader) (response *http.Response, answer []byte, ok bool) {
	r, err := http.NewRequestWithContext(f.t.Context(), method, f.any(random).url+path, body)
	if err != nil {
		f.t.Error(err)
		return nil, nil, false
	}
	response, err = historyClient.Do(r)
	if err != nil {
		return nil, nil, false
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response, answer, err == nil && response.StatusCode < http.StatusInternalServerError
}

// insist sends a request of an upload, as it is or first cut or twice at once, and again to any registry where nobody knows
// what became of it.
func (f *fleet) insist(random *rand.Rand, method, path, body string) (response *http.Response, ok bool) {
	for range 3 {
		switch random.IntN(6) {
		case 0:
			cut := io.MultiReader(strings.NewReader(body[:len(body)/2]), iotest.ErrReader(io.ErrUnexpectedEOF))
			f.send(random, method, path, cut) //nolint:errcheck // it fails
		case 1:
			twin := rand.New(rand.NewPCG(random.Uint64(), 4)) //nolint:gosec // a test
			var group sync.WaitGroup
			group.Go(func() { f.ask(twin, method, path, body) }) //nolint:errcheck // whichever comes first
			defer group.Wait()
		}
		if response, _, ok = f.send(random, method, path, strings.NewReader(body)); ok {
			return response, true
		}
	}
	return nil, false
}

// upload pushes a blob in one of the ways that there are, and says whether that was acknowledged.
func (f *fleet) upload(random *rand.Rand, repository, content string) bool {
	begin, query := "/v2/"+repository+"/blobs/uploads/", "?digest="+digest.FromString(content).String()
	way := random.IntN(3)
	if way == 0 {
		response, ok := f.insist(random, http.MethodPost, begin+query, content)
		return ok && response.StatusCode == http.StatusCreated
	}
	response, ok := f.insist(random, http.MethodPost, begin, "")
	if !ok || response.StatusCode != http.StatusAccepted {
		return false
	}
	location, rest := strings.Split(response.Header.Get("Location"), "?")[0], content
	if way == 2 {
		half := content[:len(content)/2]
		// Where it arrived twice, or cut, the end is refused, for the digest is another.
		if response, ok = f.insist(random, http.MethodPatch, location, half); !ok || response.StatusCode != http.StatusAccepted {
			return false
		}
		rest = content[len(half):]
	}
	response, ok = f.insist(random, http.MethodPut, location+query, rest)
	return ok && response.StatusCode == http.StatusCreated
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
		if !f.upload(random, repository, content) {
			return nil, false, true
		}
	}
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s],"annotations":{"n":"%d"}}`,
		entries[0], strings.Join(entries, ","), random.IntN(20))
	status, answer, ok := f.ask(random, http.MethodPut, "/v2/"+repository+"/manifests/"+tag, manifest)
	switch {
	case !ok:
		return append(layers, digest.FromString(manifest)), false, false
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

// strew puts files of other programs into folders of a store.
func strew(root string) func(random *rand.Rand) {
	return func(random *rand.Rand) {
		dirs, _ := filepath.Glob(filepath.Join(root, "objects", strings.Repeat("*/", random.IntN(5)))) //nolint:errcheck // the pattern is valid
		for _, dir := range append(dirs, filepath.Join(root, "streams")) {
			if info, err := os.Stat(dir); err == nil && info.IsDir() && random.IntN(4) == 0 {
				os.WriteFile(filepath.Join(dir, ".nfs0000"+strconv.Itoa(random.IntN(3))), []byte("x"), 0o600) //nolint:errcheck // it may be gone or full
				os.Mkdir(filepath.Join(dir, "@eaDir"), 0o700)                                                 //nolint:errcheck // as before
			}
		}
	}
}

// filled fills a volume for a moment.
func filled(volume testserver.Volume) func(random *rand.Rand) {
	return func(random *rand.Rand) {
		volume.Fill()
		<-time.After(time.Duration(random.IntN(200)) * time.Millisecond)
		volume.Release()
	}
}

func s3Storage(t *testing.T, s *testserver.S3) string {
	return fmt.Sprintf("s3: {bucket: %s, regionendpoint: %q, accesskey: %s, secretkey: %s}", s.Bucket(t), s.Endpoint, s.AccessKey, s.SecretKey)
}

// Registries that collect without a pause, are stopped in the middle of anything and killed, and serve pushers meanwhile:
// nothing that was acknowledged is lost, and in the end all garbage is gone.
func TestHistoriesOfProcesses(t *testing.T) {
	s := testserver.StartS3(t)
	kinds := map[string]func(t *testing.T, f *fleet) (storage string){
		"filesystem": func(t *testing.T, f *fleet) string {
			root := t.TempDir()
			f.files, f.troubles = 200, []func(*rand.Rand){strew(root)}
			return "filesystem: {rootdirectory: " + root + "}"
		},
		"volume": func(t *testing.T, f *fleet) string {
			volume := testserver.SmallVolume(t, 32)
			f.troubles = []func(*rand.Rand){strew(volume.Dir), filled(volume)}
			return "filesystem: {rootdirectory: " + volume.Dir + "}"
		},
		"s3": func(t *testing.T, f *fleet) string {
			f.remote = true
			return s3Storage(t, s)
		},
		"s3 on a volume": func(t *testing.T, f *fleet) string {
			volume := testserver.SmallVolume(t, 64)
			f.troubles, f.remote = []func(*rand.Rand){filled(volume)}, true
			return s3Storage(t, testserver.StartS3In(t, volume.Dir, testserver.FreeAddr(t)))
		},
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			f := &fleet{t: t}
			storage := kind(t, f)
			f.config = configFile(t, "version: 0.1\nlog: {accesslog: {disabled: true}}\nstorage: {"+storage+
				", maintenance: {garbagecollection: {interval: 20ms, grace: 1ms, keepuntagged: 1ms}}}\nhttp: {addr: '127.0.0.1:0'}\n")
			for range 3 {
				f.members = append(f.members, f.launch())
			}
			forSeeds(t, soakShare*time.Duration(len(kinds)), func(_ *testing.T, seed uint64, _ func() bool) { f.history(seed, 6, 30) })
		})
	}
}

// crossers are how many clients change the same few tags.
const crossers = 4

func (f *fleet) history(seed uint64, pushers, rounds int) {
	var acknowledged, disturbances atomic.Int64
	var actors, chaos sync.WaitGroup
	done := make(chan struct{})
	chaos.Go(func() {
		random := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // a test
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
			random := rand.New(rand.NewPCG(seed+uint64(p), 3)) //nolint:gosec // a test
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
	cross := newCrossing(f, "cross")
	for p := range crossers {
		actors.Go(func() {
			random := rand.New(rand.NewPCG(seed+uint64(p), 7)) //nolint:gosec // a test
			for range 2 * rounds {
				cross.act(random)
			}
		})
	}
	actors.Wait()
	close(done)
	chaos.Wait()
	f.t.Logf("%d pushes were acknowledged among %d disturbances", acknowledged.Load(), disturbances.Load())
	if acknowledged.Load() < int64(pushers*rounds/10) || disturbances.Load() < 5 {
		f.t.Error("that is not much of a history")
	}
	cross.end()
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
