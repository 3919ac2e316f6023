package gateway

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/purser-pay/purser/modules/outbox"
	"github.com/purser-pay/purser/modules/payment"
)

// openOutbox builds what tells merchants of events.
func (a *App) openOutbox() {
	client := outbox.NewClient(outbox.ClientConfig{Targets: a.WebhookTargets(), Version: Version()})
	a.onCleanup(func() error { client.Close(); return nil })
	a.outbox = outbox.New(outbox.Config{
		Store: a.ground.store, Box: a.box, Client: client, IDs: a.ground.ids, Now: time.Now, Log: a.log,
		Observer: deliveries{counters, a.auditLog},
	})
}

// deliveries counts what becomes of webhooks. An endpoint that the gateway stops
// is written into the audit: a merchant will ask why.
type deliveries struct {
	meter *meter
	audit *slog.Logger
}

// Tried counts one try.
func (d deliveries) Tried(r outbox.Result, took time.Duration) {
	d.meter.deliveries.WithLabelValues(string(r)).Inc()
	d.meter.deliverySeconds.Observe(took.Seconds())
}

// Backlog notes for how long the oldest webhook has waited.
func (d deliveries) Backlog(age time.Duration) { d.meter.backlog.Set(age.Seconds()) }

// Dropped counts what will not be tried any more.
func (d deliveries) Dropped(items int) { d.meter.dropped.Add(float64(items)) }

// Stopped writes down that an endpoint is paused or disabled.
func (d deliveries) Stopped(e payment.Endpoint) {
	d.audit.LogAttrs(context.Background(), slog.LevelInfo, "audit",
		slog.String("act", "webhooks."+string(e.Status)), slog.String("object", e.ID), slog.String("who", "gateway"),
		slog.String("from", "gateway"), slog.String("result", actDone), slog.String("merchant", e.Merchant),
		slog.String("reason", e.Reason))
}

// deliveryMeter is the part of a meter that counts webhooks.
type deliveryMeter struct {
	deliveries      *prometheus.CounterVec
	deliverySeconds prometheus.Histogram
	backlog         prometheus.Gauge
	dropped         prometheus.Counter
}

func newDeliveryMeter() deliveryMeter {
	m := deliveryMeter{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purser_webhook_deliveries_total",
			Help: "Tries to tell a merchant's endpoint of an event, by result (delivered, rejected, unreachable, timeout, forbidden).",
		}, []string{"result"}),
		deliverySeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "purser_webhook_seconds",
			Help:    "Time that a try to tell an endpoint took.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15},
		}),
		backlog: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "purser_webhook_backlog_seconds",
			Help: "For how long the oldest webhook has been due and not taken; 0 = none is.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "purser_webhooks_dropped_total",
			Help: "Webhooks that will not be tried any more and were not delivered.",
		}),
	}
	for _, r := range outbox.Results {
		m.deliveries.WithLabelValues(string(r))
	}
	return m
}

func (m *deliveryMeter) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.deliveries, m.deliverySeconds, m.backlog, m.dropped}
}
