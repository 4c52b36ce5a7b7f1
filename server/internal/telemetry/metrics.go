package telemetry

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the server's own. Every label has few values, whatever clients ask for.
type Metrics struct {
	// InFlight counts the requests being answered, Uploads those of them that are bringing content.
	InFlight prometheus.Gauge
	Uploads  prometheus.Gauge
	// Refused counts connections that were closed as soon as they were accepted.
	Refused prometheus.Counter
	// UnusableLines is how many lines of the users' file can never match.
	UnusableLines prometheus.Gauge

	registry *prometheus.Registry
	auth     *prometheus.CounterVec
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	received prometheus.Counter
	sent     prometheus.Counter

	requestSeries   sync.Map // of requestSeries by requestKind
	operationSeries sync.Map // of operationSeries by name

	storage        *prometheus.CounterVec
	storageSeconds *prometheus.HistogramVec
	expiry         *prometheus.GaugeVec
	orders         *prometheus.CounterVec
	reloads        *prometheus.CounterVec
	collections    *prometheus.CounterVec
	collected      *prometheus.CounterVec
	freed          prometheus.Counter
}

// NewMetrics returns metrics at zero.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		InFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "packregistry_http_requests_in_flight", Help: "Requests being answered."}),
		Uploads: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "packregistry_uploads_open", Help: "Requests that are bringing content."}),
		auth: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "packregistry_auth_total",
			Help: "Outcomes of authentication: accepted, denied (unknown user or wrong password), throttled, missing, forbidden."}, []string{"outcome"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "packregistry_http_requests_total", Help: "Requests answered."}, []string{"route", "method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "packregistry_http_request_duration_seconds", Help: "Time to answer a request, its content included.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2, 10, 60, 600}}, []string{"route", "method"}),
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "packregistry_http_received_bytes_total", Help: "Bytes of content that clients sent."}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "packregistry_http_sent_bytes_total", Help: "Bytes of content sent to clients."}),
	}
	m.Refused = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "packregistry_http_connections_refused_total", Help: "Connections beyond http.limits.connections, which were closed at once."})
	m.storage = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "packregistry_storage_operations_total",
		Help: "Operations on the storage, by result: ok, absent, conflict, error."}, []string{"operation", "result"})
	m.storageSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "packregistry_storage_operation_duration_seconds", Help: "Time that operations on the storage took.",
		Buckets: []float64{.0001, .0005, .002, .01, .05, .2, 1, 5, 30}}, []string{"operation"})
	m.expiry = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "packregistry_certificate_expiry_timestamp_seconds", Help: "When the served certificate expires, by its first name."}, []string{"name"})
	m.orders = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "packregistry_acme_attempts_total", Help: "Attempts to obtain a certificate: ok, failed, limited (by the issuer), put_off (waiting after a failure)."}, []string{"result"})
	m.reloads = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "packregistry_reloads_total", Help: "Files that were read again: users or certificate, ok or failed."}, []string{"what", "result"})
	m.UnusableLines = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "packregistry_users_unusable_lines", Help: "Lines of the users' file that can never match."})
	m.collections = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "packregistry_gc_runs_total", Help: "Garbage collections, by result: ok, failed."}, []string{"result"})
	m.collected = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "packregistry_gc_removed_total", Help: "What garbage collections removed: manifests, links (of blobs to repositories), blobs."}, []string{"what"})
	m.freed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "packregistry_gc_freed_bytes_total", Help: "Bytes that garbage collections freed."})
	m.registry.MustRegister(m.collections, m.collected, m.freed, m.InFlight, m.Uploads, m.Refused, m.auth, m.requests, m.seconds, m.received, m.sent,
		m.storage, m.storageSeconds, m.expiry, m.orders, m.reloads, m.UnusableLines,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// outcome is the label of what went well or failed.
func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return "ok"
}

