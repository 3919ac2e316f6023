package alipaysim

import (
	"errors"
	"strings"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

var errDiscordant = errors.New("same out_request_no, other amount")

// refund is alipay.trade.refund. Under one out_request_no money moves once;
// refund_fee is the sum of the trade's refunds, send_back_fee this one's.
func (c *call) refund() result {
	amount, ok := yuan(c.biz.RefundAmount)
	if !ok {
		return parameter("refund_amount: 0.01 to 100000000, at most two decimals")
	}
	charge, no := c.load()
	if no != nil {
		return *no
	}
	request := c.biz.OutRequestNo
	if request == "" {
		if amount != charge.Captured {
			return parameter("out_request_no: needed for a partial refund")
		}
		request = charge.Reference
	}
	if len(request) > 64 {
		return parameter("out_request_no: at most 64 characters")
	}
	r := books.Refund{
		ID: c.d.b.Digits("", 24), Reference: request, Amount: amount, Status: payment.RefundSucceeded,
		Reason: c.biz.RefundReason, Created: c.d.b.Now(),
	}
	changed := false
	charge, err := c.d.b.Update(Connector, c.account, charge.PSPReference, func(p *books.Charge) error {
		if have, ok := p.FindRefund(request); ok {
			if r = have; have.Amount != amount {
				return errDiscordant
			}
			return nil
		}
		if strings.HasSuffix(fen(amount), books.RefundTooPoor) {
			return errTooPoor
		}
		changed = true
		return p.Refund(r)
	})
	switch {
	case errors.Is(err, errDiscordant):
		return refused("ACQ.DISCORDANT_REPEAT_REQUEST")
	case errors.Is(err, errTooPoor):
		return refused("ACQ.SELLER_BALANCE_NOT_ENOUGH")
	case errors.Is(err, books.ErrAmount) && charge.Refundable() == 0:
		return refused("ACQ.TRADE_HAS_CLOSE")
	case errors.Is(err, books.ErrAmount):
		return refused("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL")
	case err != nil:
		return refused("ACQ.TRADE_STATUS_ERROR")
	}
	if changed {
		c.d.notify(c.op, &charge, &r)
	}
	return success(func(o *books.Document, off int64) {
		o.Text("out_trade_no", charge.Reference).Text("trade_no", charge.PSPReference).Text("buyer_logon_id", "pay***@example.com").
			Text("buyer_user_id", buyer).Text("fund_change", map[bool]string{true: "Y", false: "N"}[changed]).
			Text("refund_fee", fen(charge.Refunded+off)).Text("send_back_fee", fen(r.Amount+off)).
			Text("gmt_refund_pay", r.Created.In(zone).Format(timeForm))
	})
}

var errTooPoor = errors.New("the seller's balance does not suffice")

// refundQuery is alipay.trade.fastpay.refund.query: without refund_status the
// refund was not received.
func (c *call) refundQuery() result {
	charge, no := c.load()
	if no != nil {
		return *no
	}
	if c.biz.OutRequestNo == "" {
		return parameter("out_request_no")
	}
	r, ok := charge.FindRefund(c.biz.OutRequestNo)
	if !ok {
		return success(nil)
	}
	return success(func(o *books.Document, off int64) {
		o.Text("out_trade_no", charge.Reference).Text("trade_no", charge.PSPReference).Text("out_request_no", r.Reference).
			Text("total_amount", fen(charge.Amount)).Text("refund_amount", fen(r.Amount+off)).Text("refund_status", "REFUND_SUCCESS").
			Text("gmt_refund_pay", r.Created.In(zone).Format(timeForm))
	})
}
