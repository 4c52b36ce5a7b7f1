// Package slow holds what takes its time: the whole of it in `make soak`, elsewhere a version in which every wait is
// shorter in the same proportion.
package slow

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server"
	"packregistry.dev/server/config"
)

// A push that goes on far longer than the stall timeout succeeds as long as bytes come, at twice the least rate: no limit holds for a
// transfer as a whole. A soak takes ten minutes with every limit as it is by default; else the stall timeout is a second, and the
// push takes thirty.
func TestAPushAtATrickle(t *testing.T) {
	takes, limits := 30*time.Second, "limits: {stalltimeout: 1s}"
	if os.Getenv("PACKREGISTRY_SOAK") != "" {
		takes, limits = 10*time.Minute, "limits: {}"
	}
	t.Logf("pushing for %s with %s", takes, limits)
	c, _, err := config.Parse([]byte("version: 0.1\nstorage: {filesystem: {rootdirectory: "+t.TempDir()+"}}\nhttp: {addr: '127.0.0.1:0', "+limits+"}\n"), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.Open(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	addr, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func(a net.Addr) { addr <- a.String() }) }()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", <-addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const every, part = 250 * time.Millisecond, 4 << 10
	content := strings.Repeat("x", int(takes/every)*part)
	fmt.Fprintf(conn, "POST /v2/r/blobs/uploads/?digest=%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", digest.FromString(content), len(content)) //nolint:errcheck // the write below tells
	tick := time.NewTicker(every)
	defer tick.Stop()
	for sent := 0; sent < len(content); sent += part {
		<-tick.C
		if _, err := io.WriteString(conn, content[sent:sent+part]); err != nil {
			t.Fatalf("after %d bytes: %v", sent, err)
		}
	}
	if answer, err := io.ReadAll(conn); err != nil || !strings.Contains(string(answer), " 201 Created") {
		t.Errorf("answered %q, %v", answer, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
