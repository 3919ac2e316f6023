package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// counters outlive every configuration: a reload makes a new registry, in which
// the same collectors are registered again, so that no series starts from zero.
var counters = newMeter()

// meter counts what the gateway does. It is safe for concurrent use.
type meter struct {
	payments *prometheus.CounterVec
	calls    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec

	requests       *prometheus.CounterVec
	requestSeconds *prometheus.HistogramVec
	// requestSeries are those two, found by what they count: *series by a seriesKey.
	// There are few, and each request needs one.
	requestSeries  sync.Map
	commits        prometheus.Counter
	batch          prometheus.Histogram
	limited        *prometheus.CounterVec
	shared         prometheus.Gauge
	refused        *prometheus.CounterVec
	revocations    prometheus.Histogram
	passed         *prometheus.CounterVec
	circuitsOpened *prometheus.CounterVec
	deliveryMeter
	shedMeter
}

func newMeter() *meter {
	return &meter{
		payments: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purser_payments_total",
			Help: "Payments that reached a status, by status.",
		}, []string{"status"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purser_psp_calls_total",
			Help: "Exchanges with PSPs, by account, operation and outcome (not_sent, answered, unknown).",
		}, []string{"account", "operation", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "purser_psp_seconds",
			Help:    "Time that an exchange with a PSP took, repeats included.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 60},
		}, []string{"account", "operation"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purser_requests_total",
			Help: "Requests that were answered, by route, method and class of status (2xx).",
		}, []string{"route", "method", "status_class"}),
		requestSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "purser_request_seconds",
			Help:    "Time from a request to the end of its answer, calls to PSPs included, by route.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route"}),
		commits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "purser_store_commits_total",
			Help: "Commits of the store that are on disk.",
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "purser_store_batch_size",
			Help:    "Updates that shared one commit.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256},
		}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purser_rate_limited_total",
			Help: "Calls that a rate limit refused, by scope (ip, key, merchant, route, account).",
		}, []string{"scope"}),
		shared: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "purser_rate_limit_shared",
			Help: "1 where rate limits are counted together with other nodes, 0 where this node counts alone.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purser_refusals_total",
			Help: "Calls that were not let in or not let do what they wanted, by the error's code.",
		}, []string{"code"}),
		revocations: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "purser_key_revocation_seconds",
			Help:    "Time from the revocation of an API key, or of access tokens, until this node knew of it.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}),
		passed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purser_proxy_calls_total",
			Help: "Calls that were passed through to a PSP's own API, by account, method and class of status.",
		}, []string{"account", "method", "status_class"}),
		circuitsOpened: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purser_circuit_breaker_opened_total",
			Help: "How often an account's circuit breaker has opened, by account.",
		}, []string{"account"}),
		deliveryMeter: newDeliveryMeter(),
		shedMeter:     newShedMeter(),
	}
}

// register makes the collectors visible in the registry of a configuration.
func (m *meter) register(r prometheus.Registerer) error {
	all := append(m.collectors(), m.payments, m.calls, m.seconds, m.requests, m.requestSeconds, m.commits, m.batch, m.limited, m.shared, m.refused, m.revocations, m.passed, m.circuitsOpened)
	all = append(all, m.shedding()...)
	for _, c := range append(all, running{}) {
		var already prometheus.AlreadyRegisteredError
		if err := r.Register(c); err != nil && !errors.As(err, &already) {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

// event counts one payment event by the status that it tells of; most types are
// "payment." and a status.
func (m *meter) event(t payment.EventType) {
	status, ok := strings.CutPrefix(string(t), "payment.")
	if ok && slices.Contains(payment.Statuses, payment.Status(status)) {
		m.payments.WithLabelValues(status).Inc()
	}
}

// request counts one request to the gateway's doors. The caller has bounded
// route and method.
func (m *meter) request(route, method string, status int, took time.Duration) {
	key := seriesKey{route, method, status / 100}
	v, ok := m.requestSeries.Load(key)
	if !ok {
		v, _ = m.requestSeries.LoadOrStore(key, &series{
			m.requests.WithLabelValues(route, method, strconv.Itoa(key.class)+"xx"), m.requestSeconds.WithLabelValues(route),
		})
	}
	s, _ := v.(*series)
	s.count.Inc()
	s.seconds.Observe(took.Seconds())
}

type (
	seriesKey struct {
		route, method string
		class         int // of the status, such as 2
	}
	series struct {
		count   prometheus.Counter
		seconds prometheus.Observer
	}
)

// committed counts one commit of the store.
func (m *meter) committed(updates int) {
	m.commits.Inc()
	m.batch.Observe(float64(updates))
}

// running reports how the app that runs stands. It belongs to no configuration: after a
// reload that was refused, Caddy's admin endpoint serves the metrics of the one that
// was to come.
type running struct{}

// Describe implements [prometheus.Collector].
func (running) Describe(ch chan<- *prometheus.Desc) {
	standing{}.Describe(ch)
	circuitStanding{}.Describe(ch)
	policyStanding{}.Describe(ch)
}

// Collect implements [prometheus.Collector].
func (running) Collect(ch chan<- prometheus.Metric) {
	a, err := Running()
	if err != nil {
		return
	}
	defer a.Use()()
	standing{a.ground.store, time.Now}.Collect(ch)
	circuitStanding(a.circuits).Collect(ch)
	policyStanding{a.rules}.Collect(ch)
}

// standing reports what is unresolved and frozen, from the store, at the scrape:
// a gauge that is set by hand would be wrong after a crash.
type standing struct {
	store store.Store
	now   func() time.Time
}

var (
	unresolvedDesc = prometheus.NewDesc("purser_unresolved_payments",
		"Payments of which it is not known whether the PSP acted, by account.", []string{"account"}, nil)
	oldestDesc = prometheus.NewDesc("purser_oldest_unresolved_seconds",
		"Age of the oldest payment whose outcome is not known; 0 = there is none.", nil, nil)
	frozenDesc = prometheus.NewDesc("purser_frozen",
		"1 where an operator has stopped new payments.", nil, nil)
)

// scrapeTimeout bounds the query of a scrape.
const scrapeTimeout = 2 * time.Second

// Describe lists the gauges.
func (d standing) Describe(ch chan<- *prometheus.Desc) {
	ch <- unresolvedDesc
	ch <- oldestDesc
	ch <- frozenDesc
}

// Collect asks the store. A store that is out of reach yields no gauge, and not
// a false zero.
func (d standing) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var rows []store.Unresolved
	var frozen string
	if err := d.store.View(ctx, func(r store.Reader) (err error) {
		if frozen, err = setting(r, engine.SettingFrozen); err != nil {
			return err
		}
		rows, err = r.Unresolved()
		return err
	}); err != nil {
		return
	}
	var age time.Duration
	for _, row := range rows {
		ch <- prometheus.MustNewConstMetric(unresolvedDesc, prometheus.GaugeValue, float64(row.Count), row.Account)
		age = max(age, d.now().Sub(row.Oldest))
	}
	ch <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, age.Seconds())
	on := 0.0
	if frozen != "" {
		on = 1
	}
	ch <- prometheus.MustNewConstMetric(frozenDesc, prometheus.GaugeValue, on)
}
