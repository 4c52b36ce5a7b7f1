package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// load is clients that push and pull all the time, as ann, and count what fails.
type load struct {
	client *http.Client
	base   string
	done   atomic.Int64

	mu       sync.Mutex
	failures []string
	stop     context.CancelFunc
	group    sync.WaitGroup
}

// startLoad begins when the Service leads to a pod: kube-proxy hears of it when the operator does, and may act a moment later.
func startLoad(t *testing.T, client *http.Client, base string) *load {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	l := &load{client: client, base: base, stop: stop}
	eventually(t, 10*time.Second, "the Service answers", func() error { return l.once(ctx, "load/first", 0) })
	for i := range 4 {
		l.group.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := l.once(ctx, fmt.Sprintf("load/r%d", i), n); err != nil && ctx.Err() == nil {
					l.mu.Lock()
					l.failures = append(l.failures, time.Now().Format("15:04:05.000 ")+err.Error())
					l.mu.Unlock()
				}
			}
		})
	}
	t.Cleanup(func() { l.end() })
	return l
}

// once pushes a blob and a manifest, and pulls both.
func (l *load) once(ctx context.Context, repository string, n int) error {
	content := bytes.Repeat(fmt.Appendf(nil, "%s %d\n", repository, n), 5000)
	blob, empty := digest.FromBytes(content), digest.FromString("{}")
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"a/b","digest":%q,"size":2},`+
		`"layers":[{"mediaType":"a/b","digest":%q,"size":%d}]}`, empty, blob, len(content))
	for _, step := range []struct {
		method, path string
		body         []byte
		want         int
	}{
		{"POST", "/blobs/uploads/?digest=" + blob.String(), content, 201},
		{"POST", "/blobs/uploads/?digest=" + empty.String(), []byte("{}"), 201},
		{"PUT", "/manifests/latest", manifest, 201},
		{"GET", "/manifests/latest", nil, 200},
		{"GET", "/blobs/" + blob.String(), nil, 200},
	} {
		r, err := http.NewRequestWithContext(ctx, step.method, l.base+"/v2/"+repository+step.path, bytes.NewReader(step.body))
		if err != nil {
			return err
		}
		if strings.HasPrefix(step.path, "/manifests") {
			r.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		}
		r.SetBasicAuth("ann", "secret")
		response, err := l.client.Do(r)
		if err != nil {
			return fmt.Errorf("%s %s: %w", step.method, step.path, err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != step.want {
			return errors.Join(fmt.Errorf("%s %s: %s %.200s", step.method, step.path, response.Status, text), err)
		}
		l.done.Add(1)
	}
	return nil
}

func (l *load) end() {
	l.stop()
	l.group.Wait()
}

// noneFailed ends the load and reports how much of it there was; of failures it shows the first and the last ones, whose
// times show how long nothing was served.
func (l *load) noneFailed(t *testing.T, meanwhile string) {
	t.Helper()
	l.end()
	n := len(l.failures)
	if n > 0 {
		shown := slices.Concat(l.failures[:min(n, 5)], l.failures[max(n-5, min(n, 5)):])
		t.Errorf("%d of %d requests failed, the first and the last:\n%s", n, l.done.Load(), strings.Join(shown, "\n"))
	}
	t.Logf("%d requests while %s; %d failed", l.done.Load(), meanwhile, n)
}
