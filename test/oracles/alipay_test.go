package oracles

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/smartwalle/alipay/v3"
)

const (
	alipayApp = "2021000000000001"
	trade     = "order_42"
	// paysAtOnce and paysNever end the codes of the simulator's payers.
	paysAtOnce = "280000000000000099"
	paysNever  = "280000000000000002"
	tooPoor    = "280000000000000004"
	// cancelsLate is a payer who never confirms; a cancel must be repeated twice.
	cancelsLate = "280000000000000013"
)

// shopKey is the merchant's own. Keys are made once: they cost more than the
// tests.
var shopKey, strangerKey = sync.OnceValue(newKey), sync.OnceValue(newKey)

func newKey() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil { // cannot happen: since Go 1.24 the reader never fails
		return nil
	}
	return k
}

// alipay opens the library on the simulator, which from then on takes only
// what is signed with the shop's key.
func (w *world) alipay(t *testing.T) *alipay.Client {
	t.Helper()
	public, err := x509.MarshalPKIXPublicKey(&shopKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.sim.SetAlipayMerchantKey(alipayApp, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})); err != nil {
		t.Fatal(err)
	}
	return w.alipayWith(t, shopKey(), w.alipayKey(t))
}

// alipayKey is the key with which the simulator's answers verify.
func (w *world) alipayKey(t *testing.T) *rsa.PublicKey {
	t.Helper()
	block, _ := pem.Decode([]byte(w.sim.AlipayPublicKeyPEM()))
	if block == nil {
		t.Fatal("the simulator's key is no PEM")
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return k.(*rsa.PublicKey)
}

// alipayWith opens the library with a merchant's and with Alipay's key.
func (w *world) alipayWith(t *testing.T, own *rsa.PrivateKey, theirs *rsa.PublicKey) *alipay.Client {
	t.Helper()
	private := base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PrivateKey(own))
	c, err := alipay.New(alipayApp, private, false,
		alipay.WithSandboxGateway(w.url+"/alipay/gateway.do"), alipay.WithTimeLocation(time.FixedZone("Asia/Shanghai", 8*60*60)))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.LoadAliPayPublicKey(base64.StdEncoding.EncodeToString(der)); err != nil {
		t.Fatal(err)
	}
	return c
}

func tea(notify string) alipay.Trade {
	return alipay.Trade{
		OutTradeNo: trade, TotalAmount: "10.00", Subject: "乌龙茶 & a cup = 1", ProductCode: "FACE_TO_FACE_PAYMENT", NotifyURL: notify,
	}
}

// scan pays with the code off a payer's phone.
func scan(t *testing.T, c *alipay.Client, code, notify string) *alipay.TradePayRsp {
	t.Helper()
	a, err := c.TradePay(t.Context(), alipay.TradePay{Trade: tea(notify), Scene: "bar_code", AuthCode: code})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// status queries the trade.
func status(t *testing.T, c *alipay.Client) alipay.TradeStatus {
	t.Helper()
	a, err := c.TradeQuery(t.Context(), alipay.TradeQuery{OutTradeNo: trade})
	if err != nil {
		t.Fatal(err)
	}
	if !a.IsSuccess() {
		return alipay.TradeStatus(a.SubCode)
	}
	want(t, "total_amount", a.TotalAmount, "10.00")
	return a.TradeStatus
}

func TestAlipayPrecreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.alipay(t)
	a, err := c.TradePreCreate(t.Context(), alipay.TradePreCreate{Trade: tea("")})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "code", a.Code, alipay.CodeSuccess)
	want(t, "out_trade_no", a.OutTradeNo, trade)
	if u, err := url.Parse(a.QRCode); err != nil || u.Host == "" {
		t.Errorf("qr_code: got %q, want an address", a.QRCode)
	}
	want(t, "before the payer scans", status(t, c), "ACQ.TRADE_NOT_EXIST")
	res, err := http.PostForm(a.QRCode, url.Values{"result": {"succeed"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	want(t, "after the payer paid", status(t, c), alipay.TradeStatusSuccess)
}

func TestAlipayPay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.alipay(t)
	a := scan(t, c, paysAtOnce, "")
	want(t, "code", a.Code, alipay.CodeSuccess)
	want(t, "total_amount", a.TotalAmount, "10.00")
	want(t, "receipt_amount", a.ReceiptAmount, "10.00")
	want(t, "fund_bill_list", len(a.FundBillList), 1)
	want(t, "amount", a.FundBillList[0].Amount, "10.00")
	want(t, "trade_status", status(t, c), alipay.TradeStatusSuccess)
	again := scan(t, c, paysAtOnce, "")
	want(t, "trade_no", again.TradeNo, a.TradeNo)
	want(t, "trades", len(w.sim.Books().All()), 1)
}

func TestAlipayDecline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.alipay(t)
	a := scan(t, c, tooPoor, "")
	want(t, "code", a.Code, alipay.CodeBusinessFailed)
	want(t, "sub_code", a.SubCode, "ACQ.BUYER_BALANCE_NOT_ENOUGH")
}

