package alipaysim

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

var (
	tradeForm = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)
	codeForm  = regexp.MustCompile(`^(2[5-9]|30)\d{14,22}$`)
	yuanForm  = regexp.MustCompile(`^\d{1,9}(\.\d{1,2})?$`)
)

// The flows of a trade, as the books name them.
const (
	flowCode   = "barcode"
	flowQR     = "qr"
	flowCreate = "mini_program"
	flowPage   = "page"
)

// maxYuan is the largest amount of a trade, in fen (100,000,000.00 yuan).
const maxYuan = 100_000_000_00

func yuan(s string) (int64, bool) {
	m, err := payment.ParseDecimal(s, "CNY")
	return m.Minor, err == nil && yuanForm.MatchString(s) && m.Minor >= 1 && m.Minor <= maxYuan
}

func fen(minor int64) string { return payment.Money{Minor: minor, Currency: "CNY"}.Decimal() }

// fresh reads what every new trade needs.
func (c *call) fresh(flow string) (books.Charge, *result) {
	no := func(why string) (books.Charge, *result) {
		r := parameter(why)
		return books.Charge{}, &r
	}
	amount, ok := yuan(c.biz.TotalAmount)
	switch {
	case !tradeForm.MatchString(c.biz.OutTradeNo):
		return no("out_trade_no: 1 to 64 letters, digits or underscores")
	case !ok:
		return no("total_amount: 0.01 to 100000000, at most two decimals")
	case c.biz.Subject == "" || len([]rune(c.biz.Subject)) > 256:
		return no("subject: 1 to 256 characters")
	}
	deadline, ok := c.deadline()
	if !ok {
		return no("time_expire or timeout_express")
	}
	if !deadline.IsZero() && !deadline.After(c.d.b.Now()) {
		r := refused("ACQ.NOW_TIME_AFTER_EXPIRE_TIME_ERROR")
		return books.Charge{}, &r
	}
	now := c.d.b.Now()
	return books.Charge{
		Connector: Connector, Account: c.account, Reference: c.biz.OutTradeNo,
		PSPReference: c.d.b.Digits(now.In(zone).Format("20060102")+"22001", 15),
		Currency:     "CNY", Amount: amount, Status: payment.RequiresAction, Flow: flow, Description: c.biz.Subject,
		Challenge: c.d.b.ID("bax", 21), NotifyURL: c.params["notify_url"], ReturnURL: c.params["return_url"], Deadline: deadline,
	}, nil
}

var timeoutForm = regexp.MustCompile(`^(\d{1,5})([mhd])$`)

func (c *call) deadline() (time.Time, bool) {
	if s := c.biz.TimeExpire; s != "" {
		t, err := time.ParseInLocation(timeForm, s, zone)
		return t, err == nil
	}
	s := c.biz.TimeoutExpress
	if s == "" {
		s = c.biz.QRTimeout
	}
	if s == "" || s == "1c" {
		return time.Time{}, true
	}
	m := timeoutForm.FindStringSubmatch(s)
	if m == nil {
		return time.Time{}, false
	}
	n, err := strconv.Atoi(m[1])
	unit := map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[m[2]]
	return c.d.b.Now().Add(time.Duration(n) * unit), err == nil
}

// book creates the trade, or finds the one under the same out_trade_no: with
// the same data it stands as it stands, with other data it is refused.
func (c *call) book(fresh books.Charge) (charge books.Charge, known bool, no *result) {
	charge, err := c.d.b.Create(fresh, true)
	if err == nil {
		return charge, false, nil
	}
	charge = c.d.touch(charge)
	if charge.Amount != fresh.Amount || charge.Flow != fresh.Flow {
		r := refused("ACQ.CONTEXT_INCONSISTENT")
		return charge, true, &r
	}
	return charge, true, nil
}

// touch lets time pass for an unpaid trade: past its deadline it is closed.
func (d *Dialect) touch(c books.Charge) books.Charge {
	if c.Deadline.IsZero() || c.Status.Terminal() || !d.b.Now().After(c.Deadline) {
		return c
	}
	closed, err := d.b.Update(Connector, c.Account, c.PSPReference, func(p *books.Charge) error { return p.Expire(d.b.Now()) })
	if err == nil && closed.Seen {
		d.notify(books.OpAuthorize, &closed, nil)
	}
	return closed
}

