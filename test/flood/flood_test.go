//go:build linux

// Package flood lets one user with rights to one repository, and nobody, do everything at once that could take a registry away from
// others, and measures what another user sees of it. A soak asks for more, and for longer, than `make test`.
package flood

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/bcrypt"

	"packregistry.dev/internal/testserver"
)

// What must hold.
const (
	mostMemory  = 256 // MiB
	mostSlower  = 10  // times
	idleWithin  = 5 * time.Second
	idleCPU     = 0.05 // of a processor
	clockTicks  = 100  // a second, in /proc, on every architecture that Go knows
	targetEnv   = "PACKREGISTRY_FLOOD"
	indexType   = "application/vnd.oci.image.index.v1+json"
	victimEvery = 20 * time.Millisecond
	// mostPatience is how long a flood goes on at most where the machine has other things to do.
	mostPatience = time.Minute
)

func TestMain(m *testing.M) {
	if target := os.Getenv(targetEnv); target != "" {
		attack(target)
		return
	}
	os.Exit(m.Run())
}

// registry is a registry as a process, with default settings.
type registry struct {
	pid        int
	url, debug string
	log        string
	client     *http.Client
}

func start(t *testing.T, storage string) *registry {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "registry")
	build := exec.Command("go", "build", "-o", program, "packregistry.dev/cmd/registry")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var users strings.Builder
	for _, user := range []string{"ann", "mal"} {
		hash, err := bcrypt.GenerateFromPassword([]byte(user), bcrypt.DefaultCost)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&users, "%s:%s\n", user, hash)
	}
	r := &registry{log: filepath.Join(dir, "log"), debug: "http://" + testserver.FreeAddr(t), client: &http.Client{Timeout: time.Minute}}
	config := fmt.Sprintf(`version: 0.1
storage: %s
http: {addr: '127.0.0.1:0', debug: {addr: '%s', pprof: {enabled: true}}}
auth:
  htpasswd: {path: %s/users}
  access:
    rules:
    - {users: [ann], repositories: ['ann/**'], actions: [pull, push]}
    - {users: [mal], repositories: ['mal/**', 'spectro-packs/archive/mal-*'], actions: [pull, push]}
    - {anonymous: true, repositories: ['mal/**', 'spectro-packs/archive/mal-*'], actions: [pull]}
`, storage, strings.TrimPrefix(r.debug, "http://"), dir)
	for name, text := range map[string]string{"users": users.String(), "config.yml": config} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "serve", filepath.Join(dir, "config.yml"))
	// To a file: a pipe would make the registry wait for this process.
	log, err := os.Create(r.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	cmd.Env = []string{"HOME=" + dir, "TMPDIR=" + dir}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may be gone
		cmd.Wait()         //nolint:errcheck // it was killed
	})
	r.pid = cmd.Process.Pid
	serving := regexp.MustCompile(`msg=serving .*\baddr=(\S+)`)
	testserver.Eventually(t, "the registry serves", time.Minute, func() bool {
		m := serving.FindStringSubmatch(r.said())
		if m != nil {
			r.url = "http://" + m[1]
		}
		return m != nil
	})
	return r
}