func TestAlipayRefund(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.alipay(t)
	paid := scan(t, c, paysAtOnce, "")
	refund := func(amount, request string) *alipay.TradeRefundRsp {
		t.Helper()
		a, err := c.TradeRefund(t.Context(), alipay.TradeRefund{TradeNo: paid.TradeNo, RefundAmount: amount, OutRequestNo: request})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := refund("4.00", "r1")
	want(t, "code", first.Code, alipay.CodeSuccess)
	want(t, "fund_change", first.FundChange, "Y")
	want(t, "refund_fee", first.RefundFee, "4.00")
	again := refund("4.00", "r1")
	want(t, "fund_change of the repeat", again.FundChange, "N")
	want(t, "refund_fee of the repeat", again.RefundFee, "4.00")
	want(t, "other amount", refund("5.00", "r1").SubCode, "ACQ.DISCORDANT_REPEAT_REQUEST")
	want(t, "too much", refund("6.01", "r2").Code, alipay.CodeBusinessFailed)
	query := func(request string) *alipay.TradeFastPayRefundQueryRsp {
		t.Helper()
		a, err := c.TradeFastPayRefundQuery(t.Context(), alipay.TradeFastPayRefundQuery{OutTradeNo: trade, OutRequestNo: request})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	found := query("r1")
	want(t, "refund_status", found.RefundStatus, "REFUND_SUCCESS")
	want(t, "refund_amount", found.RefundAmount, "4.00")
	want(t, "total_amount", found.TotalAmount, "10.00")
	want(t, "refund_status of one that never was", query("r2").RefundStatus, "")
	want(t, "trade_status", status(t, c), alipay.TradeStatusSuccess)
	want(t, "the rest", refund("6.00", "r3").RefundFee, "10.00")
	want(t, "trade_status", status(t, c), alipay.TradeStatusClosed)
}

func TestAlipayCancel(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		code, action string
		before       alipay.Code
	}{
		"paid":    {paysAtOnce, "refund", alipay.CodeSuccess},
		"waiting": {paysNever, "close", alipay.CodeOrderSuccessPayInProcess},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := w.alipay(t)
			want(t, "code", scan(t, c, tt.code, "").Code, tt.before)
			a, err := c.TradeCancel(t.Context(), alipay.TradeCancel{OutTradeNo: trade})
			if err != nil {
				t.Fatal(err)
			}
			want(t, "code", a.Code, alipay.CodeSuccess)
			want(t, "action", a.Action, tt.action)
			want(t, "retry_flag", a.RetryFlag, "N")
			want(t, "trade_status", status(t, c), alipay.TradeStatusClosed)
		})
	}
}

func TestAlipayClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.alipay(t)
	scan(t, c, paysNever, "")
	a, err := c.TradeClose(t.Context(), alipay.TradeClose{OutTradeNo: trade})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "code", a.Code, alipay.CodeSuccess)
	want(t, "out_trade_no", a.OutTradeNo, trade)
	want(t, "trade_status", status(t, c), alipay.TradeStatusClosed)
	none, err := c.TradeClose(t.Context(), alipay.TradeClose{OutTradeNo: "order_43"})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "sub_code", none.SubCode, "ACQ.TRADE_NOT_EXIST")
}

