package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/transport"
)

// CircuitBreakerConfig says when new payments keep away from an account whose PSP
// gives no answers: it cannot be reached, hangs, or answers what cannot be read.
// Declines are answers. While the breaker is open, routing takes other accounts
// first, and a payment that has no other fails at once with psp_unavailable;
// nothing is sent. Then one payment at a time tries, until one is answered.
// Captures, cancels, refunds and queries always go.
//
// Accounts in mode live have a breaker by default; in mode test it is off, because
// simulators misbehave on purpose. Each node has its own, and a reload keeps it.
type CircuitBreakerConfig struct {
	// Off lets every payment try.
	Off bool `json:"off,omitempty"`
	// Failures is how many payments within the window must have had no answer, and
	// these must be half of all at least; 1 … 10000, default 10.
	Failures int `json:"failures,omitempty"`
	// Window is the time that is looked back, 1 s … 10 min; default 30 s.
	Window caddy.Duration `json:"window,omitempty"`
	// OpenFor is how long no payment tries, 100 ms … 10 min; default 10 s.
	OpenFor caddy.Duration `json:"open_for,omitempty"`
}

// The bounds and defaults of breakers.
const (
	defaultFailures = 10
	maxFailures     = 10_000
	defaultWindow   = 30 * time.Second
	minWindow       = time.Second
	maxWindow       = 10 * time.Minute
	windowBuckets   = 10 // the window moves on in as many steps
	defaultOpenFor  = 10 * time.Second
	minOpenFor      = 100 * time.Millisecond
	maxOpenFor      = 10 * time.Minute
)

const circuitField = "circuit_breaker"

// check refuses a breaker that makes no sense.
func (c *CircuitBreakerConfig) check() error {
	if c == nil {
		return nil
	}
	within := func(d caddy.Duration, least, most time.Duration) bool {
		return d == 0 || time.Duration(d) >= least && time.Duration(d) <= most
	}
	switch {
	case c.Off && *c != CircuitBreakerConfig{Off: true}:
		return errors.New("it is off, and the rest says when it opens")
	case c.Failures < 0 || c.Failures > maxFailures:
		return fmt.Errorf("failures is 1 … %d", maxFailures)
	case !within(c.Window, minWindow, maxWindow):
		return fmt.Errorf("window is %s … %s", minWindow, maxWindow)
	case !within(c.OpenFor, minOpenFor, maxOpenFor):
		return fmt.Errorf("open_for is %s … %s", minOpenFor, maxOpenFor)
	default:
		return nil
	}
}

// settled is the configuration with its defaults; false = there is no breaker.
func (c *CircuitBreakerConfig) settled(mode payment.Mode) (s CircuitBreakerConfig, on bool) {
	switch {
	case c == nil && !mode.Live(), c != nil && c.Off:
		return s, false
	case c != nil:
		s = *c
	}
	if s.Failures == 0 {
		s.Failures = defaultFailures
	}
	if s.Window == 0 {
		s.Window = caddy.Duration(defaultWindow)
	}
	if s.OpenFor == 0 {
		s.OpenFor = caddy.Duration(defaultOpenFor)
	}
	return s, true
}

// circuit is the breaker of an account.
type circuit struct {
	*gobreaker.TwoStepCircuitBreaker[struct{}]
}

// newCircuit returns a breaker that is closed. changed hears of each change of its
// state; it must not ask the breaker anything.
func newCircuit(account string, c CircuitBreakerConfig, changed func(account string, from, to gobreaker.State)) *circuit {
	return &circuit{gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name: account, MaxRequests: 1, Timeout: time.Duration(c.OpenFor),
		Interval: time.Duration(c.Window), BucketPeriod: time.Duration(c.Window) / windowBuckets,
		ReadyToTrip: func(n gobreaker.Counts) bool {
			return int64(n.TotalFailures) >= int64(c.Failures) && n.TotalFailures >= n.TotalSuccesses
		},
		OnStateChange: changed,
		IsExcluded:    func(err error) bool { return errors.Is(err, transport.ErrUntold) },
	})}
}

// Destruct ends it.
func (*circuit) Destruct() error { return nil }

// silent tells whether a payment that was begun now would be kept back.
func (c *circuit) silent() bool {
	switch c.State() {
	case gobreaker.StateOpen:
		return true
	case gobreaker.StateHalfOpen:
		n := c.Counts()
		return n.Requests > n.TotalExclusions // somebody tries already
	default:
		return false
	}
}

