package api_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
)

func visaCard() *payment.Method {
	return &payment.Method{Type: payment.MethodCard, Card: &payment.Card{
		Number: payment.NewSensitive(visa), ExpMonth: 12, ExpYear: 2030, CVC: payment.NewSensitive("123"),
	}}
}

func TestWhatReachesTheEngine(t *testing.T) {
	plain := engine.Create{
		Amount: payment.Money{Minor: 1999, Currency: "EUR"}, CaptureMethod: payment.CaptureAutomatic,
		Confirm: true, Method: visaCard(), Channel: payment.ChannelEcommerce,
	}
	full := engine.Create{
		Amount: payment.Money{Minor: payment.MaxMinor, Currency: "JPY"}, CaptureMethod: payment.CaptureManual, Confirm: true,
		Method:    &payment.Method{Type: payment.MethodCardToken, Token: "pm_1"},
		Reference: "order 1", Description: "two\nlines", StatementDescriptor: "SHOP.EXAMPLE",
		Customer: &payment.Customer{ID: "c1", Name: "Zoë", Email: "zoe@shop.example", Phone: "+49 (30) 123-456", IP: "2001:db8::1"},
		Billing:  &payment.Address{Line1: "Weg 1", Line2: "Hof", City: "Köln", State: "NW", PostalCode: "50667", Country: "DE"},
		Shipping: &payment.Address{Country: "FR"},
		Browser: &payment.Browser{
			Accept: "*/*", UserAgent: "Mozilla/5.0", Language: "en-GB", ColorDepth: 24,
			ScreenWidth: 1920, ScreenHeight: 1080, TimezoneOffset: -330, Java: true, JavaScript: true,
		},
		ReturnURL: "https://shop.example/done?order=1", Channel: payment.ChannelRecurring, OffSession: true,
		SetupFutureUsage: "off_session", Account: "stripe_us", ExpiresAt: start.Add(30 * 24 * time.Hour),
		Metadata: map[string]string{"a": "1", "b": ""},
	}
	with := func(base engine.Create, change func(*engine.Create)) engine.Create { change(&base); return base }
	text := "ein Text"
	tests := []struct {
		name, method, path, body string
		want                     call
	}{
		{"least", "POST", "/v1/payments", create(), call{Op: "create", In: plain}},
		{"most", "POST", "/v1/payments", `{
			"amount":999999999999,"currency":"jpy","capture_method":"manual","confirm":true,
			"payment_method":{"type":"card_token","token":"pm_1","account":"stripe_us"},
			"reference":"order 1","description":"two\nlines","statement_descriptor":"SHOP.EXAMPLE",
			"customer":{"id":"c1","name":"Zoë","email":"zoe@shop.example","phone":"+49 (30) 123-456","ip":"2001:db8::1"},
			"billing_address":{"line1":"Weg 1","line2":"Hof","city":"Köln","state":"NW","postal_code":"50667","country":"de"},
			"shipping_address":{"country":"FR"},
			"browser":{"accept":"*/*","user_agent":"Mozilla/5.0","language":"en-GB","color_depth":24,"screen_width":1920,"screen_height":1080,"timezone_offset":-330,"java":true,"javascript":true},
			"return_url":"https://shop.example/done?order=1","channel":"recurring","off_session":true,"setup_future_usage":"off_session",
			"account":"stripe_us","expires_at":"2026-03-31T14:00:00+02:00","metadata":{"a":"1","b":""}}`, call{Op: "create", In: full}},
		{"nulls are absent", "POST", "/v1/payments", create("capture_method", "null", "confirm", "null", "reference", "null", "customer", "null",
			"browser", "null", "return_url", "null", "channel", "null", "off_session", "null", "setup_future_usage", "null", "account", "null",
			"expires_at", "null", "metadata", "null", "billing_address", "null", "description", "null", "statement_descriptor", "null"), call{Op: "create", In: plain}},
		{
			"without method", "POST", "/v1/payments", create("payment_method", "", "confirm", "false"),
			call{Op: "create", In: with(plain, func(c *engine.Create) { c.Confirm, c.Method = false, nil })},
		},
		{
			"method kept", "POST", "/v1/payments", create("payment_method", `{"type":"alipay","flow":"redirect"}`, "confirm", "false"),
			call{Op: "create", In: with(plain, func(c *engine.Create) {
				c.Confirm, c.Method = false, &payment.Method{Type: payment.MethodAlipay, Flow: payment.FlowRedirect}
			})},
		},
		{
			"type without details", "POST", "/v1/payments", create("payment_method", `{"type":"ideal"}`),
			call{Op: "create", In: with(plain, func(c *engine.Create) { c.Method = &payment.Method{Type: "ideal"} })},
		},
		{
			"plain HTTP to this machine", "POST", "/v1/payments", create("return_url", `"http://127.0.0.1:8080/x"`),
			call{Op: "create", In: with(plain, func(c *engine.Create) { c.ReturnURL = "http://127.0.0.1:8080/x" })},
		},
		{
			"an ID as metadata", "POST", "/v1/payments", create("metadata", `{"k":"pay_4242424242424242aaaaaaaaaa"}`),
			call{Op: "create", In: with(plain, func(c *engine.Create) { c.Metadata = map[string]string{"k": "pay_4242424242424242aaaaaaaaaa"} })},
		},
		{
			"255 characters of two bytes", "POST", "/v1/payments", create("reference", `"`+strings.Repeat("ä", 255)+`"`),
			call{Op: "create", In: with(plain, func(c *engine.Create) { c.Reference = strings.Repeat("ä", 255) })},
		},

		{"confirm", "POST", "/v1/payments/" + aPayment + "/confirm", "", call{Op: "confirm", ID: aPayment, In: engine.Confirm{}}},
		{
			"confirm with all", "POST", "/v1/payments/" + aPayment + "/confirm",
			`{"payment_method":` + card(`"number":"4242424242424242","exp_month":12,"exp_year":2030,"cvc":"123"`) + `,"return_url":"https://shop.example/","browser":{"java":true}}`,
			call{Op: "confirm", ID: aPayment, In: engine.Confirm{Method: visaCard(), ReturnURL: "https://shop.example/", Browser: &payment.Browser{Java: true}}},
		},
		{
			"confirm with token", "POST", "/v1/payments/" + aPayment + "/confirm", `{"payment_method":{"type":"card_token","token":"t","account":"a"}}`,
			call{Op: "confirm", ID: aPayment, In: engine.Confirm{Method: &payment.Method{Type: payment.MethodCardToken, Token: "t"}, Account: "a"}},
		},
		{"capture all", "POST", "/v1/payments/" + aPayment + "/capture", "", call{Op: "capture", ID: aPayment, In: engine.Capture{Final: true}}},
		{"capture some", "POST", "/v1/payments/" + aPayment + "/capture", `{"amount":5,"final":false}`, call{Op: "capture", ID: aPayment, In: engine.Capture{Amount: 5}}},
		{"cancel", "POST", "/v1/payments/" + aPayment + "/cancel", `{}`, call{Op: "cancel", ID: aPayment, In: engine.Cancel{}}},
		{"cancel why", "POST", "/v1/payments/" + aPayment + "/cancel", `{"reason":"abandoned"}`, call{Op: "cancel", ID: aPayment, In: engine.Cancel{Reason: "abandoned"}}},
		{"refund all", "POST", "/v1/refunds", `{"payment":"` + aPayment + `"}`, call{Op: "refund", In: engine.Refund{Payment: aPayment}}},
		{
			"refund some", "POST", "/v1/refunds", `{"payment":"` + aPayment + `","amount":7,"reason":"broken","metadata":{"k":"v"}}`,
			call{Op: "refund", In: engine.Refund{Payment: aPayment, Amount: 7, Reason: "broken", Metadata: map[string]string{"k": "v"}}},
		},
		{
			"patch", "PATCH", "/v1/payments/" + aPayment, `{"metadata":{"a":"1","b":null,"c":""},"description":"ein Text","reference":null}`,
			call{Op: "patch", ID: aPayment, In: engine.Patch{Metadata: map[string]string{"a": "1", "b": "", "c": ""}, Description: &text}},
		},
		{"get", "GET", "/v1/payments/" + aPayment, "", call{Op: "payment", ID: aPayment, In: false}},
		{"head", "HEAD", "/v1/payments/" + aPayment, "", call{Op: "payment", ID: aPayment, In: false}},
		{"sync", "GET", "/v1/payments/" + aPayment + "?sync=true", "", call{Op: "payment", ID: aPayment, In: true}},
		{"no sync", "GET", "/v1/payments/" + aPayment + "?sync=false", "", call{Op: "payment", ID: aPayment, In: false}},
		{"a body of GET is ignored", "GET", "/v1/payments/" + aPayment, "\xff{{", call{Op: "payment", ID: aPayment, In: false}},
		{"refund", "GET", "/v1/refunds/" + aRefund, "", call{Op: "refund_of", ID: aRefund}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDoor(t)
			w := d.do(tt.method, tt.path, tt.body)
			if w.Code >= 300 || len(d.engine.calls) != 1 {
				t.Fatalf("got %d %s and %d calls, want one call", w.Code, w.Body, len(d.engine.calls))
			}
			wantHeaders(t, w)
			got := d.engine.calls[0]
			scope := engine.Scope{Merchant: d.shop.ID, Mode: payment.Test}
			switch tt.want.Op {
			case "payment", "refund_of", "patch":
				tt.want.Scope = scope
			default:
				tt.want.Claim = engine.Claim{Scope: scope, Key: "order-1", Fingerprint: got.Claim.Fingerprint, Origin: "http://example.com"}
				if got.Claim.Fingerprint == ([32]byte{}) {
					t.Error("there is no fingerprint")
				}
			}
			if diff := cmp.Diff(tt.want, got, sameSensitive); diff != "" {
				t.Errorf("call (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	d := newDoor(t)
	d.engine.answer = engine.Answer{Status: 201, ContentType: "application/json", Body: []byte("{\"id\" : \"x\"}\n"), PSP: 12340 * time.Microsecond}
	w := d.do("POST", "/v1/payments", create())
	if w.Code != 201 || w.Body.String() != "{\"id\" : \"x\"}\n" || w.Header().Get("Idempotent-Replayed") != "" {
		t.Errorf("got %d %q %v, want the engine's bytes untouched", w.Code, w.Body, w.Header())
	}
	if got := w.Header().Get("Server-Timing"); got != "total;dur=0.00, psp;dur=12.34" {
		t.Errorf("Server-Timing %q", got)
	}
	d.engine.answer.Replayed, d.engine.answer.ContentType = true, "application/vnd.old+json"
	w2 := d.do("POST", "/v1/payments", create())
	if w2.Header().Get("Idempotent-Replayed") != "true" || w2.Header().Get("Content-Type") != "application/vnd.old+json" || w2.Body.String() != w.Body.String() {
		t.Errorf("replay: %q %v", w2.Body, w2.Header())
	}
	if w.Header().Get("Request-Id") == w2.Header().Get("Request-Id") {
		t.Error("two answers bear one Request-Id")
	}
	d.engine.object = payment.Payment{ID: aPayment, Mode: payment.Live, Status: payment.Succeeded, Amount: payment.Money{Minor: 5, Currency: "EUR"}}
	for _, w := range []string{
		d.do("GET", "/v1/payments/"+aPayment, "").Body.String(),
		d.do("PATCH", "/v1/payments/"+aPayment, "{}").Body.String(),
	} {
		if !strings.Contains(w, `"object":"payment","livemode":true`) || !strings.Contains(w, `"status":"succeeded"`) {
			t.Errorf("the payment's object is %s", w)
		}
	}
	wantProblem(t, d.do("GET", "/v1/refunds/"+aRefund, ""), payment.CodeNotFound, "")
}

func TestFingerprint(t *testing.T) {
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) { testFingerprint(t, form) })
	}
}

func testFingerprint(t *testing.T, form form) {
	t.Helper()
	members := `"number":"4242424242424242","exp_month":12,"exp_year":2030,"cvc":"123"`
	method := form.write("card", members)
	base := `{"amount":1999,"currency":"EUR","payment_method":` + method + `,"metadata":{"a":"ä","b":"2"}}`
	swap := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(base) }
	tests := []struct {
		name, body string
		same       bool
	}{
		{"itself", base, true},
		{"another cvc", swap(`"cvc":"123"`, `"cvc":"999"`), true},
		{"no cvc", swap(`,"cvc":"123"`, ``), true},
		{"null cvc", swap(`"cvc":"123"`, `"cvc":null`), true},
		{"cvc first", swap(`"number"`, ` "cvc" : "777" , "number"`, `,"cvc":"123"`, ``), true},
		{"cvc in the middle", swap(`"exp_month":12,`, "\"exp_month\":12,\n\t\"cvc\"\n: \"1234\"\n,", `,"cvc":"123"`, ``), true},
		{"cvc last, with space", swap(`,"cvc":"123"`, " ,  \"cvc\":\"124\" \n"), true},
		{"cvc escaped", swap(`"cvc"`, `"\u0063vc"`), true},
		{"white space", swap(`:`, ` : `, `,`, "\n,"), true},
		{"order", `{"currency":"EUR","metadata":{"b":"2","a":"ä"},"amount":1999,"payment_method":` +
			form.write("card", `"cvc":"1234","exp_year":2030,"exp_month":12,"number":"4242424242424242"`) + `}`, true},
		{"escapes", swap(`"ä"`, `"\u00e4"`, `EUR`, `\u0045UR`), true},
		{"the other form", swap(method, form.other("card", members)), false},
		{"another amount", swap(`1999`, `1998`), false},
		{"another number", swap(visa, `5555555555554444`), false},
		{"another month", swap(`"exp_month":12`, `"exp_month":11`), false},
		{"currency in lower case", swap(`EUR`, `eur`), false},
		{"a field more", swap(`{"amount"`, `{"reference":"x","amount"`), false},
		{"cvc as metadata", swap(`"b":"2"`, `"b":"2","cvc":"1"`), false},
		{"a holder named cvc", swap(`"cvc":"123"`, `"holder_name":"cvc"`), false},
		{"another metadata", swap(`"ä"`, `"a"`), false},
	}
	d := newDoor(t)
	want := d.fingerprint("/v1/payments", base)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := d.fingerprint("/v1/payments", tt.body); (got == want) != tt.same {
				t.Errorf("%s\nsame fingerprint: %v, want %v", tt.body, got == want, tt.same)
			}
		})
	}
	confirm := "/v1/payments/" + aPayment + "/confirm"
	with := func(cvc string) [32]byte {
		return d.fingerprint(confirm, `{"payment_method":`+form.write("card", strings.Replace(members, `"123"`, cvc, 1))+`}`)
	}
	if with(`"123"`) != with(`"456"`) {
		t.Error("the cvc of a confirm is in its fingerprint")
	}
}