// TestAlipayCancelAgain: the library reads the flag that says to cancel again.
func TestAlipayCancelAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.alipay(t)
	scan(t, c, cancelsLate, "")
	for tries := 1; ; tries++ {
		a, err := c.TradeCancel(t.Context(), alipay.TradeCancel{OutTradeNo: trade})
		if err != nil {
			t.Fatal(err)
		}
		if a.RetryFlag == "N" {
			want(t, "tries", tries, 3)
			want(t, "action", a.Action, "close")
			return
		}
		want(t, "retry_flag", a.RetryFlag, "Y")
		if tries == 3 {
			t.Fatal("the cancel does not end")
		}
	}
}

// TestAlipayCreate opens a trade for a mini program.
func TestAlipayCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.alipay(t)
	a, err := c.TradeCreate(t.Context(), alipay.TradeCreate{Trade: tea(""), BuyerId: "2088000000000002"})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "code", a.Code, alipay.CodeSuccess)
	if a.TradeNo == "" {
		t.Error("trade_no: got none")
	}
	want(t, "before the payer pays", status(t, c), alipay.TradeStatusWaitBuyerPay)
	nobody, err := c.TradeCreate(t.Context(), alipay.TradeCreate{Trade: tea("")})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "code without a buyer", nobody.Code.IsFailure(), true)
}

// TestAlipaySignatures: what is signed with another key is refused, by the
// simulator and by the library.
func TestAlipaySignatures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.alipay(t)
	forger := w.alipayWith(t, strangerKey(), w.alipayKey(t))
	a, err := forger.TradeQuery(t.Context(), alipay.TradeQuery{OutTradeNo: trade})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "sub_code", a.SubCode, "isv.invalid-signature")
	misled := w.alipayWith(t, shopKey(), &strangerKey().PublicKey)
	if _, err := misled.TradeQuery(t.Context(), alipay.TradeQuery{OutTradeNo: trade}); err == nil {
		t.Error("got no error for an answer signed with another key: the library checks nothing")
	}
}

func TestAlipayNotification(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.alipay(t)
	paid := scan(t, c, paysAtOnce, w.hook)
	first := w.receive(t)
	if err := first.ParseForm(); err != nil {
		t.Fatal(err)
	}
	n, err := c.DecodeNotification(first.PostForm)
	if err != nil {
		t.Fatalf("the library refuses the simulator's notification: %v\n%v", err, first.PostForm)
	}
	want(t, "trade_no", n.TradeNo, paid.TradeNo)
	want(t, "out_trade_no", n.OutTradeNo, trade)
	want(t, "trade_status", n.TradeStatus, alipay.TradeStatusSuccess)
	want(t, "total_amount", n.TotalAmount, "10.00")
	want(t, "subject", n.Subject, tea("").Subject)
	want(t, "app_id", n.AppId, alipayApp)
	first.PostForm.Set("total_amount", "1000.00")
	if _, err := c.DecodeNotification(first.PostForm); err == nil {
		t.Error("got no error for a changed notification: the library checks nothing")
	}
	if _, err := c.TradeRefund(t.Context(), alipay.TradeRefund{OutTradeNo: trade, RefundAmount: "10.00", OutRequestNo: "r1"}); err != nil {
		t.Fatal(err)
	}
	second := w.receive(t)
	if err := second.ParseForm(); err != nil {
		t.Fatal(err)
	}
	if n, err = c.DecodeNotification(second.PostForm); err != nil {
		t.Fatal(err)
	}
	want(t, "trade_status", n.TradeStatus, alipay.TradeStatusClosed)
	want(t, "refund_fee", n.RefundFee, "10.00")
}

// TestAlipayPage walks the address that the library makes for a browser.
func TestAlipayPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.alipay(t)
	order := tea("")
	order.ReturnURL, order.ProductCode = "https://shop.example/back", "FAST_INSTANT_TRADE_PAY"
	page, err := c.TradePagePay(alipay.TradePagePay{Trade: order})
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := browser.Get(page.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	cashier, err := res.Location()
	if err != nil {
		t.Fatalf("got status %d, want the cashier: %v", res.StatusCode, err)
	}
	if res, err = browser.PostForm(cashier.String(), url.Values{"result": {"succeed"}}); err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	back, err := res.Location()
	if err != nil {
		t.Fatalf("got status %d, want the way back: %v", res.StatusCode, err)
	}
	if err := c.VerifySign(back.Query()); err != nil {
		t.Errorf("the library refuses the signature of the way back: %v", err)
	}
	want(t, "trade_status", status(t, c), alipay.TradeStatusSuccess)
}
