package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"

func TestTracesAreSentOnlyWhereAskedFor(t *testing.T) {
	for _, tt := range []struct {
		env  map[string]string
		want bool
	}{
		{map[string]string{}, false},
		{map[string]string{"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_HEADERS": "a=b"}, false},
		{map[string]string{endpoint: "http://c:4318"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, true},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true},
		{map[string]string{"OTEL_TRACES_EXPORTER": "none", endpoint: "http://c:4318"}, false},
		{map[string]string{"OTEL_SDK_DISABLED": "true", endpoint: "http://c:4318"}, false},
	} {
		got, err := readSettings(func(name string) string { return tt.env[name] })
		if (got != nil) != tt.want || err != nil {
			t.Errorf("%v: %v, %v", tt.env, got, err)
		}
	}
}

// A variable that cannot be honoured is an error that names it, and that quotes nothing which may be secret.
func TestVariablesAreHonouredOrRefused(t *testing.T) {
	for _, tt := range []struct{ name, value, wrong string }{
		{"OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_EXPORTER"},
		{"OTEL_TRACES_SAMPLER", "jaeger_remote", "OTEL_TRACES_SAMPLER"},
		{"OTEL_TRACES_SAMPLER", "always_off", ""},
		{"OTEL_PROPAGATORS", "b3", "OTEL_PROPAGATORS"},
		{"OTEL_PROPAGATORS", "tracecontext,baggage", ""},
		{"OTEL_BSP_MAX_QUEUE_SIZE", "many", "OTEL_BSP_MAX_QUEUE_SIZE"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL"},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", ""},
		{"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "OTEL_EXPORTER_OTLP_COMPRESSION"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "secret.example.com:4317", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"},
		{endpoint, "http://user:secret@collector:port", endpoint},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "OTEL_EXPORTER_OTLP_TIMEOUT"},
		{"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "secret", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%ZZsecret", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%0D%0Asecret", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a secret=b", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a=b,authorization=Bearer%20x,", ""},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/none/ca.crt", "OTEL_EXPORTER_OTLP_CERTIFICATE"},
		{"OTEL_EXPORTER_OTLP_CLIENT_KEY", "/none/tls.key", "OTEL_EXPORTER_OTLP_CLIENT_KEY"},
		{"OTEL_RESOURCE_ATTRIBUTES", "secret", "OTEL_RESOURCE_ATTRIBUTES"},
		{"OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test", ""},
	} {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			t.Setenv(endpoint, "http://127.0.0.1:4318")
			t.Setenv(tt.name, tt.value)
			tracing, err := NewTracing(t.Context(), "1", slog.New(slog.DiscardHandler))
			tracing.End()
			switch {
			case (err != nil) != (tt.wrong != ""):
				t.Errorf("%v", err)
			case err != nil && (!strings.Contains(err.Error(), tt.wrong) || strings.Contains(err.Error(), "secret")):
				t.Errorf("%v: the variable is not named, or its value is", err)
			}
		})
	}
	t.Run("a sampler's ratio", func(t *testing.T) {
		env := map[string]string{endpoint: "http://c", "OTEL_TRACES_SAMPLER": "traceidratio"}
		for value, ok := range map[string]bool{"0.5": true, "1": true, "1.5": false, "-1": false, "half": false, "NaN": false} {
			env["OTEL_TRACES_SAMPLER_ARG"] = value
			if _, err := readSettings(func(name string) string { return env[name] }); (err == nil) != ok {
				t.Errorf("%s: %v", value, err)
			}
		}
	})
	t.Run("what has no effect", func(t *testing.T) {
		t.Setenv(endpoint, "http://127.0.0.1:4318")
		t.Setenv("OTEL_METRICS_EXPORTER", "otlp")
		var log bytes.Buffer
		tracing, err := NewTracing(t.Context(), "1", slog.New(slog.NewTextHandler(&log, nil)))
		tracing.End()
		if err != nil || !strings.Contains(log.String(), "OTEL_METRICS_EXPORTER") {
			t.Errorf("%v; log: %s", err, log.String())
		}
	})
}

// answers is a collector that gives one answer after the other, the last for ever, and notes when it was asked.
type answers struct {
	list  []answer
	times []time.Duration
	began time.Time
}

// answer is a status, or no answer at all where that is 0.
type answer struct {
	status     int
	retryAfter string
}

func (a *answers) RoundTrip(*http.Request) (*http.Response, error) {
	a.times = append(a.times, time.Since(a.began))
	next := a.list[min(len(a.times), len(a.list))-1]
	if next.status == 0 {
		return nil, errors.New("connection refused")
	}
	h := http.Header{}
	if next.retryAfter != "" {
		h.Set("Retry-After", next.retryAfter)
	}
	return &http.Response{StatusCode: next.status, Status: http.StatusText(next.status), Header: h, Body: http.NoBody}, nil
}

