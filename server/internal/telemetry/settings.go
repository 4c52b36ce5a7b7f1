package telemetry

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"packregistry.dev/internal/pemfile"
)

// settings are the variables of the OpenTelemetry specification ("Environment Variable Specification", "OTLP Exporter
// Configuration"), read. No error quotes a value that may be a secret.
type settings struct {
	endpoint  string
	headers   map[string]string
	timeout   time.Duration
	gzip      bool
	transport *http.Transport
	// propagate continues the traces of clients (W3C Trace Context).
	propagate bool
	// ignored are variables that are set and have no effect.
	ignored []string
}

// Values that a variable may have; the first is what it is when it is not set.
var choices = map[string][]string{
	"OTEL_TRACES_EXPORTER": {"otlp", "none"},
	"OTEL_TRACES_SAMPLER": {"parentbased_always_on", "always_on", "always_off", "traceidratio", "parentbased_always_off",
		"parentbased_traceidratio"},
	"OTEL_EXPORTER_OTLP_PROTOCOL":           {"http/protobuf"},
	"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL":    {"http/protobuf"},
	"OTEL_EXPORTER_OTLP_COMPRESSION":        {"none", "gzip"},
	"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": {"none", "gzip"},
}

// Variables that the SDK reads itself, where it passes over what is no number.
var numbers = []string{
	"OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
	"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
	"OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT", "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
}

// readSettings returns nil where nobody asked for traces.
func readSettings(getenv func(string) string) (*settings, error) {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return nil, nil
	}
	if getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" && getenv("OTEL_TRACES_EXPORTER") == "" {
		return nil, nil
	}
	if err := check(getenv); err != nil {
		return nil, err
	}
	s := &settings{timeout: 10 * time.Second}
	for _, read := range []func(*settings, func(string) string) error{readEndpoint, readHeaders, readTimeout, readTLS, readPropagators} {
		if err := read(s, getenv); err != nil {
			return nil, err
		}
	}
	compression, _ := ofTraces(getenv, "COMPRESSION")
	s.gzip = compression == "gzip"
	for _, name := range []string{"OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER", "OTEL_CONFIG_FILE"} {
		if v := getenv(name); v != "" && v != "none" {
			s.ignored = append(s.ignored, name)
		}
	}
	return s, nil
}

// ofTraces is the value of a variable for traces, or else for everything that is exported, and which of the two has it.
func ofTraces(getenv func(string) string, name string) (value, variable string) {
	if v := getenv("OTEL_EXPORTER_OTLP_TRACES_" + name); v != "" {
		return v, "OTEL_EXPORTER_OTLP_TRACES_" + name
	}
	return getenv("OTEL_EXPORTER_OTLP_" + name), "OTEL_EXPORTER_OTLP_" + name
}

// check refuses what the registry, or the SDK, would else pass over.
func check(getenv func(string) string) error {
	for name, values := range choices {
		if v := getenv(name); v != "" && !slices.Contains(values, v) {
			return fmt.Errorf("%s: %q is not supported; use %s", name, v, strings.Join(values, " or "))
		}
	}
	for _, name := range numbers {
		if v := getenv(name); v != "" {
			if _, err := strconv.Atoi(v); err != nil {
				return fmt.Errorf("%s: %q is no whole number", name, v)
			}
		}
	}
	if v := getenv("OTEL_TRACES_SAMPLER_ARG"); v != "" && strings.Contains(getenv("OTEL_TRACES_SAMPLER"), "ratio") {
		if ratio, err := strconv.ParseFloat(v, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
			return fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: %q is no number from 0 to 1", v)
		}
	}
	return nil
}

func readEndpoint(s *settings, getenv func(string) string) error {
	value, variable := ofTraces(getenv, "ENDPOINT")
	if value == "" {
		value = "http://localhost:4318"
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New(variable + ": must be an http or https URL")
	}
	if variable == "OTEL_EXPORTER_OTLP_ENDPOINT" {
		u = u.JoinPath("v1", "traces")
	}
	s.endpoint = u.String()
	return nil
}

func readHeaders(s *settings, getenv func(string) string) error {
	value, variable := ofTraces(getenv, "HEADERS")
	s.headers = map[string]string{}
	for pair := range strings.SplitSeq(value, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		name, text, ok := strings.Cut(pair, "=")
		text, err := url.PathUnescape(strings.TrimSpace(text))
		if name = strings.TrimSpace(name); !ok || err != nil || !isToken(name) || strings.ContainsAny(text, "\r\n\x00") {
			return errors.New(variable + ": must be a list of name=value, with what is special in a value percent-encoded")
		}
		s.headers[name] = text
	}
	return nil
}

// isToken says whether s can be a header's name (RFC 9110, 5.6.2).
func isToken(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

func readTimeout(s *settings, getenv func(string) string) error {
	value, variable := ofTraces(getenv, "TIMEOUT")
	if value == "" {
		return nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return fmt.Errorf("%s: %q is no number of milliseconds above 0", variable, value)
	}
	s.timeout = time.Duration(n) * time.Millisecond
	return nil
}

// readTLS reads whom to trust, and as whom to appear.
func readTLS(s *settings, getenv func(string) string) error {
	s.transport = http.DefaultTransport.(*http.Transport).Clone() //nolint:errcheck,forcetypeassert // it is one
	if file, variable := ofTraces(getenv, "CERTIFICATE"); file != "" {
		var err error
		if s.transport, err = pemfile.Transport(file); err != nil {
			return fmt.Errorf("%s: %w", variable, err)
		}
	}
	certificate, variable := ofTraces(getenv, "CLIENT_CERTIFICATE")
	key, keyVariable := ofTraces(getenv, "CLIENT_KEY")
	if certificate == "" && key == "" {
		return nil
	}
	if certificate == "" || key == "" {
		return fmt.Errorf("%s and %s: one of them is missing", variable, keyVariable)
	}
	pair, err := pemfile.KeyPairFiles(certificate, key)
	if err != nil {
		return fmt.Errorf("%s: %w", variable, err)
	}
	if s.transport.TLSClientConfig == nil {
		s.transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	s.transport.TLSClientConfig.Certificates = []tls.Certificate{pair}
	return nil
}

func readPropagators(s *settings, getenv func(string) string) error {
	const variable = "OTEL_PROPAGATORS"
	value := getenv(variable)
	if value == "" {
		value = "tracecontext"
	}
	for name := range strings.SplitSeq(value, ",") {
		switch name = strings.TrimSpace(name); name {
		case "tracecontext":
			s.propagate = true
		case "baggage", "none": // the registry uses nothing of what baggage carries
		default:
			return fmt.Errorf("%s: %q is not supported; use tracecontext or none", variable, name)
		}
	}
	return nil
}
