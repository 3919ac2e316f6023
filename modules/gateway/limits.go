package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/ratelimit"
	"github.com/purser-pay/purser/modules/ratelimit/redislimit"
)

// RateLimitConfig is what one scope may do; what is left out is not limited.
type RateLimitConfig struct {
	// Rates are windows that all hold at once, such as "1000/1s" and "20000/1m":
	// 1 … 1000000 calls in 1s … 720h, in whole seconds; at most 4, each of another
	// length. As many calls may come at once, and what was used comes back evenly.
	Rates []access.Rate `json:"rates,omitempty"`
	// InFlight bounds the calls that are under way at the same time, at each node;
	// 0 = no bound.
	InFlight int64 `json:"in_flight,omitempty"`
}

// maxInFlight bounds in_flight; more is no bound.
const maxInFlight = 1_000_000

// check refuses a limit that limits nothing or makes no sense.
func (l RateLimitConfig) check() error {
	switch {
	case len(l.Rates) == 0 && l.InFlight == 0:
		return errors.New("there is neither a rate nor a number of calls in flight")
	case l.InFlight < 0 || l.InFlight > maxInFlight:
		return fmt.Errorf("in_flight is 1 … %d", maxInFlight)
	default:
		return access.CheckRates(l.Rates)
	}
}

// SharedConfig says where several nodes count their rate limits together.
type SharedConfig struct {
	// Driver is "redis".
	Driver string `json:"driver"`
	// URL is the address by reference, such as "{env.REDIS_URL}", which holds
	// redis://[user:password@]host[:6379][/database], or rediss:// for TLS.
	URL connector.Secret `json:"url"`
	// Nodes is how many gateways share the limits, 1 … 1000; default 2. While Redis
	// is away each counts by itself, up to its part of every limit.
	Nodes int `json:"nodes,omitempty"`
	// FailClosed answers 503 while Redis is away, instead of counting by node.
	FailClosed bool `json:"fail_closed,omitempty"`
}

const (
	driverRedis  = "redis"
	defaultNodes = 2
	maxNodes     = 1000
)

func (s *SharedConfig) check() error {
	switch {
	case s == nil:
		return nil
	case s.Driver != driverRedis:
		return fmt.Errorf("shared: there is no %q; there is redis", s.Driver)
	case s.URL.IsZero():
		return errors.New("shared: an address is needed: shared redis {env.REDIS_URL}")
	case s.Nodes < 0 || s.Nodes > maxNodes:
		return fmt.Errorf("shared: nodes is 1 … %d", maxNodes)
	default:
		return nil
	}
}

// checkLimits checks and readies all that has to do with rate limits.
func (a *App) checkLimits(resolver func(string) (string, error)) error {
	for _, name := range sorted(a.RateLimits) {
		if !slices.Contains(ratelimit.Scopes, ratelimit.Scope(name)) {
			return fmt.Errorf("rate_limit: %w", unknownScope(name))
		}
		if err := a.RateLimits[name].check(); err != nil {
			return fmt.Errorf("rate_limit %s: %w", name, err)
		}
	}
	for _, name := range sorted(a.RateCosts) {
		if err := checkCost(a.RateCosts[name]); err != nil {
			return fmt.Errorf("rate_cost %s: %w", name, err)
		}
	}
	if err := a.LoadShedding.check(); err != nil {
		return err
	}
	if err := a.Shared.check(); err != nil || a.Shared == nil {
		return err
	}
	if err := a.Shared.URL.Resolve(resolver); err != nil {
		return fmt.Errorf("shared: %w", err)
	}
	return nil
}

func unknownScope(name string) error {
	names := make([]string, len(ratelimit.Scopes))
	for i, s := range ratelimit.Scopes {
		names[i] = string(s)
	}
	return fmt.Errorf("there is no scope %.40q; there are %s", name, strings.Join(names, ", "))
}

func checkCost(cost int64) error {
	if cost < 1 || cost > access.MaxRateLimit {
		return fmt.Errorf("a cost is 1 … %d", access.MaxRateLimit)
	}
	return nil
}

// counts are the counters of rate limits, which outlive every configuration: a
// reload forgets no limit.
type counts struct {
	store   ratelimit.Store
	flights *ratelimit.Flights
	close   func() error
}

// Destruct ends the connections to Redis, if any.
func (c *counts) Destruct() error { return c.close() }

var countsPool = caddy.NewUsagePool()

