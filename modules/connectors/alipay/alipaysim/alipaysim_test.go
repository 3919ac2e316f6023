package alipaysim_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/connectors/alipay/alipaysim"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

const (
	trade = "a0000000000000000000000000000001"
	app   = "2021000000000001"
)

// keys are made once: they cost more than the tests.
var alipayKey, ownKey = newKey(), newKey()

func newKey() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}

type bench struct {
	t     *testing.T
	clock *books.Clock
	b     *books.Books
	d     *alipaysim.Dialect
	srv   *httptest.Server
}

func open(t *testing.T) *bench {
	t.Helper()
	clock := books.NewClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	b := books.New(books.Config{Now: clock.Now, AfterFunc: clock.AfterFunc, Seed: 7, Client: http.DefaultClient})
	d := alipaysim.New(b, alipaysim.Options{Key: func() *rsa.PrivateKey { return alipayKey }})
	d.SetMerchantKey(app, &ownKey.PublicKey)
	srv := httptest.NewServer(http.StripPrefix("/alipay", d))
	t.Cleanup(func() { b.Close(); srv.Close() })
	return &bench{t, clock, b, d, srv}
}

func sign(t *testing.T, p url.Values, without ...string) string {
	t.Helper()
	var parts []string
	for k := range p {
		if p.Get(k) != "" && !slices.Contains(without, k) {
			parts = append(parts, k+"="+p.Get(k))
		}
	}
	slices.Sort(parts)
	sum := sha256.Sum256([]byte(strings.Join(parts, "&")))
	sig, err := rsa.SignPKCS1v15(rand.Reader, ownKey, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(sig)
}

func (x *bench) params(method, biz string, more ...string) url.Values {
	x.t.Helper()
	p := url.Values{
		"app_id": {app}, "method": {method}, "format": {"JSON"}, "charset": {"utf-8"}, "sign_type": {"RSA2"},
		"timestamp": {"2026-11-23 20:00:00"}, "version": {"1.0"}, "biz_content": {biz},
	}
	for i := 0; i < len(more); i += 2 {
		p.Set(more[i], more[i+1])
	}
	p.Set("sign", sign(x.t, p, "sign"))
	return p
}

// post sends parameters and reads the inner object, whose signature it checks.
func (x *bench) post(p url.Values) (map[string]any, int, error) {
	x.t.Helper()
	req, err := http.NewRequestWithContext(x.t.Context(), http.MethodPost, x.srv.URL+"/alipay/gateway.do", strings.NewReader(p.Encode()))
	if err != nil {
		x.t.Fatal(err)
	}
	req.GetBody = nil
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded;charset=utf-8")
	res, err := x.srv.Client().Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, res.StatusCode, err
	}
	var outer map[string]json.RawMessage
	if err := json.Unmarshal(raw, &outer); err != nil {
		return nil, res.StatusCode, err
	}
	inner := outer[strings.ReplaceAll(p.Get("method"), ".", "_")+"_response"]
	var sig string
	if err := json.Unmarshal(outer["sign"], &sig); err != nil {
		return nil, res.StatusCode, err
	}
	der, _ := base64.StdEncoding.DecodeString(sig)
	sum := sha256.Sum256(inner)
	if err := rsa.VerifyPKCS1v15(&alipayKey.PublicKey, crypto.SHA256, sum[:], der); err != nil {
		x.t.Errorf("%s: the answer's signature does not verify: %v", p.Get("method"), err)
	}
	var v map[string]any
	return v, res.StatusCode, json.Unmarshal(inner, &v)
}

// do makes a call that must be answered.
func (x *bench) do(method, biz string, more ...string) map[string]any {
	x.t.Helper()
	v, _, err := x.post(x.params(method, biz, more...))
	if err != nil {
		x.t.Fatalf("%s: %v", method, err)
	}
	return v
}

func (x *bench) scan(code, amount string) map[string]any {
	x.t.Helper()
	return x.do("alipay.trade.pay", payBiz(code, amount))
}

func payBiz(code, amount string) string {
	return `{"out_trade_no":"` + trade + `","total_amount":"` + amount + `","subject":"tea","scene":"bar_code","auth_code":"` + code + `"}`
}

const byTrade = `{"out_trade_no":"` + trade + `"}`

func (x *bench) status() any {
	x.t.Helper()
	v := x.do("alipay.trade.query", byTrade)
	if v["code"] != "10000" {
		return v["sub_code"]
	}
	return v["trade_status"]
}

