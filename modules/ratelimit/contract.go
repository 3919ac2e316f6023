package ratelimit

import (
	"context"
	"time"

	"github.com/ulule/limiter/v3"
)

// Taker is a [Store] without the methods that follow from Take and Forget.
type Taker interface {
	Take(ctx context.Context, g Group, charges []Charge, states []State) ([]State, error)
	Give(ctx context.Context, g Group, charges []Charge, ago time.Duration) error
	// Forget empties one window.
	Forget(ctx context.Context, g Group, c Charge) error
}

// Contract gives a [Taker] the four methods of [limiter.Store]. A key is a
// group of its own.
type Contract struct {
	Taker Taker
	// Now is the clock by which the contract's Reset is told, in Unix seconds.
	Now func() time.Time
}

var _ limiter.Store = Contract{}

// Get takes one call.
func (s Contract) Get(ctx context.Context, key string, rate limiter.Rate) (limiter.Context, error) {
	return s.Increment(ctx, key, 1, rate)
}

// Peek looks, and takes nothing.
func (s Contract) Peek(ctx context.Context, key string, rate limiter.Rate) (limiter.Context, error) {
	return s.Increment(ctx, key, 0, rate)
}

// Increment takes a number of calls, all or none. Calls that are refused do not
// count, other than in the stores that come with the library.
func (s Contract) Increment(ctx context.Context, key string, count int64, rate limiter.Rate) (limiter.Context, error) {
	states, err := s.Taker.Take(ctx, Group{Others, key}, []Charge{{Rate: rate, Cost: count}}, nil)
	if err != nil {
		return limiter.Context{}, err
	}
	st := states[0]
	return limiter.Context{
		Limit: rate.Limit, Remaining: st.Remaining, Reset: s.Now().Add(st.Reset + time.Second - 1).Unix(),
		Reached: st.Retry > 0 || (count <= 0 && st.Remaining == 0),
	}, nil
}

// Reset empties the window.
func (s Contract) Reset(ctx context.Context, key string, rate limiter.Rate) (limiter.Context, error) {
	if err := s.Taker.Forget(ctx, Group{Others, key}, Charge{Rate: rate}); err != nil {
		return limiter.Context{}, err
	}
	return s.Peek(ctx, key, rate)
}
