// Package engine moves payments through their states. It is the only writer of
// payment state, and it never holds a transaction open across a call to a PSP:
// it writes down what it is about to do, does it, and writes down what came of
// it. A crash between the two leaves a record that says exactly what is in
// doubt.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// Exchanger carries one step of an operation to a PSP; package transport is the
// real one. ctx bounds the whole exchange, repeats included.
type Exchanger interface {
	Exchange(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange
}

// Planner chooses accounts; package routing is the real one. A plan without a
// candidate that is chosen is [payment.CodeNoAccount].
type Planner interface {
	Plan(f payment.Facts) payment.Plan
}

// Config is what an engine stands on.
type Config struct {
	Store    store.Store
	Accounts map[string]*connector.Account
	Exchange Exchanger
	Plan     Planner
	// Gate bounds what callers may have sent to accounts; nil bounds nothing.
	Gate Gate
	// Pepper keys every hash: the references toward PSPs among them.
	Pepper []byte
	IDs    *payment.IDs
	Now    func() time.Time
	Random io.Reader // jitter
	Log    *slog.Logger
	// Again is asked where the store is away and a PSP's answer is to be written down,
	// which nobody can have twice: it waits, and tells whether to try once more. try
	// counts from 0. Nil never does; recovery then asks the PSP.
	Again func(try int) bool
}

// Engine holds what it needs by interface, and no state that must last. It is
// safe for concurrent use.
type Engine struct {
	cfg Config
	// wake tells each worker that something is due now.
	wake            map[store.Queue]chan struct{}
	lanes, expiries *lanes

	mu sync.Mutex
	// asked is when each payment was last asked after by a merchant, or by its payer.
	asked map[string]time.Time
}

// New returns an engine.
func New(cfg Config) *Engine {
	e := &Engine{
		cfg: cfg, wake: map[store.Queue]chan struct{}{}, asked: map[string]time.Time{},
		lanes:    newLanes(cfg.Now, recoverWidth, len(cfg.Accounts)),
		expiries: newLanes(cfg.Now, expireWidth, len(cfg.Accounts)),
	}
	for _, w := range e.workers() {
		e.wake[w.queue] = make(chan struct{}, 1)
	}
	return e
}

func (e *Engine) now() time.Time { return e.cfg.Now() }

// update runs fn in one transaction, under the store's own deadline.
func (e *Engine) update(ctx context.Context, fn func(store.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return e.storeError(e.cfg.Store.Update(ctx, fn))
}

// insist is update for what a PSP has answered. Where nobody can tell whether it was
// written, it is not tried again.
func (e *Engine) insist(ctx context.Context, fn func(store.Tx) error) error {
	err := e.update(ctx, fn)
	for try := 0; e.cfg.Again != nil && errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUncertain) && e.cfg.Again(try); try++ {
		err = e.update(ctx, fn)
	}
	return err
}

func (e *Engine) view(ctx context.Context, fn func(store.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return e.storeError(e.cfg.Store.View(ctx, fn))
}

// storeError turns what a store says into what a merchant may hear.
func (e *Engine) storeError(err error) error {
	var known *payment.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, store.ErrNotFound):
		return &payment.Error{Code: payment.CodeNotFound, Detail: "there is no such thing", Err: err}
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrUncertain),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &payment.Error{
			Code: payment.CodeStoreUnavailable, RetryAfter: time.Second, Err: err,
			Detail: "the store is out of reach; repeat the request with the same Idempotency-Key",
		}
	default:
		return fmt.Errorf("store: %w", err)
	}
}

// own reads a payment that must belong to s; another's is as good as absent.
func own(r store.Reader, s Scope, id string) (payment.Payment, error) {
	if !payment.IsID(payment.PrefixPayment, id) {
		return payment.Payment{}, errNoPayment(id)
	}
	p, err := r.Payment(id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return p, errNoPayment(id)
	case err != nil:
		return p, fmt.Errorf("read payment: %w", err)
	case p.Merchant != s.Merchant || p.Mode != s.Mode:
		return payment.Payment{}, errNoPayment(id)
	}
	return p, nil
}

func errNoPayment(id string) error {
	if len(id) > 40 {
		id = id[:40]
	}
	return payment.Errorf(payment.CodeNotFound, "there is no payment %q", id)
}

// logAttempt names an attempt in the log. Nothing of it is secret.
func logAttempt(p *payment.Payment, a *payment.Attempt, acct *connector.Account, x connector.Exchange) []any {
	attrs := []any{
		slog.String("payment", p.ID), slog.String("attempt", a.ID), slog.String("operation", string(a.Kind)),
		slog.String("account", acct.Name), slog.String("outcome", x.Outcome.String()), slog.Int("sends", x.Sends),
	}
	if x.Err != nil {
		attrs = append(attrs, slog.String("error", x.Err.Error()))
	}
	return attrs
}

// nudge lets a worker look at once.
func (e *Engine) nudge(q store.Queue) {
	select {
	case e.wake[q] <- struct{}{}:
	default:
	}
}
