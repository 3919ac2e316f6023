package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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
	}
}

// register makes the collectors visible in the registry of a configuration.
func (m *meter) register(r prometheus.Registerer, more ...prometheus.Collector) error {
	for _, c := range append([]prometheus.Collector{m.payments, m.calls, m.seconds}, more...) {
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

// meteredStore counts the events of transactions that were committed.
type meteredStore struct {
	store.Store
	meter *meter
}

// Update runs fn in a transaction. What a run that was thrown away would have
// written is not counted.
func (s meteredStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	var written []payment.EventType
	err := s.Store.Update(ctx, func(tx store.Tx) error {
		written = written[:0]
		return fn(meteredTx{tx, &written})
	})
	if err == nil {
		for _, t := range written {
			s.meter.event(t)
		}
	}
	return err
}

type meteredTx struct {
	store.Tx
	written *[]payment.EventType
}

// PutEvent writes an event and remembers its type.
func (t meteredTx) PutEvent(e payment.Event) error {
	err := t.Tx.PutEvent(e)
	if err == nil {
		*t.written = append(*t.written, e.Type)
	}
	return err
}

// doubt reports what is unresolved, from the store, at the time of the scrape:
// a gauge that is set by hand would be wrong after a crash.
type doubt struct {
	store store.Store
	now   func() time.Time
}

var (
	unresolvedDesc = prometheus.NewDesc("purser_unresolved_payments",
		"Payments of which it is not known whether the PSP acted, by account.", []string{"account"}, nil)
	oldestDesc = prometheus.NewDesc("purser_oldest_unresolved_seconds",
		"Age of the oldest payment whose outcome is not known; 0 = there is none.", nil, nil)
)

// scrapeTimeout bounds the query of a scrape.
const scrapeTimeout = 2 * time.Second

// Describe lists the gauges.
func (d doubt) Describe(ch chan<- *prometheus.Desc) {
	ch <- unresolvedDesc
	ch <- oldestDesc
}

// Collect asks the store. A store that is out of reach yields no gauge, and not
// a false zero.
func (d doubt) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var rows []store.Unresolved
	if err := d.store.View(ctx, func(r store.Reader) (err error) {
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
}
