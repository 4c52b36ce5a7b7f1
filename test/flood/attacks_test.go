//go:build linux

package flood

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testpack"
	"packregistry.dev/pack"
)

// attacker is one process that attacks until its standard input ends.
type attacker struct {
	target string
	ctx    context.Context
	client *http.Client

	mu     sync.Mutex
	counts map[string]map[string]int
}

// step is an attack's turn: it returns the status of an answer, or what else became of it.
type step func(a *attacker, worker, n int) string

type kind int

const (
	plain kind = iota
	isPack
	holds
)

// holdsAfter is how long what holds places is waited for.
const holdsAfter = 8 * time.Second

// attacks are all that one user who may push to mal/** and mal-* does, and nobody. want are answers that must have come.
var attacks = []struct {
	name    string
	workers int
	step    step
	want    []string
	// kind is when it begins: what is a pack is pushed before the flood, and what holds the attacker's own share of places comes after the
	// others have had some time.
	kind kind
}{
	{"sparse entry", 1, push("mal-sparse", sparse()), []string{"400"}, isPack},
	{"deep archive", 1, push("mal-deep", archive(map[string]string{strings.Repeat("d/", 100_000) + "f": "x"})), []string{"400"}, isPack},
	{"doubled names", 1, push("mal-double", doubled()), []string{"400"}, isPack},
	{"wrong charts", 1, push("mal-charts", charts()), []string{"400"}, isPack},
	{"zeros", 1, push("mal-zeros", archive(map[string]string{"zeros": strings.Repeat("\x00", 64<<20)})), []string{"400"}, isPack},
	{"many layers", 4, manifest(manyLayers()), []string{"400"}, plain},
	{"one manifest often", 2, manifest(oftenNamed()), nil, plain},
	{"large manifests", 4, distinct, []string{"201"}, plain},
	{"referrers", 2, referrers, []string{"200"}, plain},
	{"one byte a PATCH", 4, patches, []string{"202"}, plain},
	{"dripped uploads", 300, drip("POST", "/v2/mal/x/blobs/uploads/?digest=sha256:"+strings.Repeat("0", 64), 1, ""), nil, holds},
	{"dripped manifests", 50, drip("PUT", "/v2/mal/x/manifests/v1", 4_000_000, strings.Repeat(" ", 3_900_000)), nil, holds},
	{"ranges", 2, ranges, nil, plain},
	{"wrong passwords", 40, guess, []string{"401", "429"}, plain},
	{"spellings of one", 4, spell, []string{"401"}, plain},
	{"unread downloads", 100, unread("/v2/mal/x/blobs/" + digest.FromBytes(bigBlob).String()), nil, holds},
	{"unread manifests", 100, unread("/v2/mal/x/manifests/large0"), nil, holds},
	{"files of a pack", 40, files, []string{"200"}, plain},
	{"unfinished heads", 300, drip("GET", "/v2/", 0, ""), nil, holds},
	{"tokens", 4, tokens, []string{"200"}, plain},
	{"lists", 4, lists, []string{"200"}, plain},
}

var bigBlob = bytes.Repeat([]byte("0123456789abcdef"), 2<<20)

// attack runs all attacks at once, and reports how they were answered.
func attack(target string) {
	ctx, stop := context.WithCancel(context.Background())
	a := &attacker{target: target, ctx: ctx, client: addressed(2), counts: map[string]map[string]int{}}
	a.prepare()
	var group sync.WaitGroup
	for _, one := range attacks {
		for worker := range one.workers {
			group.Go(func() {
				if one.kind == holds {
					select {
					case <-time.After(holdsAfter):
					case <-ctx.Done():
					}
				}
				for n := 0; ctx.Err() == nil; n++ {
					a.count(one.name, one.step(a, worker, n))
					select {
					case <-time.After(20 * time.Millisecond):
					case <-ctx.Done():
					}
				}
			})
		}
	}
	go a.report()
	io.Copy(io.Discard, os.Stdin) //nolint:errcheck // its end is all that matters
	stop()
	group.Wait()
}