// said is the registry's log.
func (r *registry) said() string {
	text, err := os.ReadFile(r.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// do is a request of the user who is not attacked.
func (r *registry) do(method, path, body, contentType string) (int, error) {
	request, err := http.NewRequest(method, r.url+path, strings.NewReader(body)) //nolint:noctx // the client has a timeout
	if err != nil {
		return 0, err
	}
	request.SetBasicAuth("ann", "ann")
	request.Header.Set("Content-Type", contentType)
	response, err := r.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// latencies gets a manifest by tag at a steady pace for a while, and returns how long the answers took, sorted.
func (r *registry) latencies(t *testing.T, goesOn func() bool) []time.Duration {
	t.Helper()
	var took []time.Duration
	tick := time.NewTicker(victimEvery)
	defer tick.Stop()
	for goesOn() {
		<-tick.C
		asked := time.Now()
		if status, err := r.do("GET", "/v2/ann/x/manifests/v1", "", ""); err != nil || status != http.StatusOK {
			t.Errorf("GET by tag: %d, %v", status, err)
			if t.Failed() && len(took) == 0 {
				t.FailNow()
			}
		}
		took = append(took, time.Since(asked))
	}
	slices.Sort(took)
	return took
}

func percentile(sorted []time.Duration, p float64) time.Duration {
	return sorted[min(int(float64(len(sorted))*p), len(sorted)-1)]
}

// status reads a number of kB from /proc, in MiB.
func (r *registry) status(t *testing.T, field string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.pid))
	if err != nil {
		t.Fatalf("%v; the registry said: %s", err, r.said())
	}
	m := regexp.MustCompile(field + `:\s+(\d+) kB`).FindSubmatch(text)
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n >> 10
}

// ticks is the processors' time that the registry has used.
func (r *registry) ticks(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	sum := 0
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// idle says whether the registry uses no processor to speak of for a while, and has no more goroutines than it had.
func (r *registry) idle(t *testing.T, before int) bool {
	t.Helper()
	const while = 500 * time.Millisecond
	began := r.ticks(t)
	time.Sleep(while)
	used := float64(r.ticks(t)-began) / clockTicks / while.Seconds()
	return used <= idleCPU && r.goroutines(t) <= before+5
}

// filesystem is a storage in a folder of the test's.
func filesystem(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("{filesystem: {rootdirectory: %s}}", t.TempDir())
}

// Everything at once, by one user and by nobody: another user is served, memory is bounded, and it is over when it is over. A soak does the
// same on S3. How long answers take says little there: the S3 server computes on the same processors.
func TestAFloodByOneUser(t *testing.T) {
	t.Run("filesystem", func(t *testing.T) { floodOf(t, filesystem(t), true) })
	if os.Getenv("PACKREGISTRY_SOAK") == "" {
		return
	}
	t.Run("s3", func(t *testing.T) {
		s3 := testserver.StartS3(t)
		floodOf(t, fmt.Sprintf("{redirect: {disable: true}, s3: {regionendpoint: %q, region: %s, accesskey: %q, secretkey: %q, bucket: %s, forcepathstyle: true}}",
			s3.Endpoint, s3.Region, s3.AccessKey, s3.SecretKey, s3.Bucket(t)), false)
	})
}

// floodOf floods a registry with that storage. timed says that the other user's answers must be quick.
func floodOf(t *testing.T, storage string, timed bool) {
	t.Helper()
	flood, quiet := 15*time.Second, 2*time.Second
	soak := os.Getenv("PACKREGISTRY_SOAK") != ""
	if soak {
		var err error
		if flood, err = time.ParseDuration(os.Getenv("PACKREGISTRY_SOAK")); err != nil {
			t.Fatal(err)
		}
		flood, quiet = max(flood/10, time.Minute), 20*time.Second
	}
	r := start(t, storage)
	r.prepare(t)
	began := time.Now()
	idle := r.latencies(t, func() bool { return time.Since(began) < quiet })
	before := r.goroutines(t)

	// The attackers would have processors of their own. Here they share those of the registry and of the other user, whom their own work
	// must not delay: they have a low priority, and what they send is made before. A soak, which times answers, lets them compute only
	// while nobody else does.
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nice", "-n", "15", program)
	if soak {
		cmd = exec.Command("chrt", "--idle", "0", program)
	}
	cmd.Env = append(os.Environ(), targetEnv+"="+r.url)
	stdin, err := cmd.StdinPipe() // its end is the attackers' end
	if err != nil {
		t.Fatal(err)
	}
	report := &testserver.Output{}
	cmd.Stdout, cmd.Stderr = report, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ended sync.WaitGroup
	ended.Go(func() { cmd.Wait() }) //nolint:errcheck // the report shows it
	defer ended.Wait()
	defer stdin.Close()

	testserver.Eventually(t, "each attack was done alone", mostPatience, func() bool { return answers(report).Alone != nil })
	began = time.Now()
	// It goes on until every attack was answered, however slow the machine is.
	busy := r.latencies(t, func() bool {
		return time.Since(began) < flood || len(missing(answers(report).Flood)) > 0 && time.Since(began) < mostPatience
	})
	if status, err := r.do("POST", "/v2/ann/x/blobs/uploads/?digest="+digest.FromString("pushed").String(), "pushed", ""); err != nil || status != http.StatusCreated {
		t.Errorf("a push while others flood: %d, %v", status, err)
	}
	stdin.Close()
	ended.Wait()
	over := time.Now()
	within := idleWithin
	if !soak {
		within = time.Minute // the machine is not ours alone
	}
	testserver.Eventually(t, "the registry is idle again", within, func() bool { return r.idle(t, before) })
	t.Logf("idle again after %s", time.Since(over))

	p99 := [2]time.Duration{percentile(idle, 0.99), percentile(busy, 0.99)}
	t.Logf("GET by tag, p50 and p99: idle %s and %s (%d); in the flood %s and %s (%d), at most %s", percentile(idle, 0.5), p99[0], len(idle),
		percentile(busy, 0.5), p99[1], len(busy), busy[len(busy)-1])
	if soak && timed && p99[1] > mostSlower*p99[0] {
		t.Errorf("p99 is %.1f times what it is when idle, want at most %d", float64(p99[1])/float64(p99[0]), mostSlower)
	}
	if most := r.status(t, "VmHWM"); most > mostMemory {
		t.Errorf("the registry took %d MiB, want at most %d", most, mostMemory)
	} else {
		t.Logf("the registry took %d MiB at most", most)
	}
	checkReport(t, answers(report))
	if strings.Contains(r.said(), "panicked") {
		t.Error("a handler panicked")
	}
}

// prepare pushes what the other user gets.
func (r *registry) prepare(t *testing.T) {
	t.Helper()
	config := digest.FromString("{}")
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"a/b","digest":%q,"size":2},"layers":[]}`, config)
	for _, push := range [][4]string{
		{"POST", "/v2/ann/x/blobs/uploads/?digest=" + config.String(), "{}", ""},
		{"PUT", "/v2/ann/x/manifests/v1", manifest, "application/vnd.oci.image.manifest.v1+json"},
	} {
		if status, err := r.do(push[0], push[1], push[2], push[3]); err != nil || status != http.StatusCreated {
			t.Fatalf("%s %s: %d, %v", push[0], push[1], status, err)
		}
	}
}

// answers are how the attacks were answered, as it was reported last.
func answers(report *testserver.Output) (last reported) {
	lines := strings.Split(strings.TrimSpace(report.String()), "\n")
	for _, line := range slices.Backward(lines) {
		var one reported
		if json.Unmarshal([]byte(line), &one) == nil {
			return one
		}
	}
	return last
}

// missing lists attacks that were not answered.
func missing(counts map[string]map[string]int) (list []string) {
	for _, a := range attacks {
		if len(counts[a.name]) == 0 {
			list = append(list, a.name)
		}
	}
	return list
}

// checkReport compares how the attacks were answered with how they should be. One that stopped at its first step would prove nothing: so
// each was done alone before. In the flood it is answered like that, or refused.
func checkReport(t *testing.T, r reported) {
	t.Helper()
	for _, a := range attacks {
		t.Logf("%-22s alone %v, in the flood %v", a.name, r.Alone[a.name], r.Flood[a.name])
		if alone := slices.Sorted(maps.Keys(r.Alone[a.name])); !slices.Equal(alone, a.alone) {
			t.Errorf("%s: alone it is answered %v, want %v", a.name, alone, a.alone)
		}
		for answer, n := range r.Flood[a.name] {
			if !slices.Contains(a.alone, answer) && !slices.Contains(a.refused, answer) {
				t.Errorf("%s: %d answers of %s in the flood, want %v or %v", a.name, n, answer, a.alone, a.refused)
			}
		}
	}
	if list := missing(r.Flood); len(list) > 0 {
		t.Errorf("not answered in the flood: %s", strings.Join(list, ", "))
	}
}

// addressed is a client that comes from one of the loopback's addresses.
func addressed(last byte) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, last)}}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 100}, Timeout: 30 * time.Second}
}