// load finds the trade that a request names, by trade_no first. What the payer
// has not opened yet, or what was refused, is no trade.
func (c *call) load() (books.Charge, *result) {
	if c.biz.TradeNo == "" && c.biz.OutTradeNo == "" {
		r := parameter("trade_no or out_trade_no")
		return books.Charge{}, &r
	}
	var charge books.Charge
	var err error
	if c.biz.TradeNo != "" {
		charge, err = c.d.b.Get(Connector, c.account, c.biz.TradeNo)
	} else {
		charge, err = c.d.b.ByReference(Connector, c.account, c.biz.OutTradeNo)
	}
	if err != nil {
		r := refused("ACQ.TRADE_NOT_EXIST")
		return charge, &r
	}
	charge = c.d.touch(charge)
	if !charge.Seen {
		r := refused("ACQ.TRADE_NOT_EXIST")
		return charge, &r
	}
	return charge, nil
}

// pay is alipay.trade.pay with the code off the payer's phone.
func (c *call) pay() result {
	fresh, no := c.fresh(flowCode)
	if no != nil {
		return *no
	}
	if c.biz.Scene != "bar_code" && c.biz.Scene != "" {
		return parameter("scene: bar_code")
	}
	if c.biz.AuthCode == "" {
		return parameter("auth_code")
	}
	if !codeForm.MatchString(c.biz.AuthCode) {
		return refused("ACQ.PAYMENT_AUTH_CODE_INVALID")
	}
	sum := sha256.Sum256([]byte(c.biz.AuthCode))
	fresh.Method = hex.EncodeToString(sum[:8]) // the code itself is not kept
	payer, _ := books.FindPayer(books.AuthCodes, c.biz.AuthCode)
	fresh.Code = payer.Suffix
	charge, known, no := c.book(fresh)
	switch {
	case no != nil:
		return *no
	case !known:
		return c.charge(charge, payer)
	case charge.Status == payment.Failed: // another try, with the same code or another
		charge, err := c.d.b.Update(Connector, c.account, charge.PSPReference, func(p *books.Charge) error {
			if p.Status != payment.Failed {
				return books.ErrState
			}
			p.Status, p.Method, p.Code, p.Failure = payment.RequiresAction, fresh.Method, fresh.Code, nil
			return nil
		})
		if err != nil {
			return refused("ACQ.SYSTEM_ERROR")
		}
		return c.charge(charge, payer)
	case charge.Status == payment.Canceled || charge.Status == payment.Expired:
		return refused("ACQ.TRADE_HAS_CLOSE")
	case charge.Method != fresh.Method && charge.Authorized > 0:
		return refused("ACQ.TRADE_HAS_SUCCESS")
	case charge.Method != fresh.Method:
		return refused("ACQ.CONTEXT_INCONSISTENT")
	case charge.Authorized > 0:
		return paid(&charge)
	default:
		return waiting(&charge)
	}
}

// charge plays the payer of a code.
func (c *call) charge(charge books.Charge, payer books.Payer) result {
	switch {
	case payer.Decline != "":
		if _, err := c.d.b.Update(Connector, c.account, charge.PSPReference, func(p *books.Charge) error {
			return p.Decline(books.Failure{Code: payer.Decline})
		}); err != nil {
			return refused("ACQ.SYSTEM_ERROR")
		}
		return refused(payer.Decline)
	case payer.Unclear != "" && !payer.Paid:
		if _, err := c.d.b.Update(Connector, c.account, charge.PSPReference, func(p *books.Charge) error {
			return p.Decline(books.Failure{Code: payer.Unclear})
		}); err != nil {
			return refused("ACQ.SYSTEM_ERROR")
		}
		return unclear(payer.Unclear)
	case payer.Confirm:
		charge, err := c.d.b.Update(Connector, c.account, charge.PSPReference, func(p *books.Charge) error { p.Seen = true; return nil })
		if err != nil {
			return refused("ACQ.SYSTEM_ERROR")
		}
		c.ask(&charge, "/cashier/")
		return waiting(&charge)
	}
	charge, err := c.d.settle(c.op, charge.PSPReference)
	switch {
	case err != nil:
		return refused("ACQ.SYSTEM_ERROR")
	case payer.Unclear != "":
		return unclear(payer.Unclear)
	}
	return paid(&charge)
}

