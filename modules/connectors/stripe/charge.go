package stripe

import (
	"errors"

	"github.com/purser-pay/purser/modules/connector"
)

// totals is the charge's own view of itself: the same as its PaymentIntent's,
// and what was refunded.
func (c *stripeCharge) totals() (connector.Charge, error) {
	amount, err := money(c.Amount, c.Currency)
	if err != nil {
		return connector.Charge{}, err
	}
	captured, err := money(c.AmountCaptured, c.Currency)
	if err != nil {
		return connector.Charge{}, err
	}
	refunded, err := money(c.AmountRefunded, c.Currency)
	if err != nil {
		return connector.Charge{}, err
	}
	if c.Captured == nil {
		return connector.Charge{}, errors.New("a charge that does not say whether it is captured")
	}
	ch := connector.Charge{
		PSPReference: string(c.PaymentIntent), Reference: ours(c.Metadata), Amount: amount, Livemode: c.Livemode,
		Authorized: amount.Minor, Captured: captured.Minor,
	}
	if l := (latest{c}); l.card() != nil && l.card().AmountAuthorized != nil {
		if held, err := money(l.card().AmountAuthorized, c.Currency); err == nil && held.Minor > 0 {
			ch.Authorized = held.Minor
		}
	}
	ch.Authorized = max(ch.Authorized, ch.Captured)
	// A captured charge of which a part is left may still take more captures,
	// until Stripe shows that part as refunded.
	rest := amount.Minor - captured.Minor
	ch.Released = c.Refunded || (*c.Captured && refunded.Minor >= rest)
	ch.Refunded = refundedOf(amount.Minor, captured.Minor, refunded.Minor, *c.Captured)
	return ch, nil
}

// refundedOf is how much of the captured money went back. Stripe releases what
// a capture leaves over by refunding it, and counts that in amount_refunded:
// 600 captured of 1000 shows 400 refunded. The release comes first, so it is
// what is taken off here; should Stripe ever not count it, too little is told
// and never too much.
func refundedOf(amount, captured, refunded int64, final bool) int64 {
	if !final {
		return 0 // Stripe refunds nothing before the last capture
	}
	return min(max(refunded-max(amount-captured, 0), 0), captured)
}
