package alipay

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connector/connectortest"
	"github.com/purser-pay/purser/modules/payment"
)

type vector struct {
	Kind   string            `json:"kind"`
	Params map[string]string `json:"params"`
	Text   string            `json:"text"` // what is signed
}

func (v vector) delivery() connector.Delivery {
	p := url.Values{}
	for name, value := range v.Params {
		p.Set(name, value)
	}
	return connector.Delivery{
		Method: http.MethodPost, URL: "/webhooks/alipay_cn", Header: http.Header{},
		Body: []byte(p.Encode()), Now: connectortest.Now(),
	}
}

// published is what Alipay itself has signed, as others have published it.
type published struct {
	NotifyKey string   `json:"notify_key"`
	Accept    []vector `json:"accept"`
	Reject    []vector `json:"reject"`
	Answer    struct {
		Object string `json:"object"`
		Sign   string `json:"sign"`
		Key    string `json:"key"`
	} `json:"answer"`
}

func readPublished(tb testing.TB) published {
	tb.Helper()
	var p published
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(b, &p); err != nil {
		tb.Fatal(err)
	}
	if len(p.Accept) == 0 || len(p.Reject) == 0 {
		tb.Fatal("no vectors")
	}
	return p
}

func TestPublishedNotifications(t *testing.T) {
	p := readPublished(t)
	c, _ := newTest(t)
	c.PublicKey = connector.NewSecret(p.NotifyKey)
	if err := c.Prepare(); err != nil {
		t.Fatal(err)
	}
	for _, v := range p.Accept {
		d := v.delivery()
		if err := c.VerifyWebhook(d); err != nil {
			t.Errorf("%s: %v", v.Kind, err)
		}
		params, err := form(d.Body)
		if err != nil {
			t.Fatal(err)
		}
		params.Del("sign_type")
		if got := signText(params); got != v.Text {
			t.Errorf("%s: signs\n%s\nwant\n%s", v.Kind, got, v.Text)
		}
	}
	for _, v := range p.Reject {
		if err := c.VerifyWebhook(v.delivery()); !errors.Is(err, connector.ErrSignature) {
			t.Errorf("%s: %v, want ErrSignature", v.Kind, err)
		}
	}
	events, err := c.DecodeWebhook(p.Accept[1].delivery())
	if err != nil || len(events) != 1 {
		t.Fatalf("got %d events, error %v", len(events), err)
	}
	if e := events[0]; e.Reference != "1703147160" || e.Result.State != connector.Succeeded || e.Result.Amount.Minor != 1 {
		t.Errorf("got %+v, want 0.01 CNY paid for 1703147160", e)
	}
}

func TestPublishedAnswer(t *testing.T) {
	p := readPublished(t).Answer
	c, _ := newTest(t)
	c.PublicKey = connector.NewSecret(p.Key)
	if err := c.Prepare(); err != nil {
		t.Fatal(err)
	}
	call := testCall(barcode())
	call.Reference = "GZ201901301040361012"
	body := `{"alipay_trade_pay_response":` + p.Object + `,"sign":"` + p.Sign + `"}`
	r, err := c.Decode(call, connector.Response{StatusCode: 200, Body: []byte(body)})
	if err != nil {
		t.Fatal(err)
	}
	if want := (payment.Money{Minor: 1, Currency: "CNY"}); r.State != connector.Succeeded || r.Amount != want {
		t.Errorf("got %s of %s, want %s of %s", r.State, r.Amount, connector.Succeeded, want)
	}
	for i := range p.Object {
		forged := []byte(p.Object)
		forged[i] ^= 1
		body := `{"alipay_trade_pay_response":` + string(forged) + `,"sign":"` + p.Sign + `"}`
		if r, err := c.Decode(call, connector.Response{StatusCode: 200, Body: []byte(body)}); err == nil {
			t.Errorf("believed with byte %d changed: %+v", i, r)
		}
	}
}

func TestForgery(t *testing.T) {
	p := readPublished(t)
	c, _ := newTest(t)
	c.PublicKey = connector.NewSecret(p.NotifyKey)
	if err := c.Prepare(); err != nil {
		t.Fatal(err)
	}
	good := p.Accept[1].delivery()
	connectortest.Forgery(t, c, good, 0)

	refuse := func(what string, change func(*connector.Delivery)) {
		t.Helper()
		bad := good
		change(&bad)
		if err := c.VerifyWebhook(bad); !errors.Is(err, connector.ErrSignature) {
			t.Errorf("%s: %v, want ErrSignature", what, err)
		}
	}
	tail := func(s string) func(*connector.Delivery) {
		return func(d *connector.Delivery) { d.Body = append(append([]byte(nil), d.Body...), s...) }
	}
	refuse("by GET", func(d *connector.Delivery) { d.Method = http.MethodGet })
	refuse("a name twice", tail("&trade_status=TRADE_CLOSED"))
	refuse("an unsigned parameter", tail("&refund_fee=0.01"))
	refuse("an empty pair", tail("&"))
	refuse("a nameless value", tail("&=1"))
	refuse("too long", func(d *connector.Delivery) { d.Body = make([]byte, maxNotification+1) })
	refuse("line breaks in sign", func(d *connector.Delivery) {
		v := p.Accept[1]
		q := url.Values{}
		for name, value := range v.Params {
			q.Set(name, value)
		}
		q.Set("sign", v.Params["sign"][:8]+"\n"+v.Params["sign"][8:])
		d.Body = []byte(q.Encode())
	})
	c.AppID = "9021000999999999"
	refuse("another application's", func(*connector.Delivery) {})
}
