package alipay

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// done reads an answer with code 10000. It must say what it is about.
func done(call connector.Call, method string, a *answer) (connector.Result, error) {
	if a.OutTradeNo == "" && method != methodRefundQuery { // which says nothing where it found nothing
		return connector.Result{}, errors.New("answer does not say which out_trade_no it is about")
	}
	switch op := call.Op.(type) {
	case payment.Authorize:
		return authorized(op, method, a)
	case payment.Void:
		return voided(method, a)
	case payment.GiveBack:
		return refunded(op, a)
	case payment.Sync:
		if method == methodRefundQuery {
			return refundStands(op, a)
		}
		return stands(op, a)
	default:
		return connector.Result{}, fmt.Errorf("%s has no answer", call.Op.Kind())
	}
}

func authorized(op payment.Authorize, method string, a *answer) (connector.Result, error) {
	if method == methodPrecreate {
		return shown(op, a)
	}
	if a.TradeNo == "" {
		return connector.Result{}, errors.New("answer has no trade_no")
	}
	if method == methodCreate {
		action := &payment.NextAction{Type: payment.ActionInvokeApp, Parameters: map[string]string{"trade_no": a.TradeNo}}
		return connector.Result{State: connector.ActionRequired, PSPReference: a.TradeNo, Action: action}, nil
	}
	total, err := amount("total_amount", a.TotalAmount)
	if err != nil {
		return connector.Result{}, err
	}
	return connector.Result{
		State: connector.Succeeded, PSPReference: a.TradeNo, Amount: total,
		Charge: paid(a.TradeNo, a.OutTradeNo, total, 0),
	}, nil
}

// shown reads the code that the payer scans. Alipay has no trade before that.
func shown(op payment.Authorize, a *answer) (connector.Result, error) {
	if a.QRCode == "" || len(a.QRCode) > maxQRCode || strings.ContainsFunc(a.QRCode, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return connector.Result{}, errors.New("qr_code is missing or malformed")
	}
	var ends time.Time
	if !op.CreatedAt.IsZero() {
		ends = op.CreatedAt.Add(qrLife)
	}
	if at := op.ExpiresAt; !at.IsZero() && (ends.IsZero() || at.Before(ends)) {
		ends = at
	}
	return connector.Result{
		State:  connector.ActionRequired,
		Action: &payment.NextAction{Type: payment.ActionQRCode, Data: a.QRCode, ExpiresAt: ends},
	}, nil
}

// voided reads the answer to cancel and close.
func voided(method string, a *answer) (connector.Result, error) {
	r := connector.Result{State: connector.Canceled, PSPReference: a.TradeNo}
	switch {
	case method == methodClose:
		return r, nil
	case a.RetryFlag == "Y":
		return connector.Result{State: connector.Pending, Again: true}, nil
	case a.RetryFlag != "N":
		return connector.Result{}, fmt.Errorf("retry_flag is %.8q", a.RetryFlag)
	case a.Action == "close" || a.Action == "refund":
		return r, nil
	case a.Action == "":
		// Alipay has seen no such trade. It may yet see it, so this is for the
		// engine to ask about until "not found" can be believed.
		return connector.Result{State: connector.Pending}, nil
	}
	return connector.Result{}, fmt.Errorf("action is %.16q", a.Action)
}

// refunded reads the answer to a refund. Alipay has no name of its own for one:
// it goes by the charge's, where we know that already. fund_change N answers a repeat, and
// does not tell how the first send ended: a query does.
func refunded(op payment.GiveBack, a *answer) (connector.Result, error) {
	total, err := amount("refund_fee", a.RefundFee)
	switch {
	case err != nil:
		return connector.Result{}, err
	case a.TradeNo == "":
		return connector.Result{}, errors.New("answer has no trade_no")
	case total.Minor > op.Charge.Amount.Minor:
		return connector.Result{}, errors.New("refund_fee is more than the charge")
	}
	r := connector.Result{State: connector.Pending, PSPReference: op.Charge.PSPReference}
	r.Charge = paid(a.TradeNo, a.OutTradeNo, op.Charge.Amount, total.Minor)
	switch a.FundChange {
	case "N":
		return r, nil
	case "Y":
		if total.Minor < op.Amount.Minor {
			return connector.Result{}, errors.New("refund_fee is less than the refund")
		}
		r.State = connector.Succeeded
		return r, nil
	}
	return connector.Result{}, fmt.Errorf("fund_change is %.8q", a.FundChange)
}

