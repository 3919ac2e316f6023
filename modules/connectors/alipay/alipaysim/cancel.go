package alipaysim

import (
	"errors"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// cancelWindow is how long after its creation a trade can be canceled.
const cancelWindow = 24 * time.Hour

// cancel is alipay.trade.cancel: it closes what was not paid and refunds what
// was. A trade that does not exist is canceled without an action.
func (c *call) cancel() result {
	charge, no := c.load()
	if no != nil && (no.invalid || charge.PSPReference == "") {
		if no.invalid {
			return *no
		}
		return c.canceled(&books.Charge{Reference: c.biz.OutTradeNo}, "", "N")
	}
	if c.d.b.Now().Sub(charge.Created) > cancelWindow {
		return refused("ACQ.TRADE_CANCEL_TIME_OUT")
	}
	payer, _ := books.FindPayer(books.AuthCodes, charge.Code)
	again := false
	action := ""
	r := books.Refund{ID: c.d.b.Digits("", 24), Reference: "cancel", Status: payment.RefundSucceeded, Created: c.d.b.Now()}
	charge, err := c.d.b.Update(Connector, c.account, charge.PSPReference, func(p *books.Charge) error {
		if charge.Flow == flowCode && p.Repeats < payer.CancelAgain {
			p.Repeats++
			again = true
			return nil
		}
		_, done := p.FindRefund("cancel")
		switch {
		case done:
			action = "refund"
			return books.ErrState
		case p.Refundable() > 0:
			action, r.Amount = "refund", p.Refundable()
			return p.Refund(r)
		case p.Status == payment.RequiresAction || p.Status == payment.Failed:
			action = "close"
			return p.Void(c.d.b.Now())
		default:
			action = "close"
			return books.ErrState // closed before
		}
	})
	switch {
	case again && charge.Repeats%2 == 0:
		no := refused("AQC.SYSTEM_ERROR")
		no.more = func(o *books.Document, _ int64) { o.Text("retry_flag", "Y") }
		return no
	case again:
		return c.canceled(&charge, "", "Y")
	case err == nil && action == "refund":
		c.d.notify(c.op, &charge, &r)
	case err == nil && charge.Seen:
		c.d.notify(c.op, &charge, nil)
	case err != nil && !errors.Is(err, books.ErrState):
		return refused("AQC.SYSTEM_ERROR")
	}
	return c.canceled(&charge, action, "N")
}

func (c *call) canceled(charge *books.Charge, action, retry string) result {
	ch := *charge
	return success(func(o *books.Document, _ int64) {
		o.Text("out_trade_no", ch.Reference).Some("trade_no", ch.PSPReference).Text("retry_flag", retry).Some("action", action)
	})
}

// close is alipay.trade.close, for unpaid trades only. A QR code that nobody
// has scanned is no trade yet: it stays payable.
func (c *call) close() result {
	charge, no := c.load()
	if no != nil {
		return *no
	}
	charge, err := c.d.b.Update(Connector, c.account, charge.PSPReference, func(p *books.Charge) error {
		if p.Status != payment.RequiresAction {
			return books.ErrState
		}
		return p.Void(c.d.b.Now())
	})
	if err != nil {
		return refused("ACQ.TRADE_STATUS_ERROR")
	}
	c.d.notify(c.op, &charge, nil)
	return success(func(o *books.Document, _ int64) {
		o.Text("out_trade_no", charge.Reference).Text("trade_no", charge.PSPReference)
	})
}