// report says every second how each attack was answered.
func (a *attacker) report() {
	for ; a.ctx.Err() == nil; time.Sleep(time.Second) {
		a.mu.Lock()
		json.NewEncoder(os.Stdout).Encode(a.counts) //nolint:errcheck // who reads it notices
		a.mu.Unlock()
	}
}

func (a *attacker) count(name, answer string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil {
		return // broken off
	}
	if a.counts[name] == nil {
		a.counts[name] = map[string]int{}
	}
	a.counts[name][answer]++
}

// do sends a request as mal, or as nobody.
func (a *attacker) do(method, path string, body []byte, change func(*http.Request)) (string, http.Header) {
	r, err := http.NewRequestWithContext(a.ctx, method, a.target+path, bytes.NewReader(body))
	if err != nil {
		return err.Error(), nil
	}
	r.SetBasicAuth("mal", "mal")
	r.Header.Set("Content-Type", indexType)
	if change != nil {
		change(r)
	}
	response, err := a.client.Do(r)
	if err != nil {
		return "broken off", nil
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body) //nolint:errcheck // the status is there
	return strconv.Itoa(response.StatusCode), response.Header
}

// from is the attacker at another address.
func (a *attacker) from(last byte) *attacker {
	return &attacker{target: a.target, ctx: a.ctx, client: others[last]}
}

var others = map[byte]*http.Client{3: addressed(3)}

func nobody(r *http.Request) { r.Header.Del("Authorization") }

func (a *attacker) blob(repository string, content []byte) digest.Digest {
	d := digest.FromBytes(content)
	a.do("POST", "/v2/"+repository+"/blobs/uploads/?digest="+d.String(), content, nil)
	return d
}

// prepare pushes what the attacks need.
func (a *attacker) prepare() {
	a.blob("mal/x", []byte("{}"))
	a.blob("mal/x", bigBlob)
	ok := push("mal-ok", archive(map[string]string{"big.txt": strings.Repeat("text ", 1<<20)}))
	ok(a, 0, -1)
	ok(a, 0, 0)
	a.do("PUT", "/v2/mal/x/manifests/small", []byte(`{"schemaVersion":2,"mediaType":"`+indexType+`","manifests":[]}`), nil)
	distinct(a, 0, 0)
	for _, one := range attacks {
		if one.kind == isPack {
			one.step(a, 0, -1)
		}
	}
}

// push pushes an archive as a pack.
func push(name string, content []byte) step {
	repository := pack.Repository(name)
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		pack.ConfigMediaType, digest.FromString("{}"), pack.ArchiveMediaType, digest.FromBytes(content), len(content))
	return func(a *attacker, _, n int) string {
		if n < 0 { // before the flood, which takes the attacker's own share of uploads
			a.blob(repository, []byte("{}"))
			a.blob(repository, content)
			return ""
		}
		answer, _ := a.do("PUT", "/v1/"+name+"/manifests/1.0.0", []byte(manifest), func(r *http.Request) {
			r.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		})
		return answer
	}
}

// archive makes a pack of valid files and others.
func archive(more map[string]string) []byte {
	return packed(func(w *tar.Writer) {
		for name, content := range more {
			entry(w, name, content)
		}
	})
}

func packed(more func(w *tar.Writer)) []byte {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	for name, content := range testpack.Files("mal-ok", "1.0.0") {
		entry(w, name, content)
	}
	more(w)
	must(w.Close())
	must(zip.Close())
	return out.Bytes()
}

