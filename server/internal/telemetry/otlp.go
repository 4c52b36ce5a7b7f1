package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"packregistry.dev/internal/pemfile"
)

// otlpExporter sends spans as OTLP over HTTP in its JSON form (opentelemetry-proto, "JSON Protobuf Encoding"), which
// collectors take at the same address as the binary form. OpenTelemetry's own exporter would bring gRPC along, two thirds
// more program and a fifth more memory for every registry that sends no traces.
type otlpExporter struct {
	client   *http.Client
	endpoint string
	headers  map[string]string
}

// newOTLPExporter reads the OTEL_EXPORTER_OTLP_… variables (OpenTelemetry specification, "OTLP Exporter Configuration").
func newOTLPExporter(getenv func(string) string) (*otlpExporter, error) {
	get := func(name string) string {
		if v := getenv("OTEL_EXPORTER_OTLP_TRACES_" + name); v != "" {
			return v
		}
		return getenv("OTEL_EXPORTER_OTLP_" + name)
	}
	e := &otlpExporter{client: &http.Client{Timeout: 10 * time.Second}, headers: map[string]string{}}
	e.endpoint = getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if e.endpoint == "" {
		base := getenv("OTEL_EXPORTER_OTLP_ENDPOINT")
		if base == "" {
			base = "http://localhost:4318"
		}
		e.endpoint = strings.TrimSuffix(base, "/") + "/v1/traces"
	}
	if u, err := url.Parse(e.endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: must be an http or https URL")
	}
	if p := get("PROTOCOL"); p != "" && p != "http/protobuf" && p != "http/json" {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL: %q is not supported; use http/json", p)
	}
	if ms := get("TIMEOUT"); ms != "" {
		n, err := strconv.Atoi(ms)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_TIMEOUT: %q is no number of milliseconds", ms)
		}
		e.client.Timeout = time.Duration(n) * time.Millisecond
	}
	if list := get("HEADERS"); list != "" {
		for pair := range strings.SplitSeq(list, ",") {
			name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
			value, err := url.PathUnescape(value)
			if !ok || err != nil {
				return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS: must be a list of name=value")
			}
			e.headers[name] = value
		}
	}
	if file := get("CERTIFICATE"); file != "" {
		transport, err := pemfile.Transport(file)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
		}
		e.client.Transport = transport
	}
	return e, nil
}

// Names of the JSON form.
type (
	otlpValue     map[string]any
	otlpAttribute struct {
		Key   string    `json:"key"`
		Value otlpValue `json:"value"`
	}
	otlpStatus struct {
		Code    int    `json:"code,omitempty"`
		Message string `json:"message,omitempty"`
	}
	otlpSpan struct {
		TraceID    string          `json:"traceId"`
		SpanID     string          `json:"spanId"`
		ParentID   string          `json:"parentSpanId,omitempty"`
		State      string          `json:"traceState,omitempty"`
		Name       string          `json:"name"`
		Kind       int             `json:"kind"`
		Start      string          `json:"startTimeUnixNano"`
		End        string          `json:"endTimeUnixNano"`
		Attributes []otlpAttribute `json:"attributes"`
		Status     otlpStatus      `json:"status"`
	}
	otlpAttributes struct {
		Attributes []otlpAttribute `json:"attributes"`
	}
	otlpScopeSpans struct {
		Scope struct {
			Name string `json:"name"`
		} `json:"scope"`
		Spans []otlpSpan `json:"spans"`
	}
	otlpResourceSpans struct {
		Resource   otlpAttributes   `json:"resource"`
		ScopeSpans []otlpScopeSpans `json:"scopeSpans"`
	}
)

func otlpAttributesOf(list []attribute.KeyValue) []otlpAttribute {
	attributes := make([]otlpAttribute, 0, len(list))
	for _, kv := range list {
		value := otlpValue{"stringValue": kv.Value.String()}
		switch kv.Value.Type() {
		case attribute.INT64:
			value = otlpValue{"intValue": strconv.FormatInt(kv.Value.AsInt64(), 10)}
		case attribute.BOOL:
			value = otlpValue{"boolValue": kv.Value.AsBool()}
		}
		attributes = append(attributes, otlpAttribute{string(kv.Key), value})
	}
	return attributes
}

func otlpSpanOf(s sdktrace.ReadOnlySpan) otlpSpan {
	span := otlpSpan{TraceID: s.SpanContext().TraceID().String(), SpanID: s.SpanContext().SpanID().String(),
		State: s.SpanContext().TraceState().String(), Name: s.Name(), Kind: int(s.SpanKind()),
		Start: strconv.FormatInt(s.StartTime().UnixNano(), 10), End: strconv.FormatInt(s.EndTime().UnixNano(), 10),
		Attributes: otlpAttributesOf(s.Attributes())}
	if s.Parent().HasSpanID() {
		span.ParentID = s.Parent().SpanID().String()
	}
	if status := s.Status(); status.Code == codes.Error {
		span.Status = otlpStatus{Code: 2, Message: status.Description}
	}
	return span
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *otlpExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	scope := otlpScopeSpans{}
	scope.Scope.Name = spans[0].InstrumentationScope().Name
	for _, s := range spans {
		scope.Spans = append(scope.Spans, otlpSpanOf(s))
	}
	body, err := json.Marshal(map[string][]otlpResourceSpans{"resourceSpans": {{
		Resource: otlpAttributes{otlpAttributesOf(spans[0].Resource().Attributes())}, ScopeSpans: []otlpScopeSpans{scope}}}})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, value := range e.headers {
		request.Header.Set(name, value)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := e.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20)) //nolint:errcheck // so that the connection can be used again
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("the collector of traces answered %s", response.Status)
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (e *otlpExporter) Shutdown(context.Context) error { return nil }