func (x *bench) want(authorized, captured, refunded int64, status payment.Status) {
	x.t.Helper()
	c, err := x.b.ByReference(alipaysim.Connector, app, trade)
	if err != nil {
		x.t.Fatal(err)
	}
	got := []any{c.Authorized, c.Captured, c.Refunded, c.Status}
	if d := cmp.Diff([]any{authorized, captured, refunded, status}, got); d != "" {
		x.t.Errorf("books (-want +got):\n%s", d)
	}
}

func check(t *testing.T, got map[string]any, want map[string]any) {
	t.Helper()
	for k, v := range want {
		if got[k] != v {
			t.Errorf("got %s %v, want %v in %v", k, got[k], v, got)
		}
	}
}

func TestAuthCodes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		suffix, code, sub string
		queries           int
		status            any // at the last query
		captured          int64
	}{
		{"99", "10000", "", 1, "TRADE_SUCCESS", 1000},
		{"01", "10003", "", 1, "WAIT_BUYER_PAY", 0},
		{"01", "10003", "", 2, "TRADE_SUCCESS", 1000},
		{"02", "10003", "", 5, "WAIT_BUYER_PAY", 0},
		{"03", "10003", "", 2, "TRADE_CLOSED", 0},
		{"04", "40004", "ACQ.BUYER_BALANCE_NOT_ENOUGH", 1, "ACQ.TRADE_NOT_EXIST", 0},
		{"05", "40004", "ACQ.PAYMENT_AUTH_CODE_INVALID", 1, "ACQ.TRADE_NOT_EXIST", 0},
		{"06", "40004", "ACQ.PAYMENT_REQUEST_HAS_RISK", 1, "ACQ.TRADE_NOT_EXIST", 0},
		{"07", "40004", "ACQ.SYSTEM_ERROR", 1, "ACQ.TRADE_NOT_EXIST", 0},
		{"08", "40004", "ACQ.SYSTEM_ERROR", 1, "TRADE_SUCCESS", 1000},
		{"09", "20000", "isp.unknow-error", 1, "TRADE_SUCCESS", 1000},
	} {
		t.Run(tt.suffix, func(t *testing.T) {
			t.Parallel()
			x := open(t)
			a := x.scan("2800000000000000"+tt.suffix, "10.00")
			check(t, a, map[string]any{"code": tt.code})
			if sub, _ := a["sub_code"].(string); sub != tt.sub {
				t.Errorf("got sub_code %q, want %q", sub, tt.sub)
			}
			var status any
			for range tt.queries {
				status = x.status()
			}
			if status != tt.status {
				t.Errorf("got %v, want %v", status, tt.status)
			}
			if c, _ := x.b.ByReference(alipaysim.Connector, app, trade); c.Captured != tt.captured {
				t.Errorf("got %d captured, want %d", c.Captured, tt.captured)
			}
		})
	}
}

func TestSameTrade(t *testing.T) {
	t.Parallel()
	x := open(t)
	first := x.scan("280000000000000099", "10.00")
	again := x.scan("280000000000000099", "10.00")
	if d := cmp.Diff(first, again); d != "" {
		t.Errorf("same data, another answer (-first +again):\n%s", d)
	}
	check(t, x.scan("280000000000000099", "10.01"), map[string]any{"sub_code": "ACQ.CONTEXT_INCONSISTENT"})
	check(t, x.scan("280000000000000098", "10.00"), map[string]any{"sub_code": "ACQ.TRADE_HAS_SUCCESS"})
	x.want(1000, 1000, 0, payment.Succeeded)
	if n := len(x.b.All()); n != 1 {
		t.Errorf("got %d trades, want 1", n)
	}
	y := open(t)
	y.scan("280000000000000004", "10.00")
	check(t, y.scan("280000000000000099", "10.00"), map[string]any{"code": "10000"}) // a declined payer may show another code
	z := open(t)
	z.scan("280000000000000002", "10.00")
	z.do("alipay.trade.close", byTrade)
	check(t, z.scan("280000000000000002", "10.00"), map[string]any{"sub_code": "ACQ.TRADE_HAS_CLOSE"})
}

func (x *bench) precreate(amount string, more ...string) map[string]any {
	x.t.Helper()
	return x.do("alipay.trade.precreate", `{"out_trade_no":"`+trade+`","total_amount":"`+amount+`","subject":"tea","timeout_express":"5m"}`, more...)
}

