package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// tracing sends a span for each request to an OpenTelemetry collector. It exists only where OTEL_… variables ask for it.
type tracing struct {
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

// newTracing returns nil where nobody asked for traces.
func newTracing(ctx context.Context, log *slog.Logger) (*tracing, error) {
	wanted, err := tracesWanted(os.Getenv)
	if err != nil || !wanted {
		return nil, err
	}
	exporter, err := newOTLPExporter(os.Getenv)
	if err != nil {
		return nil, err
	}
	described, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "packregistry"), attribute.String("service.version", Version)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces cannot be sent", "error", err) }))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
	return &tracing{provider, provider.Tracer("packregistry.dev/server")}, nil
}

// end sends what was not sent yet.
func (t *tracing) end() {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	t.provider.Shutdown(ctx) //nolint:errcheck // spans that cannot be sent are lost
}

// trace begins the span of a request; what it returns ends it.
func (s *Server) trace(r *request) (end func(status int)) {
	if s.tracing == nil {
		return func(int) {}
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := s.tracing.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", r.Method), attribute.String("url.path", r.URL.Path),
		attribute.String("client.address", r.client.Addr.String()), attribute.String("packregistry.request", r.id)))
	r.Request = r.WithContext(ctx)
	return func(status int) {
		span.SetName(r.Method + " " + r.route)
		span.SetAttributes(attribute.String("http.route", r.route), attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(status))
		}
		span.End()
	}
}