func unclear(sub string) result {
	if strings.HasPrefix(sub, "isp.") {
		return result{code: "20000", msg: "Service Currently Unavailable", sub: sub, subMsg: "the system is busy"}
	}
	return refused(sub)
}

// settle books that the payer has paid, and tells it.
func (d *Dialect) settle(op books.Operation, id string) (books.Charge, error) {
	charge, err := d.b.Update(Connector, "", id, func(p *books.Charge) error {
		if p.Status != payment.RequiresAction || (!p.Deadline.IsZero() && d.b.Now().After(p.Deadline)) {
			return books.ErrState
		}
		p.Seen = true
		return p.Authorize(d.b.Now())
	})
	if err == nil {
		d.notify(op, &charge, nil)
	}
	return charge, err
}

// shut books that the payer refused; Alipay closes the trade.
func (d *Dialect) shut(op books.Operation, id string) error {
	charge, err := d.b.Update(Connector, "", id, func(p *books.Charge) error {
		if p.Status != payment.RequiresAction {
			return books.ErrState
		}
		p.Seen = true
		return p.Void(d.b.Now())
	})
	if err == nil {
		d.notify(op, &charge, nil)
	}
	return err
}

// ask opens the page on which the payer decides, once.
func (c *call) ask(charge *books.Charge, path string) books.Challenge {
	if ch, ok := c.d.b.Challenge(charge.Challenge); ok {
		return ch
	}
	ch := books.Challenge{
		ID: charge.Challenge, Connector: Connector, Kind: charge.Flow, PSPReference: charge.PSPReference,
		Reference: charge.Reference, URL: c.base + path + charge.Challenge, ReturnURL: charge.ReturnURL,
	}
	c.d.b.Ask(ch)
	return ch
}

// precreate is alipay.trade.precreate: a QR code to show.
func (c *call) precreate() result {
	fresh, no := c.fresh(flowQR)
	if no != nil {
		return *no
	}
	payer, magic := books.FindPayer(books.QRAmounts, fen(fresh.Amount))
	fresh.Code = payer.Suffix
	charge, known, no := c.book(fresh)
	switch {
	case no != nil:
		return *no
	case known && charge.Authorized > 0:
		return refused("ACQ.TRADE_HAS_SUCCESS")
	case known && charge.Status != payment.RequiresAction:
		return refused("ACQ.TRADE_HAS_CLOSE")
	}
	ch := c.ask(&charge, "/qr/")
	if magic && !known {
		c.d.b.Later(c.d.b.Settle(), books.Task{Connector: Connector, Charge: charge.PSPReference, What: taskScan})
	}
	return success(func(o *books.Document, _ int64) {
		o.Text("out_trade_no", charge.Reference).Text("qr_code", ch.URL)
	})
}

const taskScan = "scan"

// due plays the payer of a magic amount. A trade that was closed meanwhile
// refuses it, which is as it should be.
func (d *Dialect) due(t books.Task) {
	charge, err := d.b.Get(Connector, "", t.Charge)
	if err != nil || t.What != taskScan {
		return
	}
	payer, _ := books.FindPayer(books.QRAmounts, charge.Code)
	switch {
	case payer.Paid:
		_, _ = d.settle(books.OpAuthorize, t.Charge)
	case payer.Refuses:
		_ = d.shut(books.OpAuthorize, t.Charge)
	default:
		d.scan(t.Charge)
	}
}

// scan books that the payer has opened the trade.
func (d *Dialect) scan(id string) {
	_, _ = d.b.Update(Connector, "", id, func(p *books.Charge) error { // an error says that it is gone
		p.Seen = true
		return nil
	})
}

