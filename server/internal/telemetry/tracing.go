// Package telemetry is what the server reports of itself to those who run it: its log, the access log, metrics for Prometheus,
// and traces for an OpenTelemetry collector.
//
//	log.go        the logger that the configuration asks for
//	accesslog.go  a line for each request in Apache's combined format
//	metrics.go    every metric, with its labels
//	tracing.go    a span for each request, where OTEL_… variables ask for it
//	settings.go   those variables: each is honoured, or refused by name
//	otlp.go       how spans are sent
//
// OpenTelemetry's SDK makes and batches the spans. Its exporter is not used, although it speaks OTLP over HTTP: it imports
// gRPC for its types, by which a program of the SDK and HTTP alone grows from 8.5 to 13.7 MB, with twice as many modules.
// otlp.go sends the same messages, of the module without gRPC in it.
package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
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
	// propagator continues the traces of clients; nil begins new ones.
	propagator propagation.TextMapPropagator
}

// NewTracing reads the environment. It returns nil where nobody asked for traces. version is the program's.
func NewTracing(ctx context.Context, version string, log *slog.Logger) (*Tracing, error) {
	settings, err := readSettings(os.Getenv)
	if err != nil || settings == nil {
		return nil, err
	}
	described, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "packregistry"), attribute.String("service.version", version)), resource.WithFromEnv())
	if err != nil { // it quotes the variable's value, which is nobody's business but the collector's
		return nil, errors.New("OTEL_RESOURCE_ATTRIBUTES: must be a list of name=value, with what is special in a value percent-encoded")
	}
	for _, name := range settings.ignored {
		log.Warn("a variable of OpenTelemetry has no effect: the registry sends traces alone, configured by variables alone", "variable", name)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces cannot be sent", "error", err) }))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(newExporter(settings)), sdktrace.WithResource(described))
	tracing := &Tracing{provider: provider, tracer: provider.Tracer("packregistry.dev/server")}
	if settings.propagate {
		tracing.propagator = propagation.TraceContext{}
	}
	return tracing, nil
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
	ctx := r.Context()
	if t.propagator != nil {
		ctx = t.propagator.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
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
