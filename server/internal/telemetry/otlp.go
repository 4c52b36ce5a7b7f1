package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/slim/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// exporter sends spans as OTLP over HTTP (opentelemetry-proto, "OTLP/HTTP"), in protobuf.
type exporter struct {
	settings *settings
	client   *http.Client
}

func newExporter(s *settings) *exporter {
	return &exporter{s, &http.Client{Transport: s.transport, Timeout: s.timeout,
		// Headers are for the collector that was named, and for nobody that it names.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	body, err := proto.Marshal(&collectorpb.ExportTraceServiceRequest{ResourceSpans: resourceSpans(spans)})
	if err != nil {
		return err
	}
	if e.settings.gzip {
		if body, err = compress(body); err != nil {
			return err
		}
	}
	return e.retry(ctx, body)
}

// Shutdown implements sdktrace.SpanExporter.
func (e *exporter) Shutdown(context.Context) error {
	e.client.CloseIdleConnections()
	return nil
}

func compress(body []byte) ([]byte, error) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	err := w.Close()
	return packed.Bytes(), err
}

// How often a batch is sent before it is given up, and how long is waited in between: doubling from the first pause to the longest.
// A collector that asks for more time than that does not get this batch.
const (
	attempts     = 5
	firstPause   = time.Second
	longestPause = 15 * time.Second
)

// errRefused is an answer after which the same request is not sent again.
type errRefused struct{ error }

// retry sends a batch until the collector has it, refuses it, or ctx ends, which is after OTEL_BSP_EXPORT_TIMEOUT.
func (e *exporter) retry(ctx context.Context, body []byte) error {
	pause := firstPause
	for n := 1; ; n++ {
		after, err := e.send(ctx, body)
		if err == nil {
			return nil
		}
		var refused errRefused
		if errors.As(err, &refused) || n == attempts || after > longestPause {
			return err
		}
		wait := max(after, pause/2+rand.N(pause/2)) //nolint:gosec // it spreads, and hides nothing
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
		pause = min(2*pause, longestPause)
	}
}

// send makes one attempt. after is how long the collector asks to be left alone.
func (e *exporter) send(ctx context.Context, body []byte) (after time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.settings.endpoint, bytes.NewReader(body))
	if err != nil {
		return 0, errRefused{errors.New("the address of the collector cannot be used")}
	}
	for name, value := range e.settings.headers {
		r.Header.Set(name, value)
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	if e.settings.gzip {
		r.Header.Set("Content-Encoding", "gzip")
	}
	response, err := e.client.Do(r)
	if err != nil {
		// The URL is left out: it may hold a password.
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return 0, fmt.Errorf("the collector of traces cannot be reached: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 64<<10)) // to its end, so that the connection can be used again
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return retryAfter(response.Header.Get("Retry-After")), fmt.Errorf("the collector of traces answered %s", response.Status)
	}
	if response.StatusCode/100 != 2 {
		return 0, errRefused{fmt.Errorf("the collector of traces answered %s", response.Status)}
	}
	var result collectorpb.ExportTraceServiceResponse
	if err == nil && proto.Unmarshal(answer, &result) == nil && result.GetPartialSuccess().GetRejectedSpans() > 0 {
		return 0, errRefused{fmt.Errorf("the collector of traces refused %d spans", result.GetPartialSuccess().GetRejectedSpans())}
	}
	return 0, nil
}

// retryAfter reads the header of that name: seconds, or a date (RFC 9110, 10.2.3).
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(max(min(seconds, 1<<30), 0)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// resourceSpans puts spans into OTLP's messages. They are of one resource and one scope: there is one tracer.
func resourceSpans(spans []sdktrace.ReadOnlySpan) []*tracepb.ResourceSpans {
	scope := &tracepb.ScopeSpans{Scope: &commonpb.InstrumentationScope{Name: spans[0].InstrumentationScope().Name}}
	for _, s := range spans {
		scope.Spans = append(scope.Spans, spanOf(s))
	}
	return []*tracepb.ResourceSpans{{Resource: &resourcepb.Resource{Attributes: attributesOf(spans[0].Resource().Attributes())},
		SchemaUrl: spans[0].Resource().SchemaURL(), ScopeSpans: []*tracepb.ScopeSpans{scope}}}
}

func spanOf(s sdktrace.ReadOnlySpan) *tracepb.Span {
	trace, id := s.SpanContext().TraceID(), s.SpanContext().SpanID()
	span := &tracepb.Span{TraceId: trace[:], SpanId: id[:], TraceState: s.SpanContext().TraceState().String(), Name: s.Name(),
		Flags: uint32(s.SpanContext().TraceFlags()), Kind: tracepb.Span_SpanKind(s.SpanKind()),
		StartTimeUnixNano: uint64(s.StartTime().UnixNano()), EndTimeUnixNano: uint64(s.EndTime().UnixNano()), //nolint:gosec // after 1970
		Attributes: attributesOf(s.Attributes()), DroppedAttributesCount: uint32(s.DroppedAttributes())} //nolint:gosec // not negative
	if parent := s.Parent().SpanID(); parent.IsValid() {
		span.ParentSpanId = parent[:]
	}
	if status := s.Status(); status.Code == codes.Error {
		span.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: status.Description}
	}
	return span
}

func attributesOf(list []attribute.KeyValue) []*commonpb.KeyValue {
	attributes := make([]*commonpb.KeyValue, 0, len(list))
	for _, kv := range list {
		value := &commonpb.AnyValue{}
		switch kv.Value.Type() {
		case attribute.INT64:
			value.Value = &commonpb.AnyValue_IntValue{IntValue: kv.Value.AsInt64()}
		case attribute.BOOL:
			value.Value = &commonpb.AnyValue_BoolValue{BoolValue: kv.Value.AsBool()}
		case attribute.FLOAT64:
			value.Value = &commonpb.AnyValue_DoubleValue{DoubleValue: kv.Value.AsFloat64()}
		default: // lists, of which the registry makes none, as text
			value.Value = &commonpb.AnyValue_StringValue{StringValue: kv.Value.String()}
		}
		attributes = append(attributes, &commonpb.KeyValue{Key: string(kv.Key), Value: value})
	}
	return attributes
}
