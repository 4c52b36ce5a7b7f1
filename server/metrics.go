package server

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the server's own; every label has few values, whatever clients ask for.
type metrics struct {
	registry *prometheus.Registry
	inFlight prometheus.Gauge
	denied   prometheus.Counter
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	received prometheus.Counter
	sent     prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "packregistry_http_requests_in_flight", Help: "Requests being answered."}),
		denied: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "packregistry_auth_denied_total", Help: "Logins refused: unknown user or wrong password."}),
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
	m.registry.MustRegister(m.inFlight, m.denied, m.requests, m.seconds, m.received, m.sent,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

var knownMethods = []string{"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"}

func (m *metrics) observe(r *request, w *recorder, received int64, took time.Duration) {
	method := r.Method
	if !slices.Contains(knownMethods, method) {
		method = "other"
	}
	m.requests.WithLabelValues(r.route, method, strconv.Itoa(w.code())).Inc()
	m.seconds.WithLabelValues(r.route, method).Observe(took.Seconds())
	m.received.Add(float64(received))
	m.sent.Add(float64(w.n))
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