// Auth counts an attempt of authentication by its outcome: accepted, denied, throttled, missing or forbidden.
func (m *Metrics) Auth(outcome string) { m.auth.WithLabelValues(outcome).Inc() }

// Removed is what a garbage collection removed.
type Removed struct {
	Manifests, Links, Blobs int
	Bytes                   int64
}

// Collection counts a garbage collection and what it removed.
func (m *Metrics) Collection(done Removed, err error) {
	m.collections.WithLabelValues(outcome(err)).Inc()
	m.collected.WithLabelValues("manifests").Add(float64(done.Manifests))
	m.collected.WithLabelValues("links").Add(float64(done.Links))
	m.collected.WithLabelValues("blobs").Add(float64(done.Blobs))
	m.freed.Add(float64(done.Bytes))
}

// Reload counts a file that was read again: "users" or "certificate".
func (m *Metrics) Reload(what string, err error) { m.reloads.WithLabelValues(what, outcome(err)).Inc() }

// ACMEAttempt counts an attempt to obtain a certificate by its result: ok, failed, limited or put_off.
func (m *Metrics) ACMEAttempt(result string) { m.orders.WithLabelValues(result).Inc() }

// CertificateExpiry sets when the certificate of a name expires.
func (m *Metrics) CertificateExpiry(name string, at time.Time) {
	m.expiry.WithLabelValues(name).Set(float64(at.Unix()))
}

// OnlyCertificateExpiry sets when the served certificate expires, and forgets those of other names: there is one at a time.
func (m *Metrics) OnlyCertificateExpiry(name string, at time.Time) {
	m.expiry.Reset()
	m.CertificateExpiry(name, at)
}

// StorageOperation counts an operation on the storage by its result: ok, absent, conflict or error.
func (m *Metrics) StorageOperation(name, result string, took time.Duration) {
	series := m.operation(name)
	series.seconds.Observe(took.Seconds())
	if result == "ok" {
		series.ok.Inc()
		return
	}
	m.storage.WithLabelValues(name, result).Inc()
}

var knownMethods = []string{"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"}

// requestKind is the labels of a request, and requestSeries what is counted under them: to find that by its labels takes
// longer than the counting.
type requestKind struct {
	route, method string
	code          int
}

type requestSeries struct {
	requests prometheus.Counter
	seconds  prometheus.Observer
}

// operationSeries is the same for an operation on the storage.
type operationSeries struct {
	ok      prometheus.Counter
	seconds prometheus.Observer
}

// operation finds the series of an operation on the storage.
func (m *Metrics) operation(name string) operationSeries {
	series, ok := m.operationSeries.Load(name)
	if !ok {
		series, _ = m.operationSeries.LoadOrStore(name, operationSeries{m.storage.WithLabelValues(name, "ok"), m.storageSeconds.WithLabelValues(name)})
	}
	return series.(operationSeries) //nolint:forcetypeassert // nothing else is put there
}

// Request is a request that was answered. Route is the pattern of its route.
type Request struct {
	Route, Method  string
	Code           int
	Received, Sent int64
	Took           time.Duration
}

// Request counts a request.
func (m *Metrics) Request(r Request) {
	if !slices.Contains(knownMethods, r.Method) {
		r.Method = "other"
	}
	kind := requestKind{r.Route, r.Method, r.Code}
	series, ok := m.requestSeries.Load(kind)
	if !ok {
		series, _ = m.requestSeries.LoadOrStore(kind, requestSeries{
			m.requests.WithLabelValues(kind.route, kind.method, strconv.Itoa(kind.code)), m.seconds.WithLabelValues(kind.route, kind.method)})
	}
	counted := series.(requestSeries) //nolint:forcetypeassert // nothing else is put there
	counted.requests.Inc()
	counted.seconds.Observe(r.Took.Seconds())
	m.received.Add(float64(r.Received))
	m.sent.Add(float64(r.Sent))
}

// Handler serves the metrics to Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