// countsKey tells counters apart. Each store has its own, because two gateways
// in one process have their merchants apart.
type countsKey struct {
	store  any // as the pool of stores names it
	url    [sha256.Size]byte
	nodes  int
	closed bool
}

// openLimits takes the counters, and builds the limiter on them.
func (a *App) openLimits(ctx context.Context, of any) error {
	key := countsKey{store: of}
	if s := a.Shared; s != nil {
		key.url, key.nodes, key.closed = sha256.Sum256([]byte(s.URL.Reveal())), s.Nodes, s.FailClosed
	}
	shared, err := pooled(countsPool, key, func() (*counts, error) { return a.newCounts(ctx) })
	if err != nil {
		return fmt.Errorf("shared: %w", err)
	}
	a.onCleanup(func() error { return drop(countsPool, key) })
	policy := ratelimit.Policy{Limits: map[ratelimit.Scope]ratelimit.Limit{}, Costs: a.RateCosts, Now: time.Now}
	for name, l := range a.RateLimits {
		policy.Limits[ratelimit.Scope(name)] = ratelimit.Limit{Rates: ratelimit.RatesOf(l.Rates), InFlight: l.InFlight}
	}
	a.limiter = &Limiter{ratelimit.New(shared.store, shared.flights, policy), a.LoadShedding.shedder(counters), counters}
	return nil
}

func (a *App) newCounts(ctx context.Context) (*counts, error) {
	memory := ratelimit.NewMemory(time.Now, 0)
	if a.Shared == nil {
		return &counts{memory, ratelimit.NewFlights(), func() error { return nil }}, nil
	}
	remote, err := redislimit.Open(a.Shared.URL.Reveal(), "", time.Now)
	if err != nil {
		return nil, err
	}
	nodes := a.Shared.Nodes
	if nodes == 0 {
		nodes = defaultNodes
	}
	// While a reload changes the address, two of these are there for a moment.
	counters.shared.Inc()
	together := true // Changed is told one thing at a time, and the end comes last
	refuse, log := a.Shared.FailClosed, a.log
	f := ratelimit.NewFallback(ctx, ratelimit.FallbackConfig{
		Shared: remote, Local: memory, Nodes: nodes, Refuse: refuse, Now: time.Now,
		Changed: func(lost error) {
			if running, err := Running(); err == nil {
				log = running.log // a reload may have changed where it goes
			}
			if together = lost == nil; together {
				counters.shared.Inc()
				log.Info("rate limits are shared again")
				return
			}
			counters.shared.Dec()
			log.Error("rate limits are not shared: Redis is away",
				slog.String("error", lost.Error()), slog.Bool("fail_closed", refuse), slog.Int("nodes", nodes))
		},
	})
	return &counts{f, ratelimit.NewFlights(), func() error {
		f.Close()
		if together {
			counters.shared.Dec()
		}
		return remote.Close()
	}}, nil
}

// Limiter bounds how much callers may ask, and counts whom it refused.
type Limiter struct {
	limiter *ratelimit.Limiter
	shedder *ratelimit.Shedder
	meter   *meter
}

// Arrive decides over a call of which only the sender's address is known.
func (l *Limiter) Arrive(ctx context.Context, from netip.Addr) (ratelimit.Verdict, error) {
	v, err := l.limiter.Arrive(ctx, from)
	l.meter.verdict(v)
	return v, err
}

// Admit decides over a call whose sender was authenticated.
func (l *Limiter) Admit(ctx context.Context, c ratelimit.Caller) (ratelimit.Verdict, error) {
	v, err := l.limiter.Admit(ctx, c)
	l.meter.verdict(v)
	return v, err
}

// Refine decides by the rates that policies add to a call.
func (l *Limiter) Refine(ctx context.Context, c ratelimit.Caller, extra []ratelimit.Extra) (ratelimit.Verdict, error) {
	v, err := l.limiter.Refine(ctx, c, extra)
	l.meter.verdict(v)
	return v, err
}

// Account decides over one call that is about to be sent to an account at a PSP.
func (l *Limiter) Account(ctx context.Context, account string) (ratelimit.Verdict, error) {
	v, err := l.limiter.Account(ctx, account)
	l.meter.verdict(v)
	return v, err
}

// Gate bounds what callers may have sent to accounts.
func (l *Limiter) Gate() engine.Gate { return gate{l} }

// gate is the limits of the scope account, as the engine asks for them.
type gate struct{ limiter *Limiter }

