package transport

import (
	"context"
	"errors"
	"fmt"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// Breaker keeps new charges away from a PSP that gives no answers. It is safe for
// concurrent use.
//
// It is asked about the first request of a charge and nothing else: captures,
// voids, refunds and queries have no other account to go to, and what may have been
// charged already is settled where it was begun.
type Breaker interface {
	// Allow asks for leave to begin a charge. Where err is nil, done is called once:
	// with nil when the PSP has answered, whatever it said; with [ErrSilent] when it
	// has not; and with [ErrUntold] when this says nothing of the PSP.
	Allow() (done func(error), err error)
}

var (
	// ErrOpen tells that the account's breaker kept a charge back: nothing was sent.
	ErrOpen = errors.New("circuit breaker open")
	// ErrSilent is what a [Breaker] hears where the PSP could not be reached, or gave
	// no answer that can be trusted.
	ErrSilent = errors.New("no answer")
	// ErrUntold is what a [Breaker] hears where the PSP was not asked after all.
	ErrUntold = errors.New("not asked")
)

// begins tells whether the exchange is the first request of a charge.
func (r *run) begins() bool {
	return r.call.Op.Kind() == payment.KindAuthorize && r.call.Sent.IsZero() && len(r.call.Done) == 0
}

// guarded is loop, if the account's breaker lets it.
func (r *run) guarded(ctx context.Context) (x connector.Exchange) {
	if r.room.breaker == nil || !r.begins() {
		return r.loop(ctx)
	}
	done, err := r.room.breaker.Allow()
	if err != nil {
		return r.end(fmt.Errorf("%w: %w", ErrOpen, err))
	}
	heard := ErrUntold // should a panic pass
	defer func() { done(heard) }()
	x = r.loop(ctx)
	switch {
	case x.Outcome == connector.Answered:
		heard = nil
	case r.silent:
		heard = ErrSilent
	}
	return x
}
