package gateway

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/purser-pay/purser/modules/ratelimit"
)

// LoadSheddingConfig says what a node turns away that has too much to do: calls in
// mode test first, then reads, then new payments, and last what settles money.
type LoadSheddingConfig struct {
	// InFlight is how many calls of merchants this node may have under way, 1 …
	// 1000000. A fifth is kept for confirm, capture, cancel and refund in mode live;
	// over 65 % calls in mode test begin to be turned away.
	InFlight int64 `json:"in_flight"`
	// DryRun turns nothing away, and counts what would have been.
	DryRun bool `json:"dry_run,omitempty"`
}

func (c *LoadSheddingConfig) check() error {
	switch {
	case c == nil:
		return nil
	case c.InFlight < 1 || c.InFlight > maxInFlight:
		return fmt.Errorf("load_shedding: in_flight is 1 … %d", maxInFlight)
	default:
		return nil
	}
}

// load is what this process has to do, under whichever configuration.
var load = ratelimit.NewLoad(time.Now, rand.Float64)

// shedder is the configuration's; without one it counts and turns nothing away.
func (c *LoadSheddingConfig) shedder(m *meter) *ratelimit.Shedder {
	if c == nil {
		return ratelimit.NewShedder(load, ratelimit.ShedConfig{})
	}
	dry := strconv.FormatBool(c.DryRun)
	return ratelimit.NewShedder(load, ratelimit.ShedConfig{
		InFlight: c.InFlight, DryRun: c.DryRun,
		Shed: func(class ratelimit.Class) { m.shed.WithLabelValues(class.String(), dry).Inc() },
	})
}

// Shedder turns calls away while the node has too much to do.
func (a *App) Shedder() *ratelimit.Shedder { return a.limiter.shedder }

// parseLoadShedding reads the block load_shedding.
func (a *App) parseLoadShedding(d *caddyfile.Dispenser) error {
	first := here(d)
	if d.NextArg() {
		return d.Errf("load_shedding takes no argument %q; in_flight stands in its block", d.Val())
	}
	options := newFields("load_shedding", reflect.TypeFor[LoadSheddingConfig]())
	raw, err := options.block(d)
	if err != nil {
		return err
	}
	if len(options.missing()) > 0 {
		return first.errorf("load_shedding: in_flight is missing: how many calls this node may have under way")
	}
	c := new(LoadSheddingConfig)
	if err := caddy.StrictUnmarshalJSON(raw, c); err != nil {
		return d.WrapErr(err)
	}
	if err := c.check(); err != nil {
		first.line = options.lines["in_flight"]
		return first.errorf("%v", err)
	}
	a.LoadShedding = c
	return nil
}

// shedMeter is the part of a meter that counts what the node turns away.
type shedMeter struct {
	shed     *prometheus.CounterVec
	inFlight prometheus.GaugeFunc
	level    prometheus.GaugeFunc
}

func newShedMeter() shedMeter {
	m := shedMeter{
		shed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "purser_shed_total",
			Help: "Calls that were turned away because the node had too much to do, by class; dry_run=true: that would have been.",
		}, []string{"class", "dry_run"}),
		inFlight: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "purser_in_flight",
			Help: "Calls of merchants that are under way at this node.",
		}, func() float64 { return float64(load.InFlight()) }),
		level: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "purser_shed_level",
			Help: "How many classes of calls are turned away: 1.5 = all in mode test, and half of the reads; 0 = none.",
		}, load.Level),
	}
	for _, c := range ratelimit.Classes {
		for _, dry := range []string{"false", "true"} {
			m.shed.WithLabelValues(c.String(), dry)
		}
	}
	return m
}

func (m *shedMeter) shedding() []prometheus.Collector {
	return []prometheus.Collector{m.shed, m.inFlight, m.level}
}