func spans() []sdktrace.ReadOnlySpan {
	return tracetest.SpanStubs{{Name: "one", SpanKind: 2}, {Name: "two"}}.Snapshots()
}

func TestBatchesAreSentAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		list     []answer
		attempts int
		least    time.Duration // until the last attempt
		ok       bool
	}{
		"at once":                  {[]answer{{200, ""}}, 1, 0, true},
		"after a while":            {[]answer{{503, ""}, {502, ""}, {0, ""}, {200, ""}}, 4, 3 * time.Second, true},
		"when the collector says":  {[]answer{{429, "7"}, {200, ""}}, 2, 7 * time.Second, true},
		"never, if that is late":   {[]answer{{429, "3600"}}, 1, 0, false},
		"not what is refused":      {[]answer{{400, ""}}, 1, 0, false},
		"not to where it is sent":  {[]answer{{307, ""}}, 1, 0, false},
		"not without end":          {[]answer{{503, ""}}, attempts, 5 * time.Second, false},
		"not with a date long ago": {[]answer{{503, "Wed, 21 Oct 1998 07:28:00 GMT"}, {200, ""}}, 2, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newExporter(&settings{endpoint: "http://collector/v1/traces", timeout: time.Second})
				collector := &answers{list: tt.list, began: time.Now()}
				e.client.Transport = collector
				err := e.ExportSpans(t.Context(), spans())
				if (err == nil) != tt.ok || len(collector.times) != tt.attempts || collector.times[len(collector.times)-1] < tt.least {
					t.Errorf("%v, asked after %v", err, collector.times)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		e := newExporter(&settings{endpoint: "http://collector/v1/traces", timeout: time.Second})
		collector := &answers{list: []answer{{503, ""}}, began: time.Now()}
		e.client.Transport = collector
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := e.ExportSpans(ctx, spans()); err == nil || time.Since(collector.began) > 100*time.Millisecond {
			t.Errorf("%v, after %s", err, time.Since(collector.began))
		}
	})
}

func TestWhatTheCollectorGets(t *testing.T) {
	var header http.Header
	var body []byte
	var rejected int64
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		body, _ = io.ReadAll(r.Body) //nolint:errcheck // what is missing shows
		answer, err := proto.Marshal(&collectorpb.ExportTraceServiceResponse{PartialSuccess: &collectorpb.ExportTracePartialSuccess{RejectedSpans: rejected}})
		if err != nil {
			t.Error(err)
		}
		w.Write(answer) //nolint:errcheck // the client reports
	}))
	defer collector.Close()
	env := map[string]string{endpoint: collector.URL + "/prefix", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-tenant=a%20b", "OTEL_EXPORTER_OTLP_HEADERS": "x-other=c"}
	for _, compression := range []string{"none", "gzip"} {
		env["OTEL_EXPORTER_OTLP_COMPRESSION"] = compression
		s, err := readSettings(func(name string) string { return env[name] })
		if err != nil {
			t.Fatal(err)
		}
		if err := newExporter(s).ExportSpans(t.Context(), spans()); err != nil {
			t.Fatal(err)
		}
		if compression == "gzip" {
			unpacked, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(unpacked); err != nil {
				t.Fatal(err)
			}
		}
		var got collectorpb.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		if list := got.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans(); len(list) != 2 || list[0].GetName() != "one" {
			t.Errorf("%s: %v", compression, list)
		}
		if header.Get("Content-Type") != "application/x-protobuf" || header.Get("X-Tenant") != "a b" || header.Get("X-Other") != "" {
			t.Errorf("%s: %v", compression, header)
		}
	}
	rejected = 2
	s, err := readSettings(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	if err := newExporter(s).ExportSpans(t.Context(), spans()); err == nil || !strings.Contains(err.Error(), "2 spans") {
		t.Errorf("spans that the collector refused: %v", err)
	}
}

func TestErrorsOfTheCollectorKeepItsPassword(t *testing.T) {
	e := newExporter(&settings{endpoint: "http://user:secret@127.0.0.1:1/?token=secret", timeout: time.Second, transport: &http.Transport{}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.ExportSpans(ctx, spans()); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func TestTracesOfClientsGoOn(t *testing.T) {
	env := map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "always_off"} // nothing is sent
	const parent = "0af7651916cd43dd8448eb211c80319c"
	for propagators, want := range map[string]bool{"": true, "none": false} {
		env := maps.Clone(env)
		env["OTEL_PROPAGATORS"] = propagators
		for name, value := range env {
			t.Setenv(name, value)
		}
		tracing, err := NewTracing(t.Context(), "1", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Traceparent", "00-"+parent+"-b7ad6b7169203331-01")
		_, span := tracing.Start(r, netip.MustParseAddr("192.0.2.1"), "id")
		if got := span.span.SpanContext().TraceID().String() == parent; got != want {
			t.Errorf("OTEL_PROPAGATORS=%q: the client's trace goes on: %v", propagators, got)
		}
		span.End("GET", "/", 200)
		tracing.End()
	}
}
