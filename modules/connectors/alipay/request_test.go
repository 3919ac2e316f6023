package alipay

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connector/connectortest"
	"github.com/purser-pay/purser/modules/payment"
)

func TestSubject(t *testing.T) {
	long := strings.Repeat("明", 100) // 300 bytes
	tests := map[string]struct {
		op   payment.Authorize
		want string
	}{
		"description":      {payment.Authorize{Description: "Shoes", Reference: "o-1"}, "Shoes"},
		"reference":        {payment.Authorize{Reference: "o-1"}, "o-1"},
		"neither":          {payment.Authorize{}, "Payment"},
		"only forbidden":   {payment.Authorize{Description: "/=&\x00\n", Reference: "&&"}, "Payment"},
		"forbidden within": {payment.Authorize{Description: "a/b=c&d"}, "a b c d"},
		"not UTF-8":        {payment.Authorize{Description: "a\xffb"}, "a b"},
		"cut":              {payment.Authorize{Description: long}, strings.Repeat("明", 85)},
		"Chinese and plus": {payment.Authorize{Description: "yansongda+测试 - 1"}, "yansongda+测试 - 1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := subject(tt.op); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzPlain(f *testing.F) {
	f.Add("a/b=c&d")
	f.Add(strings.Repeat("明", 100) + "\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := plain(s)
		if len(got) > maxSubject || !utf8.ValidString(got) || strings.ContainsAny(got, "/=&\r\n\x00") || strings.TrimSpace(got) != got {
			t.Errorf("plain(%q) = %q", s, got)
		}
		if again := plain(got); again != got {
			t.Errorf("plain is not stable: %q, then %q", got, again)
		}
	})
}

func TestExpiry(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 999, time.UTC)
	tests := map[string]struct {
		expires time.Duration // after start; 0 = none
		want    string
	}{
		"none":             {0, ""},
		"in Shanghai":      {20 * time.Hour, "2026-01-03 07:04:05"},
		"the longest":      {orderLife, "2026-01-17 11:04:05"},
		"over the longest": {30 * 24 * time.Hour, "2026-01-17 11:04:05"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			op := payment.Authorize{CreatedAt: start}
			if tt.expires > 0 {
				op.ExpiresAt = start.Add(tt.expires)
			}
			if got := expiry(op); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestRepeat: a repeat at another time differs in timestamp and sign alone.
func TestRepeat(t *testing.T) {
	c, _ := newTest(t)
	charge := payment.ChargeRef{Reference: "charge1", Amount: payment.Money{Minor: 100, Currency: "CNY"}, CreatedAt: connectortest.Now()}
	for _, op := range []payment.Operation{barcode(), payment.Void{Charge: charge}, payment.GiveBack{Charge: charge, Amount: charge.Amount}} {
		var seen []url.Values
		for _, at := range []time.Duration{0, time.Hour} {
			call := testCall(op)
			call.Now = call.Now.Add(at)
			m, err := c.message(call)
			if err != nil {
				t.Fatal(err)
			}
			p, body, err := c.parameters(call, m)
			if err != nil {
				t.Fatal(err)
			}
			if p.Get("timestamp") != call.Now.In(shanghai).Format(timeLayout) {
				t.Errorf("%s: timestamp %q is not now", op.Kind(), p.Get("timestamp"))
			}
			p.Set("biz_content", body)
			p.Del("timestamp")
			p.Del("sign")
			seen = append(seen, p)
		}
		if got, want := seen[1].Encode(), seen[0].Encode(); got != want {
			t.Errorf("%s: repeated as\n%s\nwant\n%s", op.Kind(), got, want)
		}
	}
}

func TestVoidMethod(t *testing.T) {
	c, _ := newTest(t)
	now := connectortest.Now()
	tests := map[string]struct {
		created time.Time
		want    string
	}{
		"unknown":       {time.Time{}, methodCancel},
		"just now":      {now, methodCancel},
		"at the margin": {now.Add(-cancelWindow + connector.WindowMargin + time.Second), methodCancel},
		"past it":       {now.Add(-cancelWindow + connector.WindowMargin), methodClose},
		"days ago":      {now.Add(-72 * time.Hour), methodClose},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := c.message(testCall(payment.Void{Charge: payment.ChargeRef{Reference: "r", CreatedAt: tt.created}}))
			if err != nil || m.method != tt.want {
				t.Errorf("got %q, %v; want %q", m.method, err, tt.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	c, _ := newTest(t)
	cny := func(minor int64) payment.Money { return payment.Money{Minor: minor, Currency: "CNY"} }
	tests := map[string]struct {
		op   payment.Operation
		want error
	}{
		"a fen":         {authorize(cny(1), payment.FlowQR, true), nil},
		"the most":      {authorize(cny(maxAmount), payment.FlowApp, true), nil},
		"nothing":       {authorize(cny(0), payment.FlowQR, true), connector.ErrNotRepresentable},
		"too much":      {authorize(cny(maxAmount+1), payment.FlowQR, true), connector.ErrNotRepresentable},
		"dollars":       {authorize(payment.Money{Minor: 1, Currency: "USD"}, payment.FlowQR, true), connector.ErrNotRepresentable},
		"manual":        {authorize(cny(1), payment.FlowQR, false), connector.ErrUnsupported},
		"no flow":       {authorize(cny(1), "", true), connector.ErrUnsupported},
		"card":          {payment.Authorize{Amount: cny(1), Capture: true, Method: payment.Method{Type: payment.MethodCard}}, connector.ErrUnsupported},
		"capture":       {payment.Capture{Amount: cny(1)}, connector.ErrUnsupported},
		"refund":        {payment.GiveBack{Amount: cny(1)}, nil},
		"refund dollar": {payment.GiveBack{Amount: payment.Money{Minor: 1, Currency: "USD"}}, connector.ErrNotRepresentable},
		"void":          {payment.Void{}, nil},
		"sync":          {payment.Sync{}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := c.Check(tt.op); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func authorize(m payment.Money, f payment.Flow, capture bool) payment.Authorize {
	return payment.Authorize{Amount: m, Capture: capture, Method: payment.Method{Type: payment.MethodAlipay, Flow: f}}
}

// TestOfflineSignature: what the payer carries verifies with our public key, the
// way Alipay verifies it.
func TestOfflineSignature(t *testing.T) {
	c, _ := newTest(t)
	_, key := testKey(t, "test_application.pem")
	op := authorize(payment.Money{Minor: 1050, Currency: "CNY"}, payment.FlowRedirect, true)
	op.Description, op.NotifyURL, op.ReturnURL = "测试 + 1", "https://pay.example.com/w?a=b&c=d", "https://pay.example.com/return/x"
	r, ok, err := c.Offline(testCall(op))
	if err != nil || !ok {
		t.Fatalf("got %v, error %v", ok, err)
	}
	u, err := url.Parse(r.Action.URL)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := u.Host+u.Path, "openapi.alipay.com/gateway.do"; got != want {
		t.Errorf("payer goes to %s, want %s", got, want)
	}
	p := u.Query()
	ours := keyPair{public: &key.PublicKey}
	if !ours.verify([]byte(signText(p)), p.Get("sign")) {
		t.Errorf("sign of %s does not verify", signText(p))
	}
	for name, want := range map[string]string{"return_url": op.ReturnURL, "notify_url": op.NotifyURL, "method": methodPage} {
		if got := p.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestOpen: the object is taken as it came, and what is ambiguous is refused.
func TestOpen(t *testing.T) {
	tests := map[string]struct {
		body, want string // want "" = refused
	}{
		"plain":            {`{"a_response":{"code":"1"},"sign":"s"}`, `{"code":"1"}`},
		"sign first":       {`{"sign":"s","a_response":{"code":"1"}}`, `{"code":"1"}`},
		"spaces":           {"{ \"a_response\" : { \"code\" :\t\"1\" } , \"sign\":\"s\"}\n", "{ \"code\" :\t\"1\" }"},
		"braces in text":   {`{"a_response":{"m":"}\"},\\","n":{"o":["}"]}},"sign":"s"}`, `{"m":"}\"},\\","n":{"o":["}"]}}`},
		"escapes stay":     {`{"a_response":{"u":"https:\/\/a\u4e2d"},"sign":"s"}`, `{"u":"https:\/\/a\u4e2d"}`},
		"sign within":      {`{"a_response":{"sign":"x"},"sign":"s"}`, `{"sign":"x"}`},
		"certificate":      {`{"a_response":{},"alipay_cert_sn":"1","sign":"s"}`, `{}`},
		"escaped name":     {`{"a_respons\u0065":{},"sign":"s"}`, `{}`},
		"two objects":      {`{"a_response":{},"error_response":{},"sign":"s"}`, ""},
		"name twice":       {`{"a_response":{},"a_response":{},"sign":"s"}`, ""},
		"sign twice":       {`{"a_response":{},"sign":"s","sign":"t"}`, ""},
		"name twice below": {`{"a_response":{"b":[{"c":1,"c":2}]},"sign":"s"}`, ""},
		"no object":        {`{"sign":"s"}`, ""},
		"a text":           {`{"a_response":"{}","sign":"s"}`, ""},
		"a number as sign": {`{"a_response":{},"sign":1}`, ""},
		"not UTF-8":        {"{\"a_response\":{\"m\":\"\xff\"},\"sign\":\"s\"}", ""},
		"cut off":          {`{"a_response":{},"sign":"s"`, ""},
		"followed":         {`{"a_response":{},"sign":"s"}{}`, ""},
		"a list":           {`[{"a_response":{}}]`, ""},
		"empty":            {``, ""},
		"HTML":             {`<html>`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e, err := open([]byte(tt.body))
			if string(e.object) != tt.want && err == nil || (err == nil) != (tt.want != "") {
				t.Errorf("got %q, error %v; want %q", e.object, err, tt.want)
			}
		})
	}
}