func TestQR(t *testing.T) {
	t.Parallel()
	x := open(t)
	a := x.precreate("10.00")
	check(t, a, map[string]any{"code": "10000", "out_trade_no": trade})
	check(t, x.precreate("10.00"), map[string]any{"qr_code": a["qr_code"]})
	if got := x.status(); got != "ACQ.TRADE_NOT_EXIST" {
		t.Errorf("got %v before the payer scanned, want ACQ.TRADE_NOT_EXIST", got)
	}
	check(t, x.do("alipay.trade.close", byTrade), map[string]any{"sub_code": "ACQ.TRADE_NOT_EXIST"})
	x.get(a["qr_code"].(string), "10.00 CNY")
	if got := x.status(); got != "WAIT_BUYER_PAY" {
		t.Errorf("got %v once it was scanned, want WAIT_BUYER_PAY", got)
	}
	if err := x.d.Pay(trade); err != nil {
		t.Fatal(err)
	}
	if got := x.status(); got != "TRADE_SUCCESS" {
		t.Errorf("got %v, want TRADE_SUCCESS", got)
	}
	x.want(1000, 1000, 0, payment.Succeeded)
	if err := x.d.Pay(trade); err == nil {
		t.Error("a QR code was paid twice")
	}
}

func (x *bench) get(page, want string) {
	x.t.Helper()
	res, err := http.Get(page) // the test's own server
	if err != nil {
		x.t.Fatal(err)
	}
	html, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if !bytes.Contains(html, []byte(want)) {
		x.t.Errorf("got page %d %s, want %q on it", res.StatusCode, html, want)
	}
}

func TestQRAmounts(t *testing.T) {
	t.Parallel()
	for amount, want := range map[string]any{"9.88": "TRADE_SUCCESS", "9.77": "WAIT_BUYER_PAY", "9.44": "TRADE_CLOSED", "9.00": "ACQ.TRADE_NOT_EXIST"} {
		x := open(t)
		x.precreate(amount)
		x.clock.Advance(2 * time.Second)
		if got := x.status(); got != want {
			t.Errorf("%s: got %v, want %v", amount, got, want)
		}
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	x := open(t)
	a := x.precreate("10.00")
	x.get(a["qr_code"].(string), "Pay")
	x.clock.Advance(5*time.Minute + time.Second)
	if err := x.d.Pay(trade); err == nil {
		t.Error("it was paid after its time")
	}
	if got := x.status(); got != "TRADE_CLOSED" {
		t.Errorf("got %v, want TRADE_CLOSED", got)
	}
	x.want(0, 0, 0, payment.Expired)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		code    string
		answers []map[string]any
		status  any
	}{
		"paid":          {"99", []map[string]any{{"action": "refund", "retry_flag": "N"}, {"action": "refund", "retry_flag": "N"}}, "TRADE_CLOSED"},
		"unpaid":        {"02", []map[string]any{{"action": "close", "retry_flag": "N"}, {"action": "close", "retry_flag": "N"}}, "TRADE_CLOSED"},
		"to repeat":     {"13", []map[string]any{{"code": "10000", "action": nil, "retry_flag": "Y"}, {"sub_code": "AQC.SYSTEM_ERROR", "retry_flag": "Y"}, {"action": "close", "retry_flag": "N"}}, "TRADE_CLOSED"},
		"unclear, paid": {"14", []map[string]any{{"action": nil, "retry_flag": "Y"}, {"action": "refund", "retry_flag": "N"}}, "TRADE_CLOSED"},
		"unclear":       {"07", []map[string]any{{"action": "close", "retry_flag": "N"}}, "ACQ.TRADE_NOT_EXIST"},
		"none":          {"", []map[string]any{{"code": "10000", "action": nil, "retry_flag": "N"}}, "ACQ.TRADE_NOT_EXIST"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := open(t)
			if tt.code != "" {
				x.scan("2800000000000000"+tt.code, "10.00")
			}
			for _, want := range tt.answers {
				check(t, x.do("alipay.trade.cancel", byTrade), want)
			}
			if got := x.status(); got != tt.status {
				t.Errorf("got %v, want %v", got, tt.status)
			}
			if c, err := x.b.ByReference(alipaysim.Connector, app, trade); err == nil && c.Captured != c.Refunded {
				t.Errorf("got %d captured, %d refunded; want all of it back", c.Captured, c.Refunded)
			}
		})
	}
	x := open(t)
	x.precreate("10.00")
	x.do("alipay.trade.cancel", byTrade)
	if err := x.d.Pay(trade); err == nil {
		t.Error("a canceled QR code was paid")
	}
	y := open(t)
	y.scan("280000000000000099", "10.00")
	y.clock.Advance(25 * time.Hour)
	check(t, y.do("alipay.trade.cancel", byTrade), map[string]any{"sub_code": "ACQ.TRADE_CANCEL_TIME_OUT"})
}

func refundBiz(amount, request string) string {
	return `{"out_trade_no":"` + trade + `","refund_amount":"` + amount + `","out_request_no":"` + request + `"}`
}