// create is alipay.trade.create, for a mini program.
func (c *call) create() result {
	fresh, no := c.fresh(flowCreate)
	if no != nil {
		return *no
	}
	if c.biz.BuyerID == "" && c.biz.BuyerOpenID == "" && c.biz.OpBuyerOpenID == "" {
		return parameter("buyer_id or buyer_open_id")
	}
	fresh.Seen = true
	charge, known, no := c.book(fresh)
	switch {
	case no != nil:
		return *no
	case known && charge.Authorized > 0:
		return refused("ACQ.TRADE_HAS_SUCCESS")
	case known && charge.Status != payment.RequiresAction:
		return refused("ACQ.TRADE_HAS_CLOSE")
	}
	c.ask(&charge, "/cashier/")
	return success(func(o *books.Document, _ int64) {
		o.Text("out_trade_no", charge.Reference).Text("trade_no", charge.PSPReference)
	})
}

// query is alipay.trade.query.
func (c *call) query() result {
	charge, no := c.load()
	if no != nil {
		return *no
	}
	charge = c.patience(charge)
	return success(func(o *books.Document, off int64) {
		tradeMembers(o, &charge, off)
		o.Text("trade_status", tradeStatus(&charge)).Text("subject", charge.Description)
		if charge.Authorized > 0 {
			o.Text("send_pay_date", charge.PaidAt.In(zone).Format(timeForm)).Text("receipt_amount", fen(charge.Amount+off)).
				Text("buyer_pay_amount", fen(charge.Amount+off))
		} else {
			o.Text("receipt_amount", "0.00").Text("buyer_pay_amount", "0.00")
		}
	})
}

// patience counts the queries of a payer who must confirm, and lets the payer
// decide after the last.
func (c *call) patience(charge books.Charge) books.Charge {
	payer, ok := books.FindPayer(books.AuthCodes, charge.Code)
	if charge.Flow != flowCode || !ok || !payer.Confirm || payer.PaysAfter == 0 || charge.Status != payment.RequiresAction {
		return charge
	}
	charge, err := c.d.b.Update(Connector, c.account, charge.PSPReference, func(p *books.Charge) error {
		p.Queries++
		return nil
	})
	if err != nil || charge.Queries < payer.PaysAfter {
		return charge
	}
	if payer.Refuses {
		_ = c.d.shut(books.OpAuthorize, charge.PSPReference) // another query was faster
	} else {
		_, _ = c.d.settle(books.OpAuthorize, charge.PSPReference)
	}
	if now, err := c.d.b.Get(Connector, c.account, charge.PSPReference); err == nil {
		return now
	}
	return charge
}

func tradeStatus(c *books.Charge) string {
	switch {
	case c.Captured > 0 && c.Refunded == c.Captured:
		return "TRADE_CLOSED"
	case c.Captured > 0:
		return "TRADE_SUCCESS"
	case c.Status == payment.RequiresAction:
		return "WAIT_BUYER_PAY"
	default:
		return "TRADE_CLOSED"
	}
}

func tradeMembers(o *books.Document, c *books.Charge, off int64) {
	o.Text("trade_no", c.PSPReference).Text("out_trade_no", c.Reference).Text("buyer_logon_id", "pay***@example.com").
		Text("buyer_user_id", buyer).Text("total_amount", fen(c.Amount+off))
}

const buyer = "2088000000000002"

func paid(c *books.Charge) result {
	charge := *c
	return success(func(o *books.Document, off int64) {
		tradeMembers(o, &charge, off)
		o.Text("receipt_amount", fen(charge.Amount+off)).Text("buyer_pay_amount", fen(charge.Amount+off)).
			Text("gmt_payment", charge.PaidAt.In(zone).Format(timeForm))
		o.List("fund_bill_list").Open("").Text("fund_channel", "ALIPAYACCOUNT").Text("amount", fen(charge.Amount+off)).Close().End()
	})
}

func waiting(c *books.Charge) result {
	charge := *c
	r := success(func(o *books.Document, off int64) { tradeMembers(o, &charge, off) })
	r.code, r.msg = "10003", "order success pay inprocess"
	return r
}