// The states of a circuit, as operators read them. Its breaker lets payments through
// while it is closed.
const (
	circuitNone     = "none"
	circuitClosed   = "closed"
	circuitHalfOpen = "half_open"
	circuitOpen     = "open"
)

var circuitStates = map[gobreaker.State]string{
	gobreaker.StateClosed: circuitClosed, gobreaker.StateHalfOpen: circuitHalfOpen, gobreaker.StateOpen: circuitOpen,
}

// circuits keeps the breakers over reloads.
var circuits = caddy.NewUsagePool()

type circuitKey struct {
	account, baseURL string
	config           CircuitBreakerConfig
}

// openCircuits takes the breakers of all accounts that have one.
func (a *App) openCircuits() error {
	a.circuits = map[string]*circuit{}
	for _, name := range sorted(a.accounts) {
		account := a.accounts[name]
		config, on := a.AccountConfigs[name].CircuitBreaker.settled(account.Mode)
		if !on {
			continue
		}
		key := circuitKey{name, account.Base(), config}
		c, err := pooled(circuits, key, func() (*circuit, error) {
			return newCircuit(name, config, circuitChanged), nil
		})
		if err != nil {
			return fmt.Errorf("account %s: %s: %w", name, circuitField, err)
		}
		a.onCleanup(func() error { return drop(circuits, key) })
		a.circuits[name] = c
	}
	return nil
}

// circuitChanged tells of a breaker's change.
func circuitChanged(account string, from, to gobreaker.State) {
	if to == gobreaker.StateOpen {
		counters.circuitsOpened.WithLabelValues(account).Inc()
	}
	running, err := Running()
	if err != nil {
		return // the gateway stops
	}
	about := []any{slog.String("account", account), slog.String("from", circuitStates[from]), slog.String("to", circuitStates[to])}
	if to == gobreaker.StateOpen {
		running.log.Error("new payments keep away from the account: its PSP gives no answers", about...)
		return
	}
	running.log.Info("new payments try the account again", about...)
}

// breaker is that of an account, as the transport asks it.
func (a *App) breaker(account *connector.Account) transport.Breaker {
	if c := a.circuits[account.Name]; c != nil {
		return c
	}
	return nil
}

// silent tells whether routing puts an account last.
func (a *App) silent(account string) bool {
	c := a.circuits[account]
	return c != nil && c.silent()
}

// circuitState is how an account's circuit stands.
func (a *App) circuitState(account string) string {
	if c := a.circuits[account]; c != nil {
		return circuitStates[c.State()]
	}
	return circuitNone
}

// circuitStanding reports how the circuits of a configuration stand, at the scrape:
// one that has gone, or whose time has come to try again, changes nothing by itself.
type circuitStanding map[string]*circuit

var circuitDesc = prometheus.NewDesc("purser_circuit_breaker_state",
	"Whether new payments keep away from an account, by account: 0 = they do not, 1 = one at a time tries, 2 = they do.", []string{"account"}, nil)

// Describe implements prometheus.Collector.
func (s circuitStanding) Describe(ch chan<- *prometheus.Desc) { ch <- circuitDesc }

// Collect implements prometheus.Collector. The states count from closed.
func (s circuitStanding) Collect(ch chan<- prometheus.Metric) {
	for name, c := range s {
		ch <- prometheus.MustNewConstMetric(circuitDesc, prometheus.GaugeValue, float64(c.State()), name)
	}
}

// parseCircuitBreaker reads "circuit_breaker", alone, with "off", or with a block.
func parseCircuitBreaker(d *caddyfile.Dispenser, account *fields) error {
	if line, seen := account.lines[circuitField]; seen {
		return d.Errf("%s is given twice; first at line %d", circuitField, line)
	}
	account.lines[circuitField] = d.Line()
	options := newFields(circuitField, reflect.TypeFor[CircuitBreakerConfig]())
	delete(options.byName, "off")
	switch args := d.RemainingArgs(); {
	case len(args) == 1 && args[0] == "off":
		account.values[circuitField] = []byte(`{"off":true}`)
		return nil
	case len(args) > 0:
		return d.Errf("%s is followed by off, by a block, or by nothing", circuitField)
	}
	raw, err := options.block(d)
	if err != nil {
		return err
	}
	account.values[circuitField] = raw
	return nil
}
