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
	// as "POST /v1/payments"; 1 where nothing is said. Limits by address and
	// by account count every call as one.
	Costs map[string]int64
	// Now is the clock by which what was counted and not made is given back; nil
	// gives nothing back.
	Now func() time.Time
}

// Caller is who makes a call that was authenticated.
type Caller struct {
	Merchant, Mode, Key string
	// Route is the method and the pattern, such as "POST /v1/payments".
	Route string
	// Rates are the key's own, in place of those of the policy's scope [Key].
	Rates []access.Rate
	// Address is where the call came from, and Account is the account at a PSP that
	// it names by itself; "" = routing will choose. [Limiter.Refine] alone looks at
	// them.
	Address netip.Addr
	Account string
}

// Verdict is what became of a call. Its zero value lets it pass, without limits.
type Verdict struct {
	// States are those of every window that was asked.
	States []State
	leave  func()
	give   func(context.Context)
}

// Passed tells whether the call may go on.
func (v *Verdict) Passed() bool { return Passed(v.States) }

// Leave is what is to be called once, when the call has ended; nil = nothing is.
func (v *Verdict) Leave() func() { return v.leave }

// Done says that the call has ended. It is called once for each verdict.
func (v *Verdict) Done() {
	if v.leave != nil {
		v.leave()
	}
}

// Cancel is Done for a call of [Limiter.Account] that was not made after all: it
// counts no longer.
func (v *Verdict) Cancel(ctx context.Context) {
	v.Done()
	if v.give != nil {
		v.give(ctx)
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

	address, key, merchant, route, account Limit // of the policy
}

// New returns a limiter over a store. The policy stays as it is.
func New(store Store, flights *Flights, policy Policy) *Limiter {
	limits := policy.Limits
	return &Limiter{
		store: store, flying: flights.flying, policy: policy,
		charges: sync.Pool{New: func() any { return new([MaxCharges]Charge) }},
		address: limits[Address], key: limits[Key], merchant: limits[Merchant], route: limits[Route], account: limits[Account],
	}
}

// none tells that a limit limits nothing.
func (l *Limit) none() bool { return len(l.Rates) == 0 && l.InFlight == 0 }

// ipv6Network is what one holder of IPv6 addresses is given at the least.
const ipv6Network = 64

// Arrive decides over a call of which only the sender's address is known.
func (l *Limiter) Arrive(ctx context.Context, from netip.Addr) (Verdict, error) {
	if l.address.none() {
		return Verdict{}, nil
	}
	g := groupOf(from)
	charges := l.charges.Get().(*[MaxCharges]Charge)
	defer l.charges.Put(charges)
	n := fill(charges, 0, Charge{Scope: Address, Cost: 1}, l.address.Rates)
	if l.address.InFlight == 0 {
		return l.decide(ctx, g, charges[:n], nil, nil)
	}
	return l.decide(ctx, g, charges[:n], []berth{{group: g.ID, scope: Address}}, []int64{l.address.InFlight})
}

// groupOf is the group of one address.
func groupOf(from netip.Addr) Group {
	from = from.Unmap().WithZone("")
	if from.Is6() {
		if p, err := from.Prefix(ipv6Network); err == nil { // of an IPv6 address, 64 bits are never too many
			from = p.Addr()
		}
	}
	return Group{Addresses, from.String()}
}

// Admit decides over a call whose sender was authenticated.
func (l *Limiter) Admit(ctx context.Context, c Caller) (Verdict, error) {
	cost := l.cost(c.Route)
	charges := l.charges.Get().(*[MaxCharges]Charge)
	defer l.charges.Put(charges)
	n := 0
	if len(c.Rates) > 0 {
		for _, r := range c.Rates[:min(len(c.Rates), access.MaxRates)] {
			charges[n] = Charge{Scope: Key, Name: c.Key, Rate: limiter.Rate{Period: r.Period, Limit: r.Limit}, Cost: cost}
			n++
		}
	} else {
		n = fill(charges, n, Charge{Scope: Key, Name: c.Key, Cost: cost}, l.key.Rates)
	}
	n = fill(charges, n, Charge{Scope: Merchant, Mode: c.Mode, Cost: cost}, l.merchant.Rates)
	n = fill(charges, n, Charge{Scope: Route, Name: c.Route, Mode: c.Mode, Cost: cost}, l.route.Rates)
	if l.key.InFlight == 0 && l.merchant.InFlight == 0 && l.route.InFlight == 0 {
		return l.decide(ctx, Group{Merchants, c.Merchant}, charges[:n], nil, nil)
	}
	return l.decide(ctx, Group{Merchants, c.Merchant}, charges[:n],
		[]berth{{c.Merchant, c.Key, "", Key}, {c.Merchant, "", c.Mode, Merchant}, {c.Merchant, c.Route, c.Mode, Route}},
		[]int64{l.key.InFlight, l.merchant.InFlight, l.route.InFlight})
}

// cost is what a call of a route counts for.
func (l *Limiter) cost(route string) int64 {
	if own, ok := l.policy.Costs[route]; ok {
		return own
	}
	return 1
}

// fill writes the windows of one limit from n on, each like the charge given, and
// returns where they end.
func fill(charges *[MaxCharges]Charge, n int, like Charge, rates []limiter.Rate) int {
	for _, r := range rates[:min(len(rates), access.MaxRates)] {
		charges[n] = like
		charges[n].Rate = r
		n++
	}
	return n
}

// decide asks for calls in flight first: they are given back where a window is
// full, while calls that were counted would not be.
func (l *Limiter) decide(ctx context.Context, g Group, charges []Charge, berths []berth, limits []int64) (Verdict, error) {
	if len(charges)+len(limits) == 0 {
		return Verdict{}, nil
	}
	v := Verdict{States: make([]State, 0, len(charges)+len(limits))}
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
