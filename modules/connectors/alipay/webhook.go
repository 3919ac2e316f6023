package alipay

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// Alipay's largest notifications carry lists of coupons; these bounds are far
// above them.
const (
	maxNotification = 64 << 10 // bytes
	maxParameters   = 100
)

// VerifyWebhook checks a notification: RSA2 over its parameters, URL-decoded,
// without sign and sign_type. The scheme knows no time; a notification that
// comes again tells the same facts again.
func (c *Connector) VerifyWebhook(d connector.Delivery) error {
	if err := c.verifyWebhook(d); err != nil {
		return fmt.Errorf("%w: %w", connector.ErrSignature, err)
	}
	return nil
}

func (c *Connector) verifyWebhook(d connector.Delivery) error {
	keys, err := c.loaded()
	if err != nil {
		return err
	}
	if d.Method != http.MethodPost {
		return errors.New("method is not POST")
	}
	p, err := form(d.Body)
	if err != nil {
		return err
	}
	if p.Get("sign_type") != "RSA2" {
		return errors.New("sign_type is not RSA2")
	}
	if set := p.Get("charset"); set != "" && !strings.EqualFold(set, "utf-8") {
		return errors.New("charset is not utf-8")
	}
	sign := p.Get("sign")
	p.Del("sign_type")
	if !keys.verify([]byte(signText(p)), sign) {
		return errors.New("sign does not verify")
	}
	if p.Get("app_id") != c.AppID {
		return errors.New("app_id is another application's")
	}
	return nil
}

// form reads a form in which every name stands once, so that nobody can read
// another value than was signed.
func form(body []byte) (url.Values, error) {
	if len(body) > maxNotification {
		return nil, errors.New("notification is too large")
	}
	p, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errors.New("body is not a form")
	}
	if len(p) > maxParameters || strings.Count(string(body), "&") != len(p)-1 {
		return nil, errors.New("form has a name twice, an empty pair, or too many names")
	}
	for name := range p {
		if name == "" {
			return nil, errors.New("form has a value without a name")
		}
	}
	return p, nil
}

// DecodeWebhook reads the news of a trade, and of a refund where there is one.
// out_biz_no is the out_request_no of the refund; refund_fee is the sum of all
// refunds of the trade, so that a refund's own amount is not told.
func (*Connector) DecodeWebhook(d connector.Delivery) ([]connector.Event, error) {
	p, err := form(d.Body)
	if err != nil {
		return nil, fmt.Errorf("alipay: %w", err)
	}
	if p.Get("trade_status") == "" {
		return nil, nil // of another product
	}
	charge, err := tradeEvent(p)
	if err != nil {
		return nil, fmt.Errorf("alipay: %w", err)
	}
	events := []connector.Event{charge}
	number := p.Get("out_biz_no")
	if number == "" {
		number = p.Get("out_request_no")
	}
	if number != "" && p.Get("refund_fee") != "" {
		if !simple(number, maxTradeNo) {
			return nil, errors.New("alipay: out_biz_no is malformed")
		}
		events = append(events, connector.Event{
			ID: charge.ID, Of: payment.KindRefund, Reference: number, ChargePSPReference: charge.PSPReference,
			Result: connector.Result{State: connector.Succeeded, Charge: charge.Result.Charge},
		})
	}
	return events, nil
}

// tradeEvent reads where a trade stands.
func tradeEvent(p url.Values) (connector.Event, error) {
	e := connector.Event{
		ID: p.Get("notify_id"), Of: payment.KindAuthorize,
		Reference: p.Get("out_trade_no"), PSPReference: p.Get("trade_no"),
	}
	if !simple(e.Reference, maxTradeNo) || !simple(e.PSPReference, maxTradeNo) || len(e.ID) > 2*maxTradeNo {
		return e, errors.New("out_trade_no, trade_no or notify_id is missing or malformed")
	}
	total, err := amount("total_amount", p.Get("total_amount"))
	if err != nil {
		return e, err
	}
	var back payment.Money
	if fee := p.Get("refund_fee"); fee != "" {
		if back, err = payment.ParseDecimal(fee, "CNY"); err != nil || back.Minor > total.Minor {
			return e, errors.New("refund_fee is malformed or more than total_amount")
		}
	}
	r := connector.Result{PSPReference: e.PSPReference, Amount: total}
	switch status := p.Get("trade_status"); status {
	case "WAIT_BUYER_PAY":
		r.State = connector.Pending
	case "TRADE_SUCCESS", "TRADE_FINISHED":
		r.State, r.Charge = connector.Succeeded, paid(e.PSPReference, e.Reference, total, back.Minor)
	case "TRADE_CLOSED":
		r.State = connector.Canceled
		if p.Get("gmt_payment") != "" || back.Minor > 0 { // paid, and given back
			r.State, r.Charge = connector.Succeeded, paid(e.PSPReference, e.Reference, total, total.Minor)
		}
	default:
		return e, fmt.Errorf("trade_status is %.32q", status)
	}
	e.Result = r
	return e, nil
}

// Acknowledge is the word that Alipay waits for; with any other it delivers
// again for a day.
func (*Connector) Acknowledge() connector.Acknowledgement {
	return connector.Acknowledgement{StatusCode: http.StatusOK, ContentType: "text/plain; charset=utf-8", Body: "success"}
}