// TestFingerprintOfTwoCVCs: a null beside the object is absent, so that a valid
// body may have two members of the name; neither counts.
func TestFingerprintOfTwoCVCs(t *testing.T) {
	const object = `"card":{"number":"4242424242424242","exp_month":12,"exp_year":2030,"cvc":"123"}`
	d := newDoor(t)
	want := d.fingerprint("/v1/payments", create("payment_method", `{"type":"card",`+object+`}`))
	for _, method := range []string{
		`{"cvc":null,"type":"card",` + object + `}`,
		`{"type":"card",` + object + ` , "cvc":null }`,
		`{"type":"card","cvc":null,` + strings.Replace(object, "123", "999", 1) + `}`,
		`{"type":"card",` + strings.Replace(object, `"123"`, "null", 1) + `,"cvc":null}`,
	} {
		if d.fingerprint("/v1/payments", create("payment_method", method)) != want {
			t.Errorf("the fingerprint of %s holds a cvc", method)
		}
	}
}

// fingerprint is that of a POST which must be taken.
func (d *door) fingerprint(path, body string) [32]byte {
	d.t.Helper()
	before := len(d.engine.calls)
	if w := d.do("POST", path, body); len(d.engine.calls) != before+1 {
		d.t.Fatalf("%s was refused: %s", body, w.Body)
	}
	return d.engine.calls[before].Claim.Fingerprint
}

