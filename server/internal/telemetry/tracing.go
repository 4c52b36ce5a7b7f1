// Package telemetry is what the server reports of itself to those who run it: its log, the access log, metrics for Prometheus,
// and traces for an OpenTelemetry collector.
//
//	log.go        the logger that the configuration asks for
//	accesslog.go  a line for each request in Apache's combined format
//	metrics.go    every metric, with its labels
//	tracing.go    a span for each request, where OTEL_… variables ask for it
//	otlp.go       how spans are sent
package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tracing sends a span for each request to an OpenTelemetry collector. It exists only where OTEL_… variables ask for it; nil
// traces nothing.
type Tracing struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// tracesWanted reads the variables that the OpenTelemetry specification defines for this.
func tracesWanted(getenv func(string) string) (bool, error) {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	switch exporter := getenv("OTEL_TRACES_EXPORTER"); exporter {
	case "", "otlp":
	case "none":
		return false, nil
	default:
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER: %q is not supported; use otlp or none", exporter)
	}
	if getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" && getenv("OTEL_TRACES_EXPORTER") == "" {
		return false, nil
	}
	return true, nil
}

// NewTracing reads the environment. It returns nil where nobody asked for traces. version is the program's.
func NewTracing(ctx context.Context, version string, log *slog.Logger) (*Tracing, error) {
	wanted, err := tracesWanted(os.Getenv)
	if err != nil || !wanted {
		return nil, err
	}
	exporter, err := newOTLPExporter(os.Getenv)
	if err != nil {
		return nil, err
	}
	described, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "packregistry"), attribute.String("service.version", version)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces cannot be sent", "error", err) }))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
	return &Tracing{provider, provider.Tracer("packregistry.dev/server")}, nil
}

// endTimeout bounds how long the end of the program waits for spans to be sent.
const endTimeout = 5 * time.Second

// End sends what was not sent yet.
func (t *Tracing) End() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	t.provider.Shutdown(ctx) //nolint:errcheck // spans that cannot be sent are lost
}

// Span is the span of a request; nil is none.
type Span struct{ span trace.Span }

// Start begins the span of a request, and returns the request with it. id is how the log names the request.
func (t *Tracing) Start(r *http.Request, client netip.Addr, id string) (*http.Request, *Span) {
	if t == nil {
		return r, nil
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := t.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", r.Method), attribute.String("url.path", r.URL.Path),
		attribute.String("client.address", client.String()), attribute.String("packregistry.request", id)))
	return r.WithContext(ctx), &Span{span}
}

// End ends the span of a request, whose route and status are known by then.
func (s *Span) End(method, route string, status int) {
	if s == nil {
		return
	}
	s.span.SetName(method + " " + route)
	s.span.SetAttributes(attribute.String("http.route", route), attribute.Int("http.response.status_code", status))
	if status >= http.StatusInternalServerError {
		s.span.SetStatus(codes.Error, http.StatusText(status))
	}
	s.span.End()
}
