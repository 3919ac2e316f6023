package ratelimit

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/ulule/limiter/v3"

	"github.com/purser-pay/purser/modules/access"
)

// concurrentRetry is what a caller with too many calls in flight is asked to
// wait: when one of them ends, nobody knows.
const concurrentRetry = time.Second

// Limit is what one scope may do; the zero value limits nothing.
type Limit struct {
	// Rates are the windows, each with a period of its own, at most
	// [access.MaxRates]. All of them hold.
	Rates []limiter.Rate
	// InFlight bounds the calls at the same time at this node; 0 = no bound.
	InFlight int64
}

// Policy is every limit that there is.
type Policy struct {
	Limits map[Scope]Limit
	// Costs are what calls of some routes count for, by method and pattern such
	// as "POST /v1/payments"; 1 where nothing is said. Limits by address count
	// every call as one.
	Costs map[string]int64
}

// Caller is who makes a call that was authenticated.
type Caller struct {
	Merchant, Mode, Key string
	// Route is the method and the pattern, such as "POST /v1/payments".
	Route string
	// Rates are the key's own, in place of those of the policy's scope [Key].
	Rates []access.Rate
}

// Verdict is what became of a call. Its zero value lets it pass, without limits.
type Verdict struct {
	// States are those of every window that was asked.
	States []State
	leave  func()
}

// Passed tells whether the call may go on.
func (v *Verdict) Passed() bool { return Passed(v.States) }

// Done says that the call has ended. It is called once for each verdict.
func (v *Verdict) Done() {
	if v.leave != nil {
		v.leave()
	}
}

// Refusal is the window that keeps a call out the longest, and false where none
// does.
func (v *Verdict) Refusal() (State, bool) {
	var worst State
	for _, s := range v.States {
		if s.Retry > worst.Retry {
			worst = s
		}
	}
	return worst, worst.Retry > 0
}

// Flights counts the calls in flight. One is kept for all the limiters of a
// process that follow each other over reloads.
type Flights struct{ flying *flying }

// NewFlights counts none.
func NewFlights() *Flights { return &Flights{newFlying()} }

// Limiter decides over calls by a policy. It is safe for concurrent use.
type Limiter struct {
	store   Store
	flying  *flying
	policy  Policy
	charges sync.Pool
}

// New returns a limiter over a store. The policy stays as it is.
func New(store Store, flights *Flights, policy Policy) *Limiter {
	return &Limiter{
		store: store, flying: flights.flying, policy: policy,
		charges: sync.Pool{New: func() any { return new([MaxCharges]Charge) }},
	}
}

// ipv6Network is what one holder of IPv6 addresses is given at the least.
const ipv6Network = 64

// Arrive decides over a call of which only the sender's address is known.
func (l *Limiter) Arrive(ctx context.Context, from netip.Addr) (Verdict, error) {
	limit := l.policy.Limits[Address]
	if len(limit.Rates) == 0 && limit.InFlight == 0 {
		return Verdict{}, nil
	}
	from = from.Unmap().WithZone("")
	if from.Is6() {
		if p, err := from.Prefix(ipv6Network); err == nil { // of an IPv6 address, 64 bits are never too many
			from = p.Addr()
		}
	}
	g := Group{Addresses, from.String()}
	charges := l.charges.Get().(*[MaxCharges]Charge)
	defer l.charges.Put(charges)
	n := fill(charges, 0, Address, "", limit.Rates, 1)
	if limit.InFlight == 0 {
		return l.decide(ctx, g, charges[:n], nil, nil)
	}
	return l.decide(ctx, g, charges[:n], []berth{{g.ID, "", Address}}, []int64{limit.InFlight})
}

// Admit decides over a call whose sender was authenticated.
func (l *Limiter) Admit(ctx context.Context, c Caller) (Verdict, error) {
	limits := l.policy.Limits
	key, merchant, route := limits[Key], limits[Merchant], limits[Route]
	cost := int64(1)
	if own, ok := l.policy.Costs[c.Route]; ok {
		cost = own
	}
	charges := l.charges.Get().(*[MaxCharges]Charge)
	defer l.charges.Put(charges)
	n := 0
	if len(c.Rates) > 0 {
		for _, r := range c.Rates[:min(len(c.Rates), access.MaxRates)] {
			charges[n] = Charge{Scope: Key, Name: c.Key, Rate: limiter.Rate{Period: r.Period, Limit: r.Limit}, Cost: cost}
			n++
		}
	} else {
		n = fill(charges, n, Key, c.Key, key.Rates, cost)
	}
	n = fill(charges, n, Merchant, c.Mode, merchant.Rates, cost)
	at := ""
	if len(route.Rates) > 0 || route.InFlight > 0 {
		at = c.Mode + " " + c.Route
		n = fill(charges, n, Route, at, route.Rates, cost)
	}
	if key.InFlight == 0 && merchant.InFlight == 0 && route.InFlight == 0 {
		return l.decide(ctx, Group{Merchants, c.Merchant}, charges[:n], nil, nil)
	}
	return l.decide(ctx, Group{Merchants, c.Merchant}, charges[:n],
		[]berth{{c.Merchant, c.Key, Key}, {c.Merchant, c.Mode, Merchant}, {c.Merchant, at, Route}},
		[]int64{key.InFlight, merchant.InFlight, route.InFlight})
}

// fill writes the windows of one limit from n on, and returns where they end.
func fill(charges *[MaxCharges]Charge, n int, s Scope, name string, rates []limiter.Rate, cost int64) int {
	for _, r := range rates[:min(len(rates), access.MaxRates)] {
		charges[n] = Charge{Scope: s, Name: name, Rate: r, Cost: cost}
		n++
	}
	return n
}

// decide asks for calls in flight first: they are given back where a window is
// full, while calls that were counted would not be.
func (l *Limiter) decide(ctx context.Context, g Group, charges []Charge, berths []berth, limits []int64) (Verdict, error) {
	var v Verdict
	boarded := false
	if len(limits) > 0 {
		if v.States, boarded = l.flying.board(g.ID, berths, limits, v.States); !boarded {
			return v, nil
		}
	}
	var err error
	if len(charges) > 0 {
		v.States, err = l.store.Take(ctx, g, charges, v.States)
	}
	switch {
	case !boarded:
	case err != nil || !v.Passed():
		l.flying.leave(g.ID, berths, limits)
	default:
		v.leave = sync.OnceFunc(func() { l.flying.leave(g.ID, berths, limits) })
	}
	return v, err
}
