package adyensim

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// What the agenda holds, in the first word of a task.
const (
	taskCapture       = "capture"
	taskCaptureFailed = "capture_failed"
	taskCancel        = "cancel"
	taskRefund        = "refund"
	taskRefundFailed  = "refund_failed"
	taskFinish        = "finish"
)

// charge finds the payment that a modification names.
func (c *call) charge() (books.Charge, error) {
	charge, err := c.d.b.Get(Connector, c.MerchantAccount, c.psp)
	if err != nil || len(c.Reference) > maxReference {
		return charge, invalid("167", "Original pspReference required for this operation")
	}
	return charge, nil
}

// taken answers a modification with "received", and schedules what comes of it.
func (c *call) taken(psp, what string, m payment.Money, charge *books.Charge) answer {
	c.executed = true
	task := books.Task{Connector: Connector, What: strings.Join([]string{what, psp, c.Reference, strconv.FormatInt(m.Minor, 10), c.path}, " ")}
	if charge != nil {
		task.Charge = charge.PSPReference
	} else {
		task.What += " " + c.PaymentReference + " " + c.MerchantAccount
	}
	c.d.b.Later(c.d.b.Settle(), task)
	return answer{http.StatusCreated, func(off int64) []byte {
		o := books.NewDocument(256).Text("merchantAccount", c.MerchantAccount).Text("pspReference", psp).
			Some("reference", c.Reference).Text("status", "received")
		if c.psp != "" {
			o.Text("paymentPspReference", c.psp)
		} else {
			o.Text("paymentReference", c.PaymentReference)
		}
		if m.Minor > 0 {
			written(o, m, off)
		}
		return o.Bytes()
	}}
}

// fresh makes a pspReference.
func (d *Dialect) fresh() string { return strings.ToUpper(d.b.ID("", referenceLen)) }

// capture is POST /payments/{pspReference}/captures.
func (c *call) capture() (answer, error) {
	charge, err := c.charge()
	if err != nil {
		return answer{}, err
	}
	m, err := c.Amount.money()
	if err != nil {
		return answer{}, err
	}
	if m.Currency != charge.Currency {
		return answer{}, invalid("138", "Currency does not match that of the payment")
	}
	return c.taken(c.d.fresh(), taskCapture, m, &charge), nil
}

// refund is POST /payments/{pspReference}/refunds. The money is set aside at
// once, and the outcome comes later.
func (c *call) refund() (answer, error) {
	charge, err := c.charge()
	if err != nil {
		return answer{}, err
	}
	m, err := c.Amount.money()
	if err != nil {
		return answer{}, err
	}
	psp := c.d.fresh()
	charge, err = c.d.b.Update(Connector, c.MerchantAccount, c.psp, func(p *books.Charge) error {
		return p.Refund(books.Refund{ID: psp, Reference: c.Reference, Amount: m.Minor, Status: payment.RefundPending, Created: c.d.b.Now()})
	})
	if err != nil {
		return answer{}, invalid("170", "Insufficient balance on payment")
	}
	return c.taken(psp, taskRefund, m, &charge), nil
}

// cancel is POST /cancels, and /payments/{pspReference}/cancels.
func (c *call) cancel() (answer, error) {
	if c.psp == "" {
		if c.PaymentReference == "" {
			return answer{}, invalid("130", "Required field 'paymentReference' is not provided.")
		}
		return c.taken(c.d.fresh(), taskCancel, payment.Money{}, nil), nil
	}
	charge, err := c.charge()
	if err != nil {
		return answer{}, err
	}
	return c.taken(c.d.fresh(), taskCancel, payment.Money{}, &charge), nil
}

// due does what was scheduled, and tells of it.
func (d *Dialect) due(t books.Task) {
	words := append(strings.Split(t.What, " "), "", "", "", "", "", "", "")
	what, psp, reference := words[0], words[1], words[2]
	minor, _ := strconv.ParseInt(words[3], 10, 64)
	if t.Charge == "" { // a cancel by our client's reference
		if charge, err := d.b.ByReference(Connector, words[6], words[5]); err == nil {
			t.Charge = charge.PSPReference
		}
	}
	charge, err := d.b.Get(Connector, "", t.Charge)
	if err != nil {
		if what == taskCancel { // there is no such payment
			charge = books.Charge{Connector: Connector, Account: words[6], Reference: words[5], Currency: "EUR"}
			d.notify(books.OpVoid, event{code: "TECHNICAL_CANCEL", charge: &charge, psp: psp, reference: words[5], reason: "Transaction not found"})
		}
		return
	}
	e := event{charge: &charge, psp: psp, original: t.Charge, reference: reference, amount: minor, success: true}
	switch what {
	case taskFinish:
		d.returned(t.Charge)
	case taskCapture:
		d.captured(e)
	case taskCaptureFailed:
		e.code, e.reason = "CAPTURE_FAILED", "Capture Failed"
		d.notify(books.OpCapture, e)
	case taskCancel:
		d.canceled(e, words[5] != "")
	case taskRefund:
		d.refunded(e)
	case taskRefundFailed:
		e.code, e.reason = "REFUND_FAILED", "Refund Failed"
		if _, err := d.b.Update(Connector, "", t.Charge, func(p *books.Charge) error {
			return p.SettleRefund(psp, payment.RefundFailed, e.reason)
		}); err == nil {
			d.notify(books.OpRefund, e)
		}
	}
}

func (d *Dialect) captured(e event) {
	_, err := d.b.Update(Connector, "", e.original, func(p *books.Charge) error {
		if card, ok := books.FindCard(p.Card); ok && card.OnCapture != nil {
			return books.ErrState
		}
		return p.Capture(e.amount, true)
	})
	e.code = "CAPTURE"
	if err != nil {
		e.success, e.reason = false, "Insufficient balance on payment"
	}
	d.notify(books.OpCapture, e)
	if err == nil && e.charge.Code == CaptureFails {
		d.again(taskCaptureFailed, e)
	}
}

// canceled ends a hold, or a payment that nobody has paid yet. What was captured
// stays.
func (d *Dialect) canceled(e event, technical bool) {
	charge, err := d.b.Update(Connector, "", e.original, func(p *books.Charge) error {
		if p.Captured > 0 || p.Status == payment.Failed {
			return books.ErrState
		}
		return p.Void(d.b.Now())
	})
	e.code, e.amount = "CANCELLATION", charge.Amount
	if technical {
		e.code, e.reference = "TECHNICAL_CANCEL", charge.Reference
	}
	if err != nil {
		e.success, e.reason = false, "Transaction has already been captured, or is not authorised"
	}
	d.notify(books.OpVoid, e)
}

func (d *Dialect) refunded(e event) {
	if _, err := d.b.Update(Connector, "", e.original, func(p *books.Charge) error {
		return p.SettleRefund(e.psp, payment.RefundSucceeded, "")
	}); err != nil {
		return
	}
	e.code = "REFUND"
	d.notify(books.OpRefund, e)
	if e.charge.Code == RefundFails {
		d.again(taskRefundFailed, e)
	}
}

// again schedules what the card scheme says later.
func (d *Dialect) again(what string, e event) {
	d.b.Later(d.b.Settle(), books.Task{
		Connector: Connector, Charge: e.original,
		What: strings.Join([]string{what, e.psp, e.reference, strconv.FormatInt(e.amount, 10)}, " "),
	})
}
