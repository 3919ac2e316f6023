package books

import (
	"fmt"
	"slices"
	"time"

	"github.com/purser-pay/purser/modules/payment"
)

// Charge is one charge: a PaymentIntent at Stripe, a trade at Alipay. Its
// amounts are minor units of Currency, and hold
//
//	0 ≤ Refunded ≤ Captured ≤ Authorized,  Captured + Released ≤ Authorized
//
// because only the methods below move them. Copies share maps and slices,
// which are replaced, never written to.
type Charge struct {
	Connector    string           `json:"connector"`
	Reference    string           `json:"reference"` // our client's
	PSPReference string           `json:"psp_reference"`
	Currency     payment.Currency `json:"currency"`
	Authorized   int64            `json:"authorized"` // ever; a void does not lower it
	Captured     int64            `json:"captured"`
	Refunded     int64            `json:"refunded"` // pending and succeeded refunds
	Status       Status           `json:"status"`

	Account  string            `json:"account"`
	Amount   int64             `json:"amount"` // asked for
	Released int64             `json:"released"`
	Metadata map[string]string `json:"metadata,omitzero"`
	Refunds  []Refund          `json:"refunds,omitzero"`
	Created  time.Time         `json:"created"`
	Updated  time.Time         `json:"updated"`

	Manual       bool   `json:"manual,omitzero"`        // capture is a step of its own
	MultiCapture bool   `json:"multi_capture,omitzero"` // more than one capture is taken
	Method       string `json:"method,omitzero"`        // stored method's ID, or a wallet's flow
	Card         string `json:"card,omitzero"`          // a Card's Token
	// AttemptReference is the PSP's name of the latest attempt: ch_… at Stripe.
	AttemptReference string   `json:"attempt_reference,omitzero"`
	Failure          *Failure `json:"failure,omitzero"`
	Challenge        string   `json:"challenge,omitzero"`
	Authenticated    bool     `json:"authenticated,omitzero"` // the payer passed a challenge

	Description  string    `json:"description,omitzero"`
	Statement    string    `json:"statement,omitzero"`
	Customer     string    `json:"customer,omitzero"`
	Secret       string    `json:"client_secret,omitzero"` // Stripe's client_secret, which opens nothing here
	ReturnURL    string    `json:"return_url,omitzero"`
	NotifyURL    string    `json:"notify_url,omitzero"`
	CancelReason string    `json:"cancel_reason,omitzero"`
	CaptureMode  string    `json:"capture_mode,omitzero"` // the dialect's word for Manual
	Types        string    `json:"types,omitzero"`        // the dialect's method types, comma-separated
	Flow         string    `json:"flow,omitzero"`         // how the payer pays: barcode, qr, page …
	Code         string    `json:"code,omitzero"`         // the row of AuthCodes or QRAmounts in play
	Seen         bool      `json:"seen,omitzero"`         // the payer has opened it; Alipay knows no trade before
	Queries      int       `json:"queries,omitzero"`      // asked since the payer had to act
	Repeats      int       `json:"repeats,omitzero"`      // cancels that asked to be repeated
	Deadline     time.Time `json:"deadline,omitzero"`     // unpaid after that: closed
	PaidAt       time.Time `json:"paid_at,omitzero"`
	CanceledAt   time.Time `json:"canceled_at,omitzero"`
}

// Refund is one refund of a charge.
type Refund struct {
	ID        string               `json:"id"`
	Reference string               `json:"reference,omitzero"` // our client's
	Amount    int64                `json:"amount"`
	Status    payment.RefundStatus `json:"status"`
	Reason    string               `json:"reason,omitzero"`
	Metadata  map[string]string    `json:"metadata,omitzero"`
	Failure   string               `json:"failure,omitzero"`
	Created   time.Time            `json:"created"`
}

// Failure is why the latest attempt failed, in the PSP's words.
type Failure struct {
	Code        string `json:"code"`
	DeclineCode string `json:"decline_code,omitzero"`
	Message     string `json:"message,omitzero"`
	Advice      string `json:"advice,omitzero"`
	NetworkCode string `json:"network_code,omitzero"`
	Param       string `json:"param,omitzero"`
}

// Capturable is what can still be captured.
func (c *Charge) Capturable() int64 {
	if c.Status != payment.RequiresCapture {
		return 0
	}
	return c.Authorized - c.Captured - c.Released
}

