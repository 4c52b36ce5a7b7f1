package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/bcrypt"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver/filesystem"
)

// cpu is the time that a process has computed so far, over all of its threads.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		b.Skipf("a process's time is read from /proc, which only Linux has: %v", err)
	}
	var total time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that ended
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		total += time.Duration(ns)
	}
	return total
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// BenchmarkAuthentication compares what a GET of a manifest costs the server with a password (bcrypt, cost 10) and
// without any, over the same TLS, in pairs that alternate: auth/open is the ratio of the server's own time.
func BenchmarkAuthentication(b *testing.B) {
	dir := b.TempDir()
	roots := testserver.Certificate(b, dir, "tls.crt", "tls.key", "localhost", "127.0.0.1")
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), 10)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(dir+"/htpasswd", append([]byte("ann:"), hash...), 0o600); err != nil {
		b.Fatal(err)
	}
	text := fmt.Sprintf("version: 0.1\nlog: {accesslog: {disabled: true}}\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0', tls: {certificate: %[1]s/tls.crt, key: %[1]s/tls.key}}\n", dir)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	variants := []*process{
		launch(b, nil, []string{"serve", configFile(b, text)}, nil),
		launch(b, nil, []string{"serve", configFile(b, text+"auth: {htpasswd: {path: "+dir+"/htpasswd}}\n")}, nil),
	}
	send := func(p *process, method, path, body string) error {
		r, err := http.NewRequestWithContext(context.Background(), method, p.url+path, strings.NewReader(body))
		if err != nil {
			return err
		}
		r.SetBasicAuth("ann", "secret")
		response, err := client.Do(r)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode/100 != 2 {
			return fmt.Errorf("%s %s: %s", method, path, response.Status)
		}
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	config := digest.FromString("{}")
	for _, p := range variants {
		for _, err := range []error{
			send(p, "POST", "/v2/r/blobs/uploads/?digest="+config.String(), "{}"),
			send(p, "PUT", "/v2/r/manifests/v1", manifestOf(config, "x")),
		} {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	const batch, workers = 2000, 4
	var ratios []float64
	for b.Loop() {
		var took [2]time.Duration
		for i, p := range variants {
			before := cpu(b, p.cmd.Process.Pid)
			var group sync.WaitGroup
			for range workers {
				group.Go(func() {
					for range batch / workers {
						if err := send(p, "GET", "/v2/r/manifests/v1", ""); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			took[i] = cpu(b, p.cmd.Process.Pid) - before
		}
		ratios = append(ratios, float64(took[1])/float64(took[0]))
	}
	b.ReportMetric(median(ratios), "auth/open")
}

// BenchmarkColdStart is the time from starting the program to its first answer, on a store of 10,000 packs.
func BenchmarkColdStart(b *testing.B) {
	dir := b.TempDir()
	d, err := filesystem.New(dir)
	if err != nil {
		b.Fatal(err)
	}
	s, err := store.Open(b.Context(), d)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 10_000 {
		r := s.Repository(fmt.Sprintf("spectro-packs/archive/pack-%05d", i))
		content := []byte(manifestOf(digest.FromString("{}"), fmt.Sprint(i)))
		m := store.PutManifest{Digest: digest.FromBytes(content), MediaType: "application/vnd.oci.image.manifest.v1+json", Content: content}
		if err := r.PutManifest(b.Context(), m); err != nil {
			b.Fatal(err)
		}
		if err := r.Tag(b.Context(), "1.0.0", m.Digest, "", true); err != nil {
			b.Fatal(err)
		}
	}
	addr := testserver.FreeAddr(b)
	config := configFile(b, "version: 0.1\nstorage: {filesystem: {rootdirectory: "+dir+"}}\nhttp: {addr: '"+addr+"'}\n")
	var times []float64
	for b.Loop() {
		began := time.Now()
		p := begin(b, nil, []string{"serve", config}, nil)
		for {
			r, err := http.Get("http://" + addr + "/v1/_catalog?n=1") //nolint:noctx // a server of ours
			if err == nil {
				r.Body.Close()
				break
			}
		}
		times = append(times, float64(time.Since(began).Microseconds())/1000)
		b.StopTimer()
		p.kill()
		b.StartTimer()
	}
	b.ReportMetric(median(times), "ms/start")
}