func entry(w *tar.Writer, name, content string) {
	must(w.WriteHeader(&tar.Header{Name: "top/" + name, Mode: 0o644, Size: int64(len(content)), Format: tar.FormatPAX}))
	_, err := io.WriteString(w, content)
	must(err)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// sparse has an entry of 2^62 bytes that are not there.
func sparse() []byte {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	records := "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n42 GNU.sparse.realsize=4611686018427387904\n27 GNU.sparse.name=top/big\n"
	pax := make([]byte, 512)
	copy(pax, "PaxHeaders/x")
	copy(pax[100:], "0000644\x00")
	copy(pax[124:], fmt.Sprintf("%011o\x00", len(records)))
	pax[156] = 'x'
	copy(pax[257:], "ustar\x0000")
	sum(pax)
	file := bytes.Clone(pax)
	copy(file, "top/big\x00\x00\x00\x00\x00")
	copy(file[124:], fmt.Sprintf("%011o\x00", 512))
	file[156] = '0'
	sum(file)
	data := make([]byte, 512)
	copy(data, "0\n")
	for _, part := range [][]byte{pax, append([]byte(records), make([]byte, 512-len(records))...), file, data, make([]byte, 1024)} {
		_, err := zip.Write(part)
		must(err)
	}
	must(zip.Close())
	return out.Bytes()
}

func sum(header []byte) {
	copy(header[148:156], "        ")
	total := 0
	for _, b := range header {
		total += int(b)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", total))
}

func doubled() []byte {
	return packed(func(w *tar.Writer) {
		for i := range 8_000 {
			name := fmt.Sprintf("%s%d", strings.Repeat("long", 500), i/2)
			entry(w, name, "")
		}
	})
}

func charts() []byte {
	var list strings.Builder
	for i := range 500_000 {
		fmt.Fprintf(&list, `,"no/%d"`, i)
	}
	return archive(map[string]string{"pack.json": `{"name":"mal-charts","displayName":"x","version":"1.0.0","layer":"addon","charts":["x"` + list.String() + `]}`})
}

// manifest pushes one manifest again and again.
func manifest(text []byte) step {
	return func(a *attacker, worker, n int) string {
		answer, _ := a.do("PUT", fmt.Sprintf("/v2/mal/x/manifests/m%d", worker), text, nil)
		return answer
	}
}

func manyLayers() []byte {
	return []byte(`{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[{}` + strings.Repeat(",{}", 1_300_000) + `]}`)
}

func oftenNamed() []byte {
	small := `{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[]}`
	one := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, indexType, digest.FromString(small), len(small))
	return []byte(`{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[` + one + strings.Repeat(","+one, 7_999) + `]}`)
}

// long is the end of a manifest with an annotation of 3.9 MB. What is sent is made once: the attackers' work is not what is measured.
var long = []byte(`"` + strings.Repeat("x", 3_900_000) + `"}}`)

// distinct pushes large manifests, each another.
func distinct(a *attacker, worker, n int) string {
	text := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"n":"%d-%d","x":`, indexType, worker, n%20)
	answer, _ := a.do("PUT", fmt.Sprintf("/v2/mal/x/manifests/large%d", worker), slices.Concat([]byte(text), long), nil)
	return answer
}

// referrers pushes referrers with large annotations of one subject, and asks for their list.
func referrers(a *attacker, worker, n int) string {
	subject := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":2}`, indexType, digest.FromString("subject"))
	if n < 12 {
		text := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[],"subject":%s,"annotations":{"n":"%d-%d","x":`, indexType, subject, worker, n)
		answer, _ := a.do("PUT", fmt.Sprintf("/v2/mal/x/manifests/referrer%d-%d", worker, n), slices.Concat([]byte(text), long), nil)
		return answer
	}
	answer, _ := a.do([]string{"HEAD", "GET"}[n%2], "/v2/mal/x/referrers/"+digest.FromString("subject").String(), nil, nobody)
	return answer
}

// patches adds one byte at a time to an upload.
func patches(a *attacker, worker, _ int) string {
	answer, header := a.do("POST", fmt.Sprintf("/v2/mal/p%d/blobs/uploads/", worker), nil, nil)
	for at := header.Get("Location"); at != "" && a.ctx.Err() == nil; at = header.Get("Location") {
		answer, header = a.do("PATCH", strings.TrimPrefix(at, a.target), []byte("x"), nil)
		a.count("one byte a PATCH", answer)
	}
	return answer
}

// drip begins a request, sends a part of what it announces, and then a byte now and then. Without a size not even the head ends.
func drip(method, path string, size int, sent string) step {
	return func(a *attacker, worker, _ int) string {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+worker%4))}}).DialContext(a.ctx, "tcp", strings.TrimPrefix(a.target, "http://"))
		if err != nil {
			return "not connected"
		}
		defer conn.Close()
		go func() {
			<-a.ctx.Done()
			conn.Close()
		}()
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Basic bWFsOm1hbA==\r\nContent-Type: %s\r\n", method, path, indexType) //nolint:errcheck // the read tells
		if size > 0 {
			fmt.Fprintf(conn, "Content-Length: %d\r\n\r\n%s", size+1000, sent) //nolint:errcheck // the read tells
		}
		answered := make(chan string, 1)
		go func() {
			answer := make([]byte, 12)
			if _, err := io.ReadFull(conn, answer); err != nil {
				answered <- "broken off"
				return
			}
			answered <- string(answer[9:])
		}()
		for {
			select {
			case answer := <-answered:
				return answer
			case <-time.After(2 * time.Second):
				io.WriteString(conn, "x") //nolint:errcheck // the read tells
			}
		}
	}
}

// unread asks for something and takes nothing of it.
func unread(path string) step {
	return func(a *attacker, worker, _ int) string {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+worker%4))}}).DialContext(a.ctx, "tcp", strings.TrimPrefix(a.target, "http://"))
		if err != nil {
			return "not connected"
		}
		defer conn.Close()
		conn.(*net.TCPConn).SetReadBuffer(4096)                           //nolint:errcheck,forcetypeassert // the less the better
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)     //nolint:errcheck // nobody waits for the answer
		fmt.Fprintf(conn, "GET /v2/_catalog HTTP/1.1\r\nHost: x\r\n\r\n") //nolint:errcheck // see above
		select {
		case <-a.ctx.Done():
		case <-time.After(10 * time.Second):
		}
		return "unread"
	}
}

var manyRanges = func() []string {
	list := make([]string, 13_000)
	for i := range list {
		list[i] = fmt.Sprintf("%d-", i)
	}
	return list
}()

func ranges(a *attacker, _, n int) string {
	list := manyRanges
	if n%2 == 0 {
		list = list[:5_000] // which fit into a request's head
	}
	answer, _ := a.do("GET", "/v2/mal/x/blobs/"+digest.FromBytes(bigBlob).String(), nil, func(r *http.Request) {
		nobody(r)
		r.Header.Set("Range", "bytes="+strings.Join(list, ","))
	})
	return answer
}

// guess sends wrong passwords, of one user, of many, and of users whom there are not.
func guess(a *attacker, worker, n int) string {
	user := []string{"ann", fmt.Sprint("user", n), "mal", "root"}[worker%4]
	answer, _ := a.do("GET", "/v2/", nil, func(r *http.Request) { r.SetBasicAuth(user, fmt.Sprint("wrong", worker, "-", n)) })
	return answer
}

// spell sends other spellings of the right password.
func spell(a *attacker, _, n int) string {
	answer, _ := a.from(3).do("GET", "/v2/", nil, func(r *http.Request) { r.SetBasicAuth("mal", "mal"+strings.Repeat("\x00mal", 1+n%17)) })
	return answer
}

func files(a *attacker, worker, n int) string {
	method, path := []string{"HEAD", "GET"}[n%2], []string{"", "big.txt", "none"}[worker%3]
	answer, _ := a.do(method, "/v1/mal-ok/files/1.0.0/"+path, nil, nobody)
	return answer
}

func tokens(a *attacker, _, n int) string {
	scopes := url.Values{}
	for i := range 500 {
		scopes.Add("scope", fmt.Sprintf("repository:mal/%d:pull,push,delete", i))
	}
	answer, _ := a.do("GET", "/token?"+scopes.Encode(), nil, nil)
	return answer
}

func lists(a *attacker, _, n int) string {
	path := []string{"/v2/_catalog", "/v2/mal/x/tags/list", "/v1/_catalog", "/v1/mal-ok/tags/list"}[n%4]
	answer, _ := a.do("GET", path, nil, nobody)
	return answer
}
