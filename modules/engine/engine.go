// Package engine moves payments through their states. It is the only writer of
// payment state, and it never holds a transaction open across a call to a PSP:
// it writes down what it is about to do, does it, and writes down what came of
// it. A crash between the two leaves a record that says exactly what is in
// doubt.
package engine

import (
	"context"
	"io"
	"log/slog"
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
	// Pepper keys every hash: the references toward PSPs among them.
	Pepper []byte
	IDs    *payment.IDs
	Now    func() time.Time
	Random io.Reader // jitter and nonces
	Log    *slog.Logger
}

// Engine holds what it needs by interface, and no state that must last. It is
// safe for concurrent use.
type Engine struct {
	cfg Config
}

// New returns an engine.
func New(cfg Config) *Engine { return &Engine{cfg: cfg} }

// Create makes a payment, and confirms it where in.Confirm is set.
func (e *Engine) Create(ctx context.Context, c Claim, in Create) (Answer, error) { panic("later") }

// Confirm sends a payment that waits for it.
func (e *Engine) Confirm(ctx context.Context, c Claim, id string, in Confirm) (Answer, error) {
	panic("later")
}

// Capture takes money of an authorization.
func (e *Engine) Capture(ctx context.Context, c Claim, id string, in Capture) (Answer, error) {
	panic("later")
}

// Cancel releases an authorization, closes a payment that is not paid, or asks
// for the reversal of one in doubt.
func (e *Engine) Cancel(ctx context.Context, c Claim, id string, in Cancel) (Answer, error) {
	panic("later")
}

// Refund gives captured money back.
func (e *Engine) Refund(ctx context.Context, c Claim, in Refund) (Answer, error) { panic("later") }

// Payment returns a payment; with sync, the PSP is asked first (at most once in
// 2 s for each payment).
func (e *Engine) Payment(ctx context.Context, s Scope, id string, sync bool) (payment.Payment, error) {
	panic("later")
}

// RefundOf returns the payment that holds refund id.
func (e *Engine) RefundOf(ctx context.Context, s Scope, id string) (payment.Payment, error) {
	panic("later")
}

// Patch changes metadata, description and reference.
func (e *Engine) Patch(ctx context.Context, s Scope, id string, in Patch) (payment.Payment, error) {
	panic("later")
}

// Return finishes with the PSP after the payer came back, and says where to
// send the payer: the merchant's return_url with payment and status in the
// query. The token is the last part of the path that the PSP was given.
func (e *Engine) Return(ctx context.Context, token string, query map[string][]string) (location string, err error) {
	panic("later")
}

// Receive stores the verified events of one delivery of an account's PSP. When
// it returns nil they are durable; they are applied right after.
func (e *Engine) Receive(ctx context.Context, account string, events []connector.Event) error {
	panic("later")
}

// Hint tells that a delivery came that does not verify: at most a query follows.
func (e *Engine) Hint(ctx context.Context, account string) {}

// Resolution is what an operator decides where no PSP answers.
type Resolution string

// The resolutions.
const (
	ResolveSucceeded Resolution = "succeeded"
	ResolveFailed    Resolution = "failed"
	ResolveCanceled  Resolution = "canceled"
)

// Resolve settles by hand what is unknown: id is a payment's, an attempt's or a
// refund's. Reason and actor are kept in the audit.
func (e *Engine) Resolve(ctx context.Context, id string, as Resolution, reason, actor string) (payment.Payment, error) {
	panic("later")
}

// Sync asks the PSP about everything that is open in a payment, for operators.
func (e *Engine) Sync(ctx context.Context, id string) (payment.Payment, error) { panic("later") }

// Run recovers, expires and applies until ctx ends.
func (e *Engine) Run(ctx context.Context) { panic("later") }
