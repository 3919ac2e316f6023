package stripesim

import (
	"errors"
	"strings"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// createRefund is POST /v1/refunds.
func (c *call) createRefund() (document, error) {
	id, what := c.form.get("payment_intent"), "payment_intent"
	if id == "" {
		id, what = c.form.get("charge"), "charge"
	}
	if id == "" {
		return document{}, invalid("parameter_missing", "", "One of the following params should be provided for this request: payment_intent or charge.")
	}
	charge, err := c.d.b.Get(Connector, c.account, id)
	if err != nil || (what == "payment_intent") != strings.HasPrefix(id, "pi_") {
		return document{}, missing(what, id, what)
	}
	var amount int64
	if c.form.has("amount") {
		if amount, err = c.form.amount("amount"); err != nil {
			return document{}, err
		}
	}
	if c.form.has("reason") {
		if _, err := c.form.oneOf("reason", "", "duplicate", "fraudulent", "requested_by_customer"); err != nil {
			return document{}, err
		}
	}
	c.executed = true
	m := c.form.metadata()
	r := books.Refund{
		ID: c.d.b.ID("re_3", 23), Reference: Reference(m), Amount: amount, Status: payment.RefundSucceeded,
		Reason: c.form.get("reason"), Metadata: m, Created: c.d.b.Now(),
	}
	card, _ := books.FindCard(charge.Card)
	if card != nil && card.RefundLater {
		r.Status = payment.RefundPending
	}
	charge, err = c.d.b.Update(Connector, c.account, charge.PSPReference, func(p *books.Charge) error {
		if r.Amount = amount; amount == 0 {
			r.Amount = p.Refundable()
		}
		return p.Refund(r)
	})
	if err != nil {
		return document{}, refundRefused(&charge, err)
	}
	switch {
	case r.Status == payment.RefundPending:
		c.d.b.Later(c.d.b.Settle(), books.Task{Connector: Connector, Charge: charge.PSPReference, What: taskRefund, Refund: r.ID})
	case card != nil && card.RefundFails:
		c.d.b.Later(c.d.b.Settle(), books.Task{Connector: Connector, Charge: charge.PSPReference, What: taskRefundFailed, Refund: r.ID})
	}
	c.d.emit(c.op, "refund.created", &charge, r.ID)
	c.d.emit(c.op, "charge.refunded", &charge, "")
	return c.refund(&charge, r), nil
}

func refundRefused(charge *books.Charge, err error) error {
	switch {
	case errors.Is(err, books.ErrState):
		return invalid("payment_intent_unexpected_state", "payment_intent",
			"This PaymentIntent ("+charge.PSPReference+") does not have a successful charge to refund.")
	case errors.Is(err, books.ErrAmount) && charge.Refundable() == 0:
		return invalid("charge_already_refunded", "", "Charge "+charge.AttemptReference+" has already been refunded.")
	case errors.Is(err, books.ErrAmount):
		return invalid("amount_too_large", "amount", "Refund amount is greater than unrefunded amount on charge.")
	default:
		return err
	}
}

// settleRefund moves a refund on and tells it by webhook.
func (d *Dialect) settleRefund(t books.Task, to payment.RefundStatus) {
	reason := ""
	if to == payment.RefundFailed {
		reason = "expired_or_canceled_card"
	}
	charge, err := d.b.Update(Connector, "", t.Charge, func(p *books.Charge) error {
		return p.SettleRefund(t.Refund, to, reason)
	})
	if err != nil {
		return // settled otherwise meanwhile
	}
	d.emit(books.OpRefund, "refund.updated", &charge, t.Refund)
	if to == payment.RefundFailed {
		d.emit(books.OpRefund, "refund.failed", &charge, t.Refund)
	}
}

// getRefund is GET and POST /v1/refunds/{id}.
func (c *call) getRefund() (document, error) {
	charge, err := c.d.b.Get(Connector, c.account, c.id)
	r, ok := charge.FindRefund(c.id)
	if err != nil || !ok {
		return document{}, missing("refund", c.id, "id")
	}
	c.executed = true
	return c.refund(&charge, r), nil
}