// Refundable is what can still be refunded.
func (c *Charge) Refundable() int64 { return c.Captured - c.Refunded }

// Authorize books an approved attempt: everything asked for is held, and
// captured too where capture is not a step of its own.
func (c *Charge) Authorize(now time.Time) error {
	if c.Status.Terminal() && c.Status != payment.Failed || c.Authorized > 0 {
		return fmt.Errorf("%w: authorize in %s", ErrState, c.Status)
	}
	c.Authorized, c.Failure = c.Amount, nil
	c.PaidAt = now
	if c.Manual {
		c.Status = payment.RequiresCapture
		return nil
	}
	c.Captured, c.Status = c.Amount, payment.Succeeded
	return nil
}

// Decline books a refused attempt.
func (c *Charge) Decline(f Failure) error {
	if c.Status.Terminal() && c.Status != payment.Failed || c.Authorized > 0 {
		return fmt.Errorf("%w: decline in %s", ErrState, c.Status)
	}
	c.Failure, c.Status = &f, payment.Failed
	return nil
}

// Capture takes amount of what is held; final releases the rest. Without
// MultiCapture every capture is final.
func (c *Charge) Capture(amount int64, final bool) error {
	if c.Status != payment.RequiresCapture {
		return fmt.Errorf("%w: capture in %s", ErrState, c.Status)
	}
	rest := c.Capturable()
	if amount < 0 || amount > rest || (amount == 0 && (c.Captured == 0 || !final)) {
		return fmt.Errorf("%w: capture %d of %d", ErrAmount, amount, rest)
	}
	c.Captured += amount
	if final || !c.MultiCapture || amount == rest {
		c.Released += rest - amount
		c.Status = payment.Succeeded
	}
	return nil
}

// Void releases what is held, or closes what was never paid. Money already
// captured stays, and the charge is then succeeded.
func (c *Charge) Void(now time.Time) error {
	if c.Status.Terminal() && c.Status != payment.Failed {
		return fmt.Errorf("%w: void in %s", ErrState, c.Status)
	}
	c.Released += c.Capturable()
	c.Status, c.CanceledAt = payment.Canceled, now
	if c.Captured > 0 {
		c.Status, c.CanceledAt = payment.Succeeded, time.Time{}
	}
	return nil
}

// Expire closes what was not paid in time.
func (c *Charge) Expire(now time.Time) error {
	if c.Status.Terminal() || c.Authorized > 0 {
		return fmt.Errorf("%w: expire in %s", ErrState, c.Status)
	}
	c.Status, c.CanceledAt = payment.Expired, now
	return nil
}

// Refund books a refund of r.Amount, pending or succeeded.
func (c *Charge) Refund(r Refund) error {
	if c.Captured == 0 {
		return fmt.Errorf("%w: refund in %s", ErrState, c.Status)
	}
	if r.Amount <= 0 || r.Amount > c.Refundable() {
		return fmt.Errorf("%w: refund %d of %d", ErrAmount, r.Amount, c.Refundable())
	}
	c.Refunded += r.Amount
	c.Refunds = append(slices.Clip(slices.Clone(c.Refunds)), r)
	return nil
}

// SettleRefund moves a refund on: pending to succeeded or failed, and succeeded
// to failed, in which case the money is back on the charge.
func (c *Charge) SettleRefund(id string, to payment.RefundStatus, reason string) error {
	i := slices.IndexFunc(c.Refunds, func(r Refund) bool { return r.ID == id })
	if i < 0 {
		return ErrNotFound
	}
	if from := c.Refunds[i].Status; from == payment.RefundFailed || from == to || to == payment.RefundPending {
		return fmt.Errorf("%w: refund %s to %s", ErrState, from, to)
	}
	c.Refunds = slices.Clone(c.Refunds)
	r := &c.Refunds[i]
	if r.Status = to; to == payment.RefundFailed {
		r.Failure = reason
		c.Refunded -= r.Amount
	}
	return nil
}

// FindRefund finds a refund by the PSP's name or by our client's.
func (c *Charge) FindRefund(name string) (Refund, bool) {
	for _, r := range c.Refunds {
		if r.ID == name || (r.Reference != "" && r.Reference == name) {
			return r, true
		}
	}
	return Refund{}, false
}