// Limits tells whether accounts are limited at all: one limit holds for each.
func (g gate) Limits(string) bool { return g.limiter.limiter.Limits(ratelimit.Account) }

// Admit asks for leave to send one operation.
func (g gate) Admit(ctx context.Context, account, _ string, _ payment.Mode) (func(sent bool), error) {
	v, err := g.limiter.Account(ctx, account)
	if err != nil {
		return nil, &payment.Error{
			Code: payment.CodeStoreUnavailable, Err: err,
			Detail: "The counters of the rate limits cannot be reached. Repeat the call with the same Idempotency-Key.",
		}
	}
	if s, refused := v.Refusal(); refused {
		return nil, &payment.Error{
			Code: payment.CodeRateLimited, RetryAfter: s.Retry,
			Detail: "The account at the payment provider may be sent no more calls for now. Nothing was done; wait as long as Retry-After says.",
		}
	}
	return func(sent bool) {
		if sent {
			v.Done()
			return
		}
		v.Cancel(context.WithoutCancel(ctx))
	}, nil
}

// verdict counts a refusal.
func (m *meter) verdict(v ratelimit.Verdict) {
	if s, refused := v.Refusal(); refused {
		m.limited.WithLabelValues(string(s.Scope)).Inc()
	}
}

// Limiter bounds how much callers may ask.
func (a *App) Limiter() *Limiter { return a.limiter }

// parseRateLimit reads one scope's limits.
func (a *App) parseRateLimit(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 {
		return d.Err("a limit has a scope and rates: rate_limit key 1000/1s")
	}
	scope := args[0]
	if !slices.Contains(ratelimit.Scopes, ratelimit.Scope(scope)) {
		return d.WrapErr(unknownScope(scope))
	}
	if _, given := a.RateLimits[scope]; given {
		return d.Errf("rate_limit %s is given twice; several windows stand in one line", scope)
	}
	var limit RateLimitConfig
	for args = args[1:]; len(args) > 0; args = args[1:] {
		if args[0] != "in_flight" {
			r, err := access.ParseRate(args[0])
			if err != nil {
				return d.WrapErr(err)
			}
			limit.Rates = append(limit.Rates, r)
			continue
		}
		if args = args[1:]; len(args) == 0 || limit.InFlight != 0 {
			return d.Err("in_flight is followed by one number: rate_limit key in_flight 50")
		}
		n, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || n < 1 {
			return d.Errf("in_flight is 1 … %d, not %.40q", maxInFlight, args[0])
		}
		limit.InFlight = n
	}
	if err := limit.check(); err != nil {
		return d.Errf("rate_limit %s: %v", scope, err)
	}
	if a.RateLimits == nil {
		a.RateLimits = map[string]RateLimitConfig{}
	}
	a.RateLimits[scope] = limit
	return nil
}

// parseRateCost reads what calls of one route count for.
func (a *App) parseRateCost(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 3 {
		return d.Err("a cost has a method, a path and a number: rate_cost POST /v1/payments 5")
	}
	call := args[0] + " " + args[1]
	if _, given := a.RateCosts[call]; given {
		return d.Errf("rate_cost %s is given twice", call)
	}
	n, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return d.Errf("rate_cost %s: %.40q is not a whole number", call, args[2])
	}
	if err := checkCost(n); err != nil {
		return d.Errf("rate_cost %s: %v", call, err)
	}
	if a.RateCosts == nil {
		a.RateCosts = map[string]int64{}
	}
	a.RateCosts[call] = n
	return nil
}

// parseShared reads where nodes count together.
func (a *App) parseShared(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 || args[0] != driverRedis {
		return d.Err("shared takes redis and its address by reference: shared redis {env.REDIS_URL}")
	}
	a.Shared = &SharedConfig{Driver: args[0]}
	if err := a.Shared.URL.UnmarshalText([]byte(args[1])); err != nil {
		return d.WrapErr(err)
	}
	options := newFields("shared", reflect.TypeFor[SharedConfig]())
	delete(options.byName, "driver")
	delete(options.byName, "url")
	raw, err := options.block(d)
	if err != nil {
		return err
	}
	var more SharedConfig
	if err := caddy.StrictUnmarshalJSON(raw, &more); err != nil {
		return d.WrapErr(err)
	}
	a.Shared.Nodes, a.Shared.FailClosed = more.Nodes, more.FailClosed
	if err := a.Shared.check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}
