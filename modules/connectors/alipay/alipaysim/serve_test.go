package alipaysim_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connectors/alipay/alipaysim"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

func TestFaults(t *testing.T) {
	t.Parallel()
	for kind, tt := range map[books.FaultKind]struct {
		answered bool
		acted    bool
		want     map[string]any
	}{
		books.ResetBefore: {false, false, nil},
		books.ResetAfter:  {false, true, nil},
		books.E500Before:  {false, false, nil},
		books.E500After:   {false, true, nil},
		books.HTML502:     {false, true, nil},
		books.Truncated:   {false, true, nil},
		books.BadJSON:     {false, true, nil},
		books.WrongAmount: {true, true, map[string]any{"code": "10000", "total_amount": "10.01"}},
		books.E429:        {true, false, map[string]any{"code": "40005", "sub_code": "isv.app-call-limited"}},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			x := open(t)
			if err := x.b.Faults.Add(books.Fault{Connector: "alipay", Operation: "authorize", Kind: kind, Replay: true}); err != nil {
				t.Fatal(err)
			}
			v, _, err := x.post(x.params("alipay.trade.pay", payBiz("280000000000000099", "10.00")))
			if (err == nil) != tt.answered {
				t.Errorf("got %v, %v; want an answer: %v", v, err, tt.answered)
			}
			check(t, v, tt.want)
			if n := len(x.b.All()); (n == 1) != tt.acted {
				t.Errorf("got %d trades, want acted: %v", n, tt.acted)
			}
			check(t, x.scan("280000000000000099", "10.00"), map[string]any{"code": "10000", "total_amount": "10.00"})
			x.want(1000, 1000, 0, payment.Succeeded)
		})
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	x := open(t)
	p := x.params("alipay.trade.page.pay", `{"out_trade_no":"`+trade+`","total_amount":"10.00","subject":"tea","product_code":"FAST_INSTANT_TRADE_PAY"}`,
		"return_url", "https://shop.example/back?a=b")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(x.srv.URL + "/alipay/gateway.do?" + p.Encode()) // the test's own server
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	cashier, err := res.Location()
	if err != nil {
		t.Fatalf("got status %d, want a redirect: %v", res.StatusCode, err)
	}
	if got := x.status(); got != "WAIT_BUYER_PAY" {
		t.Errorf("got %v, want WAIT_BUYER_PAY", got)
	}
	x.get(cashier.String(), "10.00 CNY")
	res, err = client.PostForm(cashier.String(), url.Values{"result": {"succeed"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	back, err := res.Location()
	if err != nil {
		t.Fatalf("got status %d, want a redirect: %v", res.StatusCode, err)
	}
	if q := back.Query(); q.Get("out_trade_no") != trade || q.Get("total_amount") != "10.00" || q.Get("a") != "b" || q.Get("sign") == "" {
		t.Errorf("got %s, want the trade, signed", back)
	}
	x.want(1000, 1000, 0, payment.Succeeded)
	forged := url.Values{"method": {"alipay.trade.page.pay"}, "app_id": {app}}
	x.get(x.srv.URL+"/alipay/gateway.do?"+forged.Encode(), "isv.missing-signature")
}

func TestNotification(t *testing.T) {
	t.Parallel()
	x := open(t)
	got := make(chan url.Values, 8)
	answers := []string{"no", "success", "success", "success"}
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		answer := answers[0]
		answers = answers[1:]
		_, _ = io.WriteString(w, answer)
		got <- r.PostForm
	}))
	t.Cleanup(hook.Close)
	receive := func() url.Values {
		t.Helper()
		select {
		case v := <-got:
			return v
		case <-time.After(5 * time.Second):
			t.Fatal("no notification")
			return nil
		}
	}
	verify := func(v url.Values) error {
		var parts []string
		for k := range v {
			if k != "sign" && k != "sign_type" && v.Get(k) != "" {
				parts = append(parts, k+"="+v.Get(k))
			}
		}
		slices.Sort(parts)
		sum := sha256.Sum256([]byte(strings.Join(parts, "&")))
		sig, _ := base64.StdEncoding.DecodeString(v.Get("sign"))
		return rsa.VerifyPKCS1v15(&alipayKey.PublicKey, crypto.SHA256, sum[:], sig)
	}
	_, armed := x.clock.Armed()
	x.do("alipay.trade.pay", payBiz("280000000000000099", "10.00"), "notify_url", hook.URL)
	first := receive()
	if err := verify(first); err != nil {
		t.Errorf("the notification does not verify: %v", err)
	}
	for k, v := range map[string]string{"trade_status": "TRADE_SUCCESS", "out_trade_no": trade, "total_amount": "10.00", "app_id": app} {
		if first.Get(k) != v {
			t.Errorf("got %s %q, want %q", k, first.Get(k), v)
		}
	}
	<-armed // the receiver said no, so another try waits
	x.clock.Advance(time.Second)
	if again := receive(); again.Get("notify_id") != first.Get("notify_id") {
		t.Errorf("got notification %s, want %s once more", again.Get("notify_id"), first.Get("notify_id"))
	}
	if err := x.b.Faults.Add(books.Fault{Kind: books.WebhookUnsigned}); err != nil {
		t.Fatal(err)
	}
	x.do("alipay.trade.refund", refundBiz("10.00", "r1"))
	if v := receive(); v.Get("sign") != "" || v.Get("refund_fee") != "10.00" || v.Get("trade_status") != "TRADE_CLOSED" {
		t.Errorf("got %v, want an unsigned TRADE_CLOSED with its refund", v)
	}
}

// FuzzServe sends any content to any method: the dialect answers, and the books
// stay sound.
func FuzzServe(f *testing.F) {
	f.Add("alipay.trade.pay", payBiz("280000000000000099", "10.00"))
	f.Add("alipay.trade.precreate", payBiz("", "9.88"))
	f.Add("alipay.trade.refund", refundBiz("1.00", "r"))
	f.Add("alipay.trade.cancel", byTrade)
	f.Add("alipay.trade.page.pay", payBiz("", "1"))
	f.Add("x", "{")
	f.Fuzz(func(t *testing.T, method, biz string) {
		clock := books.NewClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
		b := books.New(books.Config{Now: clock.Now, AfterFunc: clock.AfterFunc})
		defer b.Close()
		d := alipaysim.New(b, alipaysim.Options{Key: func() *rsa.PrivateKey { return alipayKey }})
		p := url.Values{
			"app_id": {app}, "method": {method}, "charset": {"utf-8"}, "sign_type": {"RSA2"}, "sign": {"any"},
			"timestamp": {"2026-11-23 20:00:00"}, "version": {"1.0"}, "biz_content": {biz},
		}
		r := httptest.NewRequest(http.MethodPost, "/gateway.do", strings.NewReader(p.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		if w.Code >= http.StatusInternalServerError {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
		for _, c := range b.All() {
			if c.Refunded > c.Captured || c.Captured > c.Authorized || c.Amount < 1 {
				t.Errorf("books do not hold: %+v", c)
			}
		}
	})
}
