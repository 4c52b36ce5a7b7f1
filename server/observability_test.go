package server

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/internal/telemetry"
)

func TestMetrics(t *testing.T) {
	f, _ := serve(t, "version: 0.1\nstorage: inmemory\nauth: {htpasswd: {path: "+usersFile(t, "ann")+"}}\n")
	d := f.pushBlobAs("ann", "r", "content")
	f.do("GET", "/v2/r/blobs/"+d.String(), nil, basic("ann")...)
	f.do("GET", "/v2/", nil)
	f.do("GET", "/v2/", nil, basic("bob")...)
	for i := range 50 { // what clients make up must not become labels
		f.do("GET", fmt.Sprintf("/made/up/%d", i), nil)
		f.do("GET", fmt.Sprintf("/v2/name%d/tags/list", i), nil, basic("ann")...)
		f.do(fmt.Sprintf("METHOD%d", i), "/v2/", nil)
	}
	got := testserver.Scrape(t, f.metrics.Handler())
	for _, want := range []string{
		`packregistry_http_requests_total{code="200",method="GET",route="/{api}/{name}/blobs/{digest}"} 1`,
		`packregistry_http_requests_total{code="201",method="POST",route="/{api}/{name}/blobs/uploads/"} 1`,
		`packregistry_http_requests_total{code="404",method="GET",route="none"} 50`,
		`packregistry_http_requests_total{code="405",method="other",route="none"} 50`,
		`packregistry_http_request_duration_seconds_count{method="GET",route="/{api}/{name}/blobs/{digest}"} 1`,
		"packregistry_http_received_bytes_total 7", "packregistry_http_requests_in_flight 0", "packregistry_uploads_open 0",
		`packregistry_storage_operations_total{operation="commit",result="ok"} 1`, `packregistry_storage_operation_duration_seconds_count{operation="open"} 1`,
		`packregistry_auth_total{outcome="accepted"} 52`, `packregistry_auth_total{outcome="denied"} 1`, `packregistry_auth_total{outcome="missing"} 1`,
		"process_resident_memory_bytes", "go_goroutines",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if n := len(regexp.MustCompile(`(?m)^packregistry_http_requests_total`).FindAllString(got, -1)); n > 20 {
		t.Errorf("%d series of requests", n)
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestDebugAddress(t *testing.T) {
	for _, pprof := range []bool{false, true} {
		debug := testserver.FreeAddr(t)
		dir := t.TempDir()
		testserver.Certificate(t, dir, "tls.crt", "tls.key", "packs.example.com")
		run(t, fmt.Sprintf("http: {addr: '127.0.0.1:0', tls: {certificate: %[3]s/tls.crt, key: %[3]s/tls.key}, debug: {addr: %[1]q, prometheus: {enabled: true}, pprof: {enabled: %[2]v}}}\n", debug, pprof, dir))
		get := func(path string) (int, string) {
			r, err := http.Get("http://" + debug + path) //nolint:noctx // a server of ours
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			return r.StatusCode, string(body)
		}
		if code, _ := get("/livez"); code != 200 {
			t.Errorf("/livez: %d", code)
		}
		if code, _ := get("/readyz"); code != 200 {
			t.Errorf("/readyz: %d", code)
		}
		if code, body := get("/status"); code != 200 || body != `{"storage":{"free":0,"size":0}}`+"\n" { // memory does not say
			t.Errorf("/status: %d %s", code, body)
		}
		if _, body := get("/metrics"); !strings.Contains(body, `packregistry_certificate_expiry_timestamp_seconds{name=`) {
			t.Errorf("no expiry of the certificate in %s", body)
		}
		if code, body := get("/debug/pprof/heap?debug=1"); (code == 200 && strings.Contains(body, "heap profile")) != pprof {
			t.Errorf("pprof %v: %d", pprof, code)
		}
	}
}

func TestCombinedAccessLog(t *testing.T) {
	f := open0(t)
	var out lockedLog
	f.combined = &telemetry.CombinedLog{W: &out}
	f.do("GET", "/v2/?a=%22b%22", nil, "User-Agent", "evil\" \\agent", "Referer", "http://x/", "Authorization", "Basic YW5uOmh1bnRlcjI=")
	f.do("GET", "/health", nil)
	want := regexp.MustCompile(`^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /v2/\?a=%22b%22 HTTP/1\.1" 200 3 "http://x/" "evil\\" \\\\agent"\n$`)
	if !want.MatchString(out.String()) || strings.Contains(out.String(), "hunter2") {
		t.Errorf("%q", out.String())
	}
}

func TestLogFormats(t *testing.T) {
	for formatter, want := range map[string]string{"json": `"environment":"test"`, "text": "environment=test"} {
		_, log := serve(t, "version: 0.1\nstorage: inmemory\nlog: {formatter: "+formatter+", fields: {environment: test}}\n")
		_ = log
		c := parseConfig(t, "version: 0.1\nstorage: inmemory\nlog: {formatter: "+formatter+", fields: {environment: test}}\n")
		var out bytes.Buffer
		NewLogger(&out, c.Log).Info("hello")
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: %s", formatter, out.String())
		}
	}
}

func TestRequestIDs(t *testing.T) {
	direct, _ := serve(t, "version: 0.1\nstorage: inmemory\n")
	if id := direct.do("GET", "/v2/", nil, "X-Request-Id", "0123456789abcdef").Header.Get("X-Request-Id"); len(id) != 16 || id == "0123456789abcdef" {
		t.Errorf("a client's own id is taken over: %q", id)
	}
	f, log := serve(t, "version: 0.1\nstorage: inmemory\nhttp: {trustedproxies: 127.0.0.1}\n")
	if id := f.do("GET", "/v2/", nil, "X-Request-Id", "0123456789abcdef").Header.Get("X-Request-Id"); id != "0123456789abcdef" || !log.says("request="+id) {
		t.Errorf("the proxy's id became %q; log: %s", id, log.String())
	}
	if id := f.do("GET", "/v2/", nil, "X-Request-Id", "x\" evil").Header.Get("X-Request-Id"); len(id) != 16 {
		t.Errorf("a made-up id is taken over: %q", id)
	}
}

func TestTraces(t *testing.T) {
	var mu sync.Mutex
	var received collectorpb.ExportTraceServiceRequest
	var header http.Header
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		header = r.Header.Clone()
		if r.URL.Path != "/v1/traces" || err != nil || proto.Unmarshal(body, &received) != nil {
			w.WriteHeader(http.StatusBadRequest)
			t.Errorf("no OTLP at %s: %s", r.URL.Path, body)
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20token")
	t.Setenv("OTEL_SERVICE_NAME", "packs")
	addr, _, stop := run(t, "http: {addr: '127.0.0.1:0'}\n")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/v2/r/tags/list", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if err := stop(); err != nil { // what was gathered is sent at the end
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if header.Get("Authorization") != "Bearer token" || len(received.GetResourceSpans()) != 1 {
		t.Fatalf("received %v with %v", &received, header)
	}
	if text := received.String(); !strings.Contains(text, "packs") {
		t.Errorf("the resource is not named: %s", text)
	}
	span := received.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans()[0]
	if span.GetName() != "GET /{api}/{name}/tags/list" || fmt.Sprintf("%x", span.GetTraceId()) != "0af7651916cd43dd8448eb211c80319c" ||
		fmt.Sprintf("%x", span.GetParentSpanId()) != "b7ad6b7169203331" || span.GetKind() != tracepb.Span_SPAN_KIND_SERVER || span.GetEndTimeUnixNano() < span.GetStartTimeUnixNano() {
		t.Errorf("span %v", span)
	}
}
