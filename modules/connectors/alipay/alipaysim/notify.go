package alipaysim

import (
	"bytes"
	"net/url"
	"strings"

	"github.com/purser-pay/purser/modules/simulator/books"
)

// notify queues the asynchronous notification of where a trade stands now; r
// is the refund that changed it, if one did.
func (d *Dialect) notify(op books.Operation, c *books.Charge, r *books.Refund) {
	if !strings.HasPrefix(c.NotifyURL, "http://") && !strings.HasPrefix(c.NotifyURL, "https://") {
		return
	}
	now := d.b.Now().In(zone).Format(timeForm)
	p := map[string]string{
		"notify_time": now, "notify_type": "trade_status_sync", "notify_id": d.b.Digits("2026", 30),
		"charset": "utf-8", "version": "1.0", "sign_type": "RSA2",
		"app_id": c.Account, "auth_app_id": c.Account, "seller_id": seller,
		"trade_no": c.PSPReference, "out_trade_no": c.Reference, "trade_status": tradeStatus(c),
		"total_amount": fen(c.Amount), "subject": c.Description,
		"buyer_id": buyer, "buyer_logon_id": "pay***@example.com", "gmt_create": c.Created.In(zone).Format(timeForm),
	}
	if c.Authorized > 0 {
		p["gmt_payment"] = c.PaidAt.In(zone).Format(timeForm)
		p["receipt_amount"], p["buyer_pay_amount"], p["invoice_amount"] = fen(c.Amount), fen(c.Amount), fen(c.Amount)
	}
	if tradeStatus(c) == "TRADE_CLOSED" {
		p["gmt_close"] = now
	}
	if r != nil {
		p["refund_fee"], p["gmt_refund"], p["out_biz_no"] = fen(c.Refunded), now, r.Reference
	}
	unsigned := form(p)
	p["sign"] = d.sign([]byte(signedText(p, "sign", "sign_type")))
	d.b.Webhooks.Send(books.Notice{
		Connector: Connector, Account: c.Account, Op: op, Subject: c.PSPReference, URL: c.NotifyURL,
		ContentType: "application/x-www-form-urlencoded; charset=utf-8", Body: form(p), Unsigned: unsigned,
		Accepted: func(_ int, body []byte) bool { return string(bytes.TrimSpace(body)) == "success" },
	})
}

func form(p map[string]string) []byte {
	v := url.Values{}
	for k, s := range p {
		v.Set(k, s)
	}
	return []byte(v.Encode())
}
