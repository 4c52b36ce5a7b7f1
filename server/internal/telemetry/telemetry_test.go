package telemetry

import (
	"strings"
	"testing"
)

func TestTracesAreSentOnlyWhereAskedFor(t *testing.T) {
	for _, tt := range []struct {
		env   map[string]string
		want  bool
		wrong string
	}{
		{map[string]string{}, false, ""},
		{map[string]string{"OTEL_SERVICE_NAME": "x"}, false, ""},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, true, ""},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true, ""},
		{map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, false, ""},
		{map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, false, ""},
		{map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, false, "OTEL_TRACES_EXPORTER"},
	} {
		got, err := tracesWanted(func(name string) string { return tt.env[name] })
		if got != tt.want || (err != nil) != (tt.wrong != "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%v: %v, %v", tt.env, got, err)
		}
	}
	for name, value := range map[string]string{"PROTOCOL": "grpc", "ENDPOINT": "collector:4317", "TIMEOUT": "soon", "HEADERS": "novalue", "CERTIFICATE": "/none/ca.crt"} {
		if _, err := newOTLPExporter(func(n string) string { return map[string]string{"OTEL_EXPORTER_OTLP_" + name: value}[n] }); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
}