// refundStands reads the answer to the query for a refund, which says nothing
// at all of one that was not received or that failed.
func refundStands(op payment.Sync, a *answer) (connector.Result, error) {
	switch {
	case a.OutRequestNo != "" && a.OutRequestNo != op.Reference:
		return connector.Result{}, errors.New("answer is about another out_request_no")
	case a.RefundStatus == "":
		return connector.Result{State: connector.NotFound}, nil
	case a.RefundStatus != "REFUND_SUCCESS":
		return connector.Result{}, fmt.Errorf("refund_status is %.32q", a.RefundStatus)
	case a.OutRequestNo == "" || a.OutTradeNo == "" || a.TradeNo == "":
		return connector.Result{}, errors.New("answer does not say which refund it is about")
	}
	sum, err := amount("refund_amount", a.RefundAmount)
	if err != nil {
		return connector.Result{}, err
	}
	return connector.Result{State: connector.Succeeded, PSPReference: op.Charge.PSPReference, Amount: sum}, nil
}

// stands reads the answer to the query for a trade.
func stands(op payment.Sync, a *answer) (connector.Result, error) {
	total, err := amount("total_amount", a.TotalAmount)
	if err != nil {
		return connector.Result{}, err
	}
	if a.TradeNo == "" {
		return connector.Result{}, errors.New("answer has no trade_no")
	}
	r := connector.Result{PSPReference: a.TradeNo, Amount: total}
	switch a.TradeStatus {
	case "WAIT_BUYER_PAY":
		r.Charge = &connector.Charge{PSPReference: a.TradeNo, Reference: a.OutTradeNo, Amount: total}
		r.State = connector.ActionRequired // the action stays as the payer knows it
		if op.Charge.Flow == payment.FlowBarcode || op.Charge.Flow == "" {
			r.State = connector.Pending // the payer confirms on the phone
		}
	case "TRADE_SUCCESS", "TRADE_FINISHED":
		// The answer does not tell of partial refunds: what we know stays.
		r.State = connector.Succeeded
		r.Charge = paid(a.TradeNo, a.OutTradeNo, total, min(op.Charge.Refunded, total.Minor))
	case "TRADE_CLOSED":
		switch was, err := everPaid(a); {
		case err != nil:
			return connector.Result{}, err
		case !was:
			r.State = connector.Canceled
		case op.Of == payment.KindVoid && op.Charge.Captured == 0:
			// Paid without our knowledge and given back: the void was done.
			r.State = connector.Canceled
		default:
			r.State = connector.Succeeded
			r.Charge = paid(a.TradeNo, a.OutTradeNo, total, total.Minor)
		}
	default:
		return connector.Result{}, fmt.Errorf("trade_status is %.32q", a.TradeStatus)
	}
	return r, nil
}

// everPaid tells a closed trade that was paid and wholly refunded from one that
// nobody paid: only the former has a time at which the money went to the
// seller, or a sum above zero that the buyer paid or the seller received.
// (Unpaid trades bear the sums as "0.00".)
func everPaid(a *answer) (bool, error) {
	if a.SendPayDate != "" {
		return true, nil
	}
	for name, value := range map[string]string{"buyer_pay_amount": a.BuyerPayAmount, "receipt_amount": a.ReceiptAmount} {
		if value == "" {
			continue
		}
		switch m, err := payment.ParseDecimal(value, "CNY"); {
		case err != nil:
			return false, fmt.Errorf("%s: %w", name, err)
		case m.Minor > 0:
			return true, nil
		}
	}
	return false, nil
}

// paid is a charge that was paid in full, as Alipay's always are.
func paid(tradeNo, reference string, total payment.Money, refunded int64) *connector.Charge {
	return &connector.Charge{
		PSPReference: tradeNo, Reference: reference, Amount: total,
		Authorized: total.Minor, Captured: total.Minor, Refunded: refunded, Released: true,
	}
}

// amount reads a sum that must be there and above zero.
func amount(name, value string) (payment.Money, error) {
	m, err := payment.ParseDecimal(value, "CNY")
	if err != nil {
		return payment.Money{}, fmt.Errorf("%s: %w", name, err)
	}
	if m.Minor < 1 {
		return payment.Money{}, fmt.Errorf("%s is %.16q", name, value)
	}
	return m, nil
}