func TestRefund(t *testing.T) {
	t.Parallel()
	x := open(t)
	check(t, x.do("alipay.trade.refund", refundBiz("1.00", "r1")), map[string]any{"sub_code": "ACQ.TRADE_NOT_EXIST"})
	x.scan("280000000000000099", "10.00")
	check(t, x.do("alipay.trade.fastpay.refund.query", refundBiz("", "r1")), map[string]any{"code": "10000", "refund_status": nil})
	check(t, x.do("alipay.trade.refund", refundBiz("3.00", "r1")), map[string]any{"fund_change": "Y", "refund_fee": "3.00", "send_back_fee": "3.00"})
	check(t, x.do("alipay.trade.refund", refundBiz("3.00", "r1")), map[string]any{"fund_change": "N", "refund_fee": "3.00"})
	check(t, x.do("alipay.trade.refund", refundBiz("4.00", "r1")), map[string]any{"sub_code": "ACQ.DISCORDANT_REPEAT_REQUEST"})
	check(t, x.do("alipay.trade.refund", refundBiz("7.01", "r2")), map[string]any{"sub_code": "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL"})
	check(t, x.do("alipay.trade.refund", refundBiz("0.13", "r3")), map[string]any{"sub_code": "ACQ.SELLER_BALANCE_NOT_ENOUGH"})
	check(t, x.do("alipay.trade.refund", `{"out_trade_no":"`+trade+`","refund_amount":"1.00"}`), map[string]any{"sub_code": "ACQ.INVALID_PARAMETER"})
	x.want(1000, 1000, 300, payment.Succeeded)
	if got := x.status(); got != "TRADE_SUCCESS" {
		t.Errorf("got %v, want TRADE_SUCCESS", got)
	}
	check(t, x.do("alipay.trade.refund", refundBiz("7.00", "r2")), map[string]any{"fund_change": "Y", "refund_fee": "10.00", "send_back_fee": "7.00"})
	if got := x.status(); got != "TRADE_CLOSED" {
		t.Errorf("got %v, want TRADE_CLOSED", got)
	}
	check(t, x.do("alipay.trade.fastpay.refund.query", refundBiz("", "r2")), map[string]any{"refund_status": "REFUND_SUCCESS", "refund_amount": "7.00"})
	check(t, x.do("alipay.trade.refund", refundBiz("0.01", "r4")), map[string]any{"sub_code": "ACQ.TRADE_HAS_CLOSE"})
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	x := open(t)
	good := func() url.Values { return x.params("alipay.trade.query", byTrade) }
	for name, tt := range map[string]struct {
		change func(url.Values)
		resign bool
		sub    string
	}{
		"forged":       {func(p url.Values) { p.Set("biz_content", `{"out_trade_no":"b"}`) }, false, "isv.invalid-signature"},
		"no signature": {func(p url.Values) { p.Del("sign") }, false, "isv.missing-signature"},
		"unknown app":  {func(p url.Values) { p.Set("app_id", "1") }, true, "isv.invalid-app-id"},
		"RSA":          {func(p url.Values) { p.Set("sign_type", "RSA") }, true, "isv.invalid-signature-type"},
		"timestamp":    {func(p url.Values) { p.Set("timestamp", "now") }, true, "isv.invalid-timestamp"},
		"charset":      {func(p url.Values) { p.Set("charset", "GBK") }, true, "isv.invalid-charset"},
		"content":      {func(p url.Values) { p.Set("biz_content", `{`) }, true, "isv.invalid-parameter"},
		"number":       {func(p url.Values) { p.Set("biz_content", `{"total_amount":10.00}`) }, true, "isv.invalid-parameter"},
	} {
		p := good()
		tt.change(p)
		if tt.resign {
			p.Set("sign", sign(t, p, "sign"))
		}
		v, _, err := x.post(p)
		if err != nil || v["sub_code"] != tt.sub {
			t.Errorf("%s: got %v, %v; want %s", name, v, err, tt.sub)
		}
	}
	for _, biz := range []string{
		`{"out_trade_no":"a b","total_amount":"1.00","subject":"tea"}`, `{"out_trade_no":"a","total_amount":"1.001","subject":"tea"}`,
		`{"out_trade_no":"a","total_amount":"0","subject":"tea"}`, `{"out_trade_no":"a","total_amount":"1.00"}`,
		`{"out_trade_no":"a","total_amount":"1.00","subject":"tea","timeout_express":"soon"}`,
	} {
		check(t, x.do("alipay.trade.precreate", biz), map[string]any{"sub_code": "ACQ.INVALID_PARAMETER"})
	}
}
