package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/config"
)

// lockedLog is a log that can be read while it is written.
type lockedLog struct{ testserver.Output }

func (l *lockedLog) Len() int { return len(l.String()) }

func (l *lockedLog) says(words string) bool { return strings.Contains(l.String(), words) }

// run starts a whole server in memory, listeners and all, and returns its address, its log and what stops it.
func run(t *testing.T, more string) (address string, log *lockedLog, stop func() error) {
	t.Helper()
	return runConfig(t, "version: 0.1\nstorage: inmemory\n"+more)
}

func runConfig(t *testing.T, text string) (address string, log *lockedLog, stop func() error) {
	t.Helper()
	c, _, err := config.Parse([]byte(text), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log = &lockedLog{}
	s, err := Open(t.Context(), c, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	listening, done := make(chan net.Addr, 1), make(chan error, 1)
	go func() { done <- s.Run(ctx, func(a net.Addr) { listening <- a }) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { stop() }) //nolint:errcheck // tests that care call it
	select {
	case a := <-listening:
		return a.String(), log, stop
	case err := <-done:
		t.Fatal(err)
		return "", nil, nil
	}
}

func TestCertificateIsReloadedWithoutDroppingConnections(t *testing.T) {
	dir := t.TempDir()
	first := testserver.Certificate(t, dir, "tls.crt", "tls.key", "localhost", "first")
	address, log, _ := run(t, fmt.Sprintf("http: {addr: 'localhost:0', tls: {certificate: %[1]s/tls.crt, key: %[1]s/tls.key}}", dir))
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	client := func(pool *x509.CertPool) *http.Client {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	get := func(c *http.Client) error {
		r, err := c.Get("https://localhost:" + port + "/health")
		if err == nil {
			io.Copy(io.Discard, r.Body) //nolint:errcheck // so that the connection is used again
			r.Body.Close()
		}
		return err
	}
	standing := client(first)
	if err := get(standing); err != nil {
		t.Fatal(err)
	}
	second := testserver.Certificate(t, dir, "tls.crt", "tls.key", "localhost", "second")
	deadline := time.Now().Add(10 * time.Second)
	for get(client(second)) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the new certificate was never served")
		}
	}
	if err := get(standing); err != nil {
		t.Errorf("the connection that stood was dropped: %v", err)
	}
	// A pair that does not match leaves the last good one, and is logged.
	if err := os.WriteFile(filepath.Join(dir, "tls.key"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "the broken pair is noticed", 10*time.Second, func() bool { return log.says("cannot use the changed certificate") })
	if err := get(client(second)); err != nil {
		t.Errorf("a broken pair took the good one away: %v", err)
	}
}

func TestDrainingFinishesWhatIsInFlight(t *testing.T) {
	address, _, stop := run(t, "http: {addr: '127.0.0.1:0', draintimeout: 10s}")
	response, err := http.Post("http://"+address+"/v2/a/blobs/uploads/", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	body, feed := io.Pipe()
	r, err := http.NewRequest(http.MethodPut, "http://"+address+response.Header.Get("Location")+"?digest="+digest.FromString("begin and end").String(), body)
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan string, 1)
	go func() {
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			result <- err.Error()
			return
		}
		response.Body.Close()
		result <- response.Status
	}()
	if _, err := io.WriteString(feed, "begin and "); err != nil { // the server reads: the request is in flight
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	deadline := time.Now().Add(10 * time.Second)
	for { // until nothing is accepted any more
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			break
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("new connections are still accepted")
		}
	}
	if _, err := io.WriteString(feed, "end"); err != nil {
		t.Fatal(err)
	}
	feed.Close()
	if got := <-result; got != "201 Created" {
		t.Errorf("the upload in flight: %s", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stopped with %v", err)
	}
}
