package engine

import (
	"context"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// Comparison is what came of holding a payment against its PSP.
type Comparison struct {
	// Before and After are the payment as it was found and as it was left: the
	// PSP's word moves it as any answer does.
	Before, After payment.Payment
	// Held tells how far the PSP's word reaches.
	Held Held
}

// Held tells what a comparison rests on.
type Held uint8

// How far a comparison reaches, from the best to the worst: of several charges the
// worst counts.
const (
	// HeldNothing: the payment has nothing at a PSP, as far as the store knows.
	HeldNothing Held = iota
	// HeldAnswered: the PSP was asked about every charge, and answered.
	HeldAnswered
	// HeldDeaf: there is no query for it: webhooks and operators alone tell.
	HeldDeaf
	// HeldSilent: the PSP was asked and gave no answer that can be believed. No
	// operator's word stands for the answer: it is asked again.
	HeldSilent
)

// Changed tells whether the PSP's word moved the payment: another status,
// another outcome, or other sums.
func (c *Comparison) Changed() bool {
	b, a := &c.Before, &c.After
	return b.Status != a.Status || b.Outcome != a.Outcome || b.AmountCaptured() != a.AmountCaptured() ||
		b.AmountRefunded() != a.AmountRefunded() || len(b.Refunds) != len(a.Refunds)
}

// Compare asks the PSP about every charge of a payment, settled or not, and
// writes down what it says: refunds and captures that the store does not know
// are adopted, money that contradicts it sets [payment.Conflicted].
func (e *Engine) Compare(ctx context.Context, id string) (c Comparison, err error) {
	if c.Before, err = e.any(ctx, id); err != nil {
		return c, err
	}
	if _, err := e.lookAtOpen(ctx, &c.Before); err != nil {
		return c, err
	}
	if c.After, err = e.any(ctx, id); err != nil {
		return c, err
	}
	for i := range c.After.Attempts {
		a := &c.After.Attempts[i]
		if a.Kind != payment.KindAuthorize || a.PSPReference == "" && !a.Status.Open() {
			continue
		}
		held, err := e.lookOnce(ctx, c.After.ID, a.ID)
		if err != nil {
			return c, err
		}
		c.Held = max(c.Held, held)
	}
	if c.Held == HeldNothing {
		return c, nil
	}
	c.After, err = e.any(ctx, id)
	return c, err
}

// lookOnce asks about one charge.
func (e *Engine) lookOnce(ctx context.Context, id, attempt string) (Held, error) {
	p, err := e.any(ctx, id)
	if err != nil {
		return HeldNothing, err
	}
	a := p.Attempt(attempt)
	if a == nil {
		return HeldNothing, nil
	}
	acct := e.cfg.Accounts[a.Account]
	if acct == nil || !askable(a, &p, acct) {
		return HeldDeaf, nil
	}
	j := &job{payment: p.ID, attempt: a.ID, by: byQuery, fresh: &p}
	outcome, err := e.ask(ctx, j, acct)
	switch {
	case err != nil:
		return HeldSilent, err
	case outcome != connector.Answered:
		return HeldSilent, nil
	default:
		return HeldAnswered, nil
	}
}
