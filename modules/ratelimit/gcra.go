package ratelimit

import (
	"time"

	"github.com/ulule/limiter/v3"
)

// gauge is one window as GCRA counts it, in nanoseconds. Every call is worth a
// tick. What was taken drains by one nanosecond a nanosecond, and calls fit as
// long as no more than capacity is there. So at most Limit calls pass at once,
// and in any span of time d at most Limit + d/tick of them, wherever it begins;
// a fixed window lets twice the limit through in an instant, at its edge.
//
// All that is kept of a window is the time when it will have drained, which the
// literature calls the theoretical arrival time (ATM Forum TM 4.0, 4.4.2).
type gauge struct{ tick, capacity int64 }

// gaugeOf rounds the tick up, so that never more than the rate passes. Limit is
// at least 1, and less than the nanoseconds of Period.
func gaugeOf(r limiter.Rate) gauge {
	n := max(r.Limit, 1)
	tick := max((int64(r.Period)+n-1)/n, 1)
	return gauge{tick, tick * n}
}

// need is what a number of calls puts in: nothing for none, and for more than
// the limit the whole of it.
func (g gauge) need(cost int64) int64 {
	if cost <= 0 {
		return 0
	}
	if cost >= g.capacity/g.tick {
		return g.capacity
	}
	return cost * g.tick
}

// state says how a window stands at a level. need is what did not go in; 0 where
// all went well.
func (g gauge) state(c *Charge, level, need int64) State {
	return State{
		Scope: c.Scope, Rule: c.Rule, Rate: c.Rate, Remaining: (g.capacity - level) / g.tick,
		Reset: time.Duration(level), Retry: time.Duration(max(level+need-g.capacity, 0)),
	}
}

// Decision is the arithmetic of one decision, for stores that keep the levels of
// its windows elsewhere.
type Decision struct {
	charges []Charge
	// Capacity and Need are those of each charge, in nanoseconds, at most 2^52:
	// the charges fit where no level + need is over its capacity. No level falls
	// under 0.
	Capacity, Need [MaxCharges]int64
}

// Weigh begins a decision. The charges stay the caller's, and unchanged until
// its end.
func Weigh(charges []Charge) (Decision, error) {
	if err := check(charges); err != nil {
		return Decision{}, err
	}
	d := Decision{charges: charges}
	for i := range charges {
		g := gaugeOf(charges[i].Rate)
		d.Capacity[i], d.Need[i] = g.capacity, g.need(charges[i].Cost)
	}
	return d, nil
}

// Unweigh begins the return of charges that passed some time ago: the needs are
// what comes out again, and negative. A window that has been empty since then has
// drained some of them by itself, at most what has passed, and that is not given
// twice.
func Unweigh(charges []Charge, ago time.Duration) (Decision, error) {
	d, err := Weigh(charges)
	if err != nil {
		return d, err
	}
	for i := range charges {
		d.Need[i] = min(int64(max(ago, 0))-d.Need[i], 0)
	}
	return d, nil
}

// States appends how the windows stand: levels are those before the decision, as
// many as there are charges, and fit tells whether all needs went in.
func (d *Decision) States(states []State, fit bool, levels []int64) []State {
	for i := range d.charges {
		level, need := levels[i], d.Need[i]
		if fit {
			level, need = level+need, 0
		}
		states = append(states, gaugeOf(d.charges[i].Rate).state(&d.charges[i], level, need))
	}
	return states
}
