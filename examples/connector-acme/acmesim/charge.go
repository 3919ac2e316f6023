package acmesim

import (
	"errors"
	"net/http"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// holdLife is how long a hold lasts.
const holdLife = 7 * 24 * time.Hour

type rendered = func(off int64) []byte

// charge is POST /v1/charges. The magic cards of the books decide.
func (c *call) charge() (int, rendered, error) {
	currency, err := payment.ParseCurrency(c.Currency)
	name := c.CardToken
	if c.Card != nil {
		name = c.Card.Number
	}
	card, known := books.FindCard(name)
	if err != nil || c.Amount < 1 || c.Reference == "" || !known {
		return 0, nil, errInvalid
	}
	charge := books.Charge{
		Connector: Connector, Account: account, Reference: c.Reference, PSPReference: c.b.ID("ch_", 20),
		Currency: currency, Amount: c.Amount, Manual: !c.Capture, Card: card.Token, Status: payment.Processing,
	}
	if card.Decline != nil {
		err = charge.Decline(*card.Decline)
	} else {
		err = charge.Authorize(c.b.Now())
	}
	if err != nil {
		return 0, nil, err
	}
	if charge, err = c.b.Create(charge, true); err != nil {
		return 0, nil, errTaken
	}
	return http.StatusCreated, chargeOf(charge), nil
}

// change moves the charge that the path names.
func (c *call) change(fn func(*books.Charge) error) (int, rendered, error) {
	charge, err := c.b.ByReference(Connector, account, c.named)
	if err != nil {
		return 0, nil, errNoCharge
	}
	charge, err = c.b.Update(Connector, account, charge.PSPReference, fn)
	switch {
	case errors.Is(err, books.ErrAmount):
		return 0, nil, errTooLarge
	case err != nil:
		return 0, nil, errState
	}
	return http.StatusOK, chargeOf(charge), nil
}

// capture is POST /v1/charges/{reference}/capture.
func (c *call) capture() (int, rendered, error) {
	return c.change(func(p *books.Charge) error { return p.Capture(c.Amount, true) })
}

// void is POST /v1/charges/{reference}/void.
func (c *call) void() (int, rendered, error) {
	return c.change(func(p *books.Charge) error { return p.Void(c.b.Now()) })
}

// charged is GET /v1/charges/{reference}.
func (c *call) charged() (int, rendered, error) {
	charge, err := c.b.ByReference(Connector, account, c.named)
	if err != nil {
		return 0, nil, errNoCharge
	}
	return http.StatusOK, chargeOf(charge), nil
}

// refund is POST /v1/refunds.
func (c *call) refund() (int, rendered, error) {
	c.named = c.ChargeReference
	re := books.Refund{
		ID: c.b.ID("re_", 20), Reference: c.Reference, Amount: c.Amount, Status: payment.RefundSucceeded, Created: c.b.Now(),
	}
	if re.Reference == "" {
		return 0, nil, errInvalid
	}
	_, _, err := c.change(func(p *books.Charge) error {
		if _, taken := p.FindRefund(re.Reference); taken {
			return books.ErrDuplicate
		}
		return p.Refund(re)
	})
	if err != nil {
		return 0, nil, err
	}
	charge, err := c.b.ByReference(Connector, account, c.named)
	return http.StatusCreated, refundOf(charge, re), err
}

// refunded is GET /v1/refunds/{reference}.
func (c *call) refunded() (int, rendered, error) {
	found := c.b.Select(1, 0, func(p *books.Charge) bool {
		_, ok := p.FindRefund(c.named)
		return ok
	})
	if len(found) == 0 {
		return 0, nil, errNoRefund
	}
	re, _ := found[0].FindRefund(c.named)
	return http.StatusOK, refundOf(found[0], re), nil
}

// words are Acme's, of the books' statuses.
var words = map[payment.Status]string{
	payment.Processing: "pending", payment.RequiresCapture: "authorized", payment.Succeeded: "captured",
	payment.Failed: "declined", payment.Canceled: "voided", payment.Expired: "expired",
}

// declineCodes are Acme's, of the codes and decline codes of the magic cards.
var declineCodes = map[string]string{
	"insufficient_funds": "insufficient_funds", "lost_card": "lost_card", "stolen_card": "stolen_card",
	"fraudulent": "suspected_fraud", "expired_card": "expired_card", "incorrect_cvc": "invalid_cvc",
	"processing_error": "issuer_unavailable", "card_velocity_exceeded": "limit_exceeded",
}

func chargeOf(p books.Charge) rendered {
	return func(off int64) []byte {
		o := books.NewDocument(512).Text("id", p.PSPReference).Text("reference", p.Reference).Text("status", words[p.Status]).
			Int("amount", p.Amount+off).Text("currency", string(p.Currency)).
			Int("authorized", p.Authorized).Int("captured", p.Captured).Int("refunded", p.Refunded).Bool("live", false)
		if f := p.Failure; f != nil {
			code, known := declineCodes[f.DeclineCode]
			if !known {
				code, known = declineCodes[f.Code]
			}
			if !known {
				code = "do_not_honor"
			}
			o.Text("decline_code", code).Text("decline_message", f.Message)
		}
		if p.Status == payment.RequiresCapture {
			o.Text("hold_until", p.PaidAt.Add(holdLife).UTC().Format(time.RFC3339))
		}
		if card, ok := books.FindCard(p.Card); ok {
			o.Open("card").Text("brand", card.Brand()).Text("last4", card.Last4()).Int("exp_month", 12).Int("exp_year", 2034).Close()
		}
		return o.Bytes()
	}
}

func refundOf(p books.Charge, re books.Refund) rendered {
	return func(off int64) []byte {
		return books.NewDocument(256).Text("id", re.ID).Text("reference", re.Reference).
			Text("charge_id", p.PSPReference).Text("charge_reference", p.Reference).
			Int("amount", re.Amount+off).Text("currency", string(p.Currency)).Text("status", string(re.Status)).
			Bool("live", false).Bytes()
	}
}