func TestFingerprintOfRoutes(t *testing.T) {
	d := newDoor(t)
	other := "pay_01h455vb4pex5vsknk084sn02r"
	var all [][32]byte
	for _, path := range []string{aPayment + "/capture", aPayment + "/cancel", aPayment + "/confirm", other + "/capture"} {
		p := d.fingerprint("/v1/payments/"+path, "{}")
		if slices.Contains(all, p) {
			t.Errorf("%s shares its fingerprint with another route", path)
		}
		all = append(all, p)
		if empty := d.fingerprint("/v1/payments/"+path, ""); empty != p {
			t.Errorf("%s: no body and {} differ", path)
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	long := strings.Repeat("k", 255)
	tests := []struct {
		name   string
		fields []string
		key    string // "" = refused
	}{
		{"bare", []string{"order-1"}, "order-1"},
		{"UUID", []string{"8e03978e-40d5-43dd-bc93-6894a57f9324"}, "8e03978e-40d5-43dd-bc93-6894a57f9324"},
		{"quoted", []string{`"order-1"`}, "order-1"},
		{"quoted, with space around", []string{`  "order-1"  `}, "order-1"},
		{"escapes", []string{`"a\"b\\c"`}, `a"b\c`},
		{"bare with the same characters", []string{`a"b\c`}, `a"b\c`},
		{"every sort of character", []string{`!#$%&'()*+,-./:;<=>?@[\]^_{|}~`}, `!#$%&'()*+,-./:;<=>?@[\]^_{|}~`},
		{"255", []string{long}, long},
		{"255 quoted", []string{`"` + long + `"`}, long},
		{"256", []string{long + "k"}, ""},
		{"256 quoted", []string{`"` + long + `k"`}, ""},
		{"empty", []string{""}, ""},
		{"empty quoted", []string{`""`}, ""},
		{"spaces", []string{"   "}, ""},
		{"space inside", []string{"a b"}, ""},
		{"space inside quotes", []string{`"a b"`}, ""},
		{"tab inside", []string{"a\tb"}, ""},
		{"control character", []string{"a\x01"}, ""},
		{"delete", []string{"a\x7f"}, ""},
		{"not ASCII", []string{"ä"}, ""},
		{"not ASCII quoted", []string{`"ä"`}, ""},
		{"no end quote", []string{`"a`}, ""},
		{"quote alone", []string{`"`}, ""},
		{"text after quotes", []string{`"a"b`}, ""},
		{"two members", []string{`"a", "b"`}, ""},
		{"parameters", []string{`"a";v=1`}, ""},
		{"bad escape", []string{`"a\n"`}, ""},
		{"two fields", []string{"a", "b"}, ""},
		{"the same twice", []string{"a", "a"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDoor(t)
			r := newRequest(d, "POST", "/v1/payments", create())
			r.Header["Idempotency-Key"] = tt.fields
			w := d.serve(r)
			if tt.key == "" {
				wantProblem(t, w, payment.CodeKeyInvalid, "Idempotency-Key")
				d.wantUntouched()
				return
			}
			if len(d.engine.calls) != 1 || d.engine.calls[0].Claim.Key != tt.key {
				t.Errorf("got %d %s, calls %+v; want the key %q", w.Code, w.Body, d.engine.calls, tt.key)
			}
		})
	}
	d := newDoor(t)
	for _, path := range []string{"/v1/payments/" + aPayment + "/confirm", "/v1/payments/" + aPayment + "/capture", "/v1/payments/" + aPayment + "/cancel"} {
		wantProblem(t, d.do("POST", path, "", "Idempotency-Key", "-"), payment.CodeKeyRequired, "")
	}
	wantProblem(t, d.do("POST", "/v1/refunds", `{"payment":"`+aPayment+`"}`, "Idempotency-Key", "-"), payment.CodeKeyRequired, "")
	d.wantUntouched()
	if w := d.do("PATCH", "/v1/payments/"+aPayment, "{}"); w.Code != 200 {
		t.Errorf("PATCH without a key: %d %s", w.Code, w.Body)
	}
}
