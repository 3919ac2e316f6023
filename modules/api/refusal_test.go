package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/purser-pay/purser/modules/payment"
)

// create returns the body of a valid create request, with members replaced,
// added, or (value "") removed.
func create(members ...string) string {
	fields := map[string]string{
		"amount": "1999", "currency": `"EUR"`,
		"payment_method": card(`"number":"4242424242424242","exp_month":12,"exp_year":2030,"cvc":"123"`),
	}
	order := []string{"amount", "currency", "payment_method"}
	for i := 0; i+1 < len(members); i += 2 {
		if _, there := fields[members[i]]; !there {
			order = append(order, members[i])
		}
		fields[members[i]] = members[i+1]
	}
	var parts []string
	for _, name := range order {
		if fields[name] != "" {
			parts = append(parts, fmt.Sprintf("%q:%s", name, fields[name]))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func quoted(n int) string { return `"` + strings.Repeat("x", n) + `"` }

func metadata(n int) string {
	var parts []string
	for i := range n {
		parts = append(parts, fmt.Sprintf(`"k%d":"v"`, i))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// TestCreateRefuses holds every rule of the create request, one row each.
func TestCreateRefuses(t *testing.T) {
	const invalid, pan = payment.CodeInvalidRequest, payment.CodePANNotAllowed
	tests := []struct {
		name, body string
		code       payment.Code
		param      string
	}{
		{"no amount", create("amount", ""), invalid, "amount"},
		{"null amount", create("amount", "null"), invalid, "amount"},
		{"zero amount", create("amount", "0"), invalid, "amount"},
		{"minus zero", create("amount", "-0"), invalid, "amount"},
		{"negative amount", create("amount", "-1"), invalid, "amount"},
		{"amount over the limit", create("amount", "1000000000000"), invalid, "amount"},
		{"amount over int64", create("amount", "99999999999999999999"), invalid, "amount"},
		{"amount with exponent", create("amount", "1e3"), invalid, "amount"},
		{"amount with fraction", create("amount", "1000.0"), invalid, "amount"},
		{"amount as string", create("amount", `"1000"`), invalid, "amount"},
		{"amount as array", create("amount", `[1000]`), invalid, "amount"},
		{"no currency", create("currency", ""), invalid, "currency"},
		{"null currency", create("currency", "null"), invalid, "currency"},
		{"unknown currency", create("currency", `"EUU"`), invalid, "currency"},
		{"empty currency", create("currency", `""`), invalid, "currency"},
		{"long currency", create("currency", `"EURO"`), invalid, "currency"},
		{"currency as number", create("currency", "978"), invalid, "currency"},

		{"unknown field", create("amont", "1"), invalid, "amont"},
		{"case-folded field", create("Amount", "1"), invalid, "Amount"},
		{"unknown nested field", create("customer", `{"nmae":"A"}`), invalid, "customer.nmae"},
		{"case-folded nested field", create("customer", `{"Email":"a@b.example"}`), invalid, "customer.Email"},
		{"wrong nested type", create("customer", `{"email":7}`), invalid, "customer.email"},
		{"object for string", create("reference", `{}`), invalid, "reference"},
		{"string for boolean", create("confirm", `"true"`), invalid, "confirm"},
		{"number for boolean", create("off_session", `1`), invalid, "off_session"},

		{"no method", create("payment_method", ""), invalid, "payment_method"},
		{"null method", create("payment_method", "null", "confirm", "true"), invalid, "payment_method"},

		{"capture method", create("capture_method", `"later"`), invalid, "capture_method"},
		{"empty capture method", create("capture_method", `""`), invalid, "capture_method"},
		{"channel", create("channel", `"web"`), invalid, "channel"},
		{"future usage", create("setup_future_usage", `"always"`), invalid, "setup_future_usage"},
		{"account", create("account", `"a/b"`), invalid, "account"},
		{"long reference", create("reference", quoted(256)), invalid, "reference"},
		{"reference with line break", create("reference", `"a\nb"`), invalid, "reference"},
		{"long description", create("description", quoted(501)), invalid, "description"},
		{"description with NUL", create("description", `"a\u0000b"`), invalid, "description"},
		{"short descriptor", create("statement_descriptor", `"SHOP"`), invalid, "statement_descriptor"},
		{"long descriptor", create("statement_descriptor", quoted(23)), invalid, "statement_descriptor"},
		{"descriptor with star", create("statement_descriptor", `"SHOP*1"`), invalid, "statement_descriptor"},
		{"descriptor of digits", create("statement_descriptor", `"12345"`), invalid, "statement_descriptor"},
		{"e-mail", create("customer", `{"email":"a.example"}`), invalid, "customer.email"},
		{"e-mail with break", create("customer", `{"email":"a@b.example\r\nBcc: c"}`), invalid, "customer.email"},
		{"phone", create("customer", `{"phone":"call me"}`), invalid, "customer.phone"},
		{"ip", create("customer", `{"ip":"300.1.1.1"}`), invalid, "customer.ip"},
		{"ip with zone", create("customer", `{"ip":"fe80::1%eth0"}`), invalid, "customer.ip"},
		{"customer as string", create("customer", `"cus_1"`), invalid, "customer"},
		{"country", create("billing_address", `{"country":"XX"}`), invalid, "billing_address.country"},
		{"country by name", create("shipping_address", `{"country":"Germany"}`), invalid, "shipping_address.country"},
		{"country across two", create("shipping_address", `{"country":"D "}`), invalid, "shipping_address.country"},
		{"address line", create("billing_address", `{"line1":`+quoted(201)+`}`), invalid, "billing_address.line1"},
		{"browser language", create("browser", `{"language":"en_GB"}`), invalid, "browser.language"},
		{"browser screen", create("browser", `{"screen_width":-1}`), invalid, "browser.screen_width"},
		{"browser time zone", create("browser", `{"timezone_offset":841}`), invalid, "browser.timezone_offset"},
		{"relative return", create("return_url", `"/done"`), invalid, "return_url"},
		{"plain return", create("return_url", `"http://shop.example/done"`), invalid, "return_url"},
		{"script return", create("return_url", `"javascript:alert(1)"`), invalid, "return_url"},
		{"return with user", create("return_url", `"https://a:b@shop.example/"`), invalid, "return_url"},
		{"return without host", create("return_url", `"https:///done"`), invalid, "return_url"},
		{"loopback's namesake", create("return_url", `"http://localhost.evil.example/"`), invalid, "return_url"},
		{"long return", create("return_url", `"https://shop.example/`+strings.Repeat("x", 2048)+`"`), invalid, "return_url"},
		{"expiry not a time", create("expires_at", `"tomorrow"`), invalid, "expires_at"},
		{"expiry as number", create("expires_at", `1772366400`), invalid, "expires_at"},
		{"expiry without zone", create("expires_at", `"2026-03-02T12:00:00"`), invalid, "expires_at"},
		{"expiry now", create("expires_at", `"2026-03-01T12:00:00Z"`), invalid, "expires_at"},
		{"expiry far ahead", create("expires_at", `"2026-03-31T12:00:01Z"`), invalid, "expires_at"},
		{"metadata keys", create("metadata", metadata(51)), invalid, "metadata"},
		{"metadata key length", create("metadata", `{`+quoted(41)+`:"v"}`), invalid, "metadata"},
		{"metadata empty key", create("metadata", `{"":"v"}`), invalid, "metadata"},
		{"metadata value length", create("metadata", `{"k":`+quoted(501)+`}`), invalid, "metadata.k"},
		{"metadata number", create("metadata", `{"k":1}`), invalid, "metadata.k"},
		{"metadata null", create("metadata", `{"k":null}`), invalid, "metadata.k"},
		{"metadata object", create("metadata", `{"k":{}}`), invalid, "metadata.k"},
		{"metadata array", create("metadata", `[]`), invalid, "metadata"},

		{"card number as reference", create("reference", `"4242424242424242"`), pan, "reference"},
		{"card number with spaces", create("description", `"card 4242 4242 4242 4242, thanks"`), pan, "description"},
		{"escaped card number", create("description", `"\u0034242424242424242"`), pan, "description"},
		{"card number in metadata", create("metadata", `{"k":"4242-4242-4242-4242"}`), pan, "metadata.k"},
		{"card number as metadata key", create("metadata", `{"4242424242424242":"v"}`), pan, "metadata.[redacted]"},
		{"card number as unknown field", create("4242424242424242", "1"), pan, "[redacted]"},
		{"card number in an unknown field", create("x", `{"number":"4242424242424242"}`), pan, "x.number"},
	}
	d := newDoor(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := d.do("POST", "/v1/payments", tt.body)
			wantProblem(t, w, tt.code, tt.param)
			if strings.Contains(w.Body.String(), "42424242") {
				t.Errorf("the answer holds a card number: %s", w.Body)
			}
			d.wantUntouched()
		})
	}
	if d.log.Len() > 0 {
		t.Errorf("refusals were logged:\n%s", d.log)
	}
}

func TestBodyRefuses(t *testing.T) {
	const bad, invalid = payment.CodeInvalidJSON, payment.CodeInvalidRequest
	deep := func(n int) string {
		return create("x", strings.Repeat("[", n)+strings.Repeat("]", n))
	}
	tests := []struct {
		name, body string
		code       payment.Code
		param      string
	}{
		{"empty", "", bad, ""},
		{"white space", " \n", bad, ""},
		{"null", "null", invalid, ""},
		{"array", "[]", invalid, ""},
		{"string", `"a"`, invalid, ""},
		{"number", "7", invalid, ""},
		{"truncated", `{"amount":1`, bad, "amount"},
		{"trailing brace", create() + "}", bad, ""},
		{"second object", create() + create(), bad, ""},
		{"trailing text", create() + " x", bad, ""},
		{"trailing comma", `{"amount":1,}`, bad, "amount"},
		{"comment", `{"amount":1/* */}`, bad, "amount"},
		{"single quotes", `{'amount':1}`, bad, ""},
		{"NaN", create("amount", "NaN"), bad, "amount"},
		{"Infinity", create("amount", "-Infinity"), bad, "amount"},
		{"leading zero", create("amount", "01"), bad, "amount"},
		{"plus", create("amount", "+1"), bad, "amount"},
		{"hexadecimal", create("amount", "0x1"), bad, "amount"},
		{"True", create("confirm", "True"), bad, "confirm"},
		{"duplicate", `{"amount":1,"amount":2}`, bad, "amount"},
		{"duplicate by escape", `{"amount":1,"\u0061mount":2}`, bad, "amount"},
		{"nested duplicate", create("metadata", `{"a":"1","a":"2"}`), bad, "metadata.a"},
		{"bad UTF-8", create("reference", "\"\xff\""), bad, "reference"},
		{"overlong UTF-8", create("reference", "\"\xc0\xaf\""), bad, "reference"},
		{"UTF-8 surrogate", create("reference", "\"\xed\xa0\x80\""), bad, "reference"},
		{"lone surrogate", create("reference", `"\ud800"`), bad, "reference"},
		{"control character", create("reference", "\"a\tb\""), bad, "reference"},
		{"bad escape", create("reference", `"\x41"`), bad, "reference"},
		{"byte order mark", "\xef\xbb\xbf" + create(), bad, ""},
		{"UTF-16", "{\x00}\x00", bad, ""},
		{"depth 33", deep(32), bad, "x" + strings.Repeat(".0", 31)},
		{"depth 32 is deep enough", deep(31), invalid, "x"},
	}
	d := newDoor(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantProblem(t, d.do("POST", "/v1/payments", tt.body), tt.code, tt.param)
			d.wantUntouched()
		})
	}
}

func TestSizeAndMediaType(t *testing.T) {
	const media, large = payment.CodeUnsupportedMediaType, payment.CodeBodyTooLarge
	pad := func(n int) string { return create() + strings.Repeat(" ", n-len(create())) }
	tests := []struct {
		name, body string
		chunked    bool
		headers    []string
		code       payment.Code // "" = accepted
	}{
		{"64 KiB", pad(64 << 10), false, nil, ""},
		{"64 KiB and one", pad(64<<10 + 1), false, nil, large},
		{"64 KiB and one, no credential", pad(64<<10 + 1), false, []string{"Authorization", "-"}, large},
		{"chunked", pad(64 << 10), true, nil, ""},
		{"chunked and too large", pad(64<<10 + 1), true, nil, large},
		{"no type", create(), false, []string{"Content-Type", "-"}, media},
		{"form", create(), false, []string{"Content-Type", "application/x-www-form-urlencoded"}, media},
		{"text", create(), false, []string{"Content-Type", "text/json"}, media},
		{"problem", create(), false, []string{"Content-Type", "application/problem+json"}, media},
		{"latin-1", create(), false, []string{"Content-Type", "application/json; charset=latin1"}, media},
		{"two types", create(), false, []string{"Content-Type", "+application/json"}, media},
		{"garbled", create(), false, []string{"Content-Type", "application/json; ="}, media},
		{"other parameter", create(), false, []string{"Content-Type", "application/json; v=1"}, media},
		{"gzip", create(), false, []string{"Content-Encoding", "gzip"}, media},
		{"utf-8", create(), false, []string{"Content-Type", "application/json; charset=utf-8"}, ""},
		{"UTF-8 quoted, capitals", create(), false, []string{"Content-Type", `Application/JSON;charset="UTF-8"`}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDoor(t)
			r := httptest.NewRequest(http.MethodPost, "/v1/payments", strings.NewReader(tt.body))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+d.keys["test"])
			r.Header.Set("Idempotency-Key", "k")
			for i := 0; i < len(tt.headers); i += 2 {
				switch v := tt.headers[i+1]; {
				case v == "-":
					r.Header.Del(tt.headers[i])
				case v[0] == '+':
					r.Header.Add(tt.headers[i], v[1:])
				default:
					r.Header.Set(tt.headers[i], v)
				}
			}
			if tt.chunked {
				r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
			}
			w := d.serve(r)
			if got := w.Header().Get("Connection") == "close"; got != tt.chunked {
				t.Errorf("Connection: close is %v, want %v", got, tt.chunked)
			}
			if tt.code == "" {
				if w.Code != 201 || len(d.engine.calls) != 1 {
					t.Errorf("got %d %s, want 201", w.Code, w.Body)
				}
				return
			}
			wantProblem(t, w, tt.code, "")
			d.wantUntouched()
		})
	}
}

// TestTimes holds what a time is, in a body and in a query.
func TestTimes(t *testing.T) {
	const date = "2026-03-02T"
	tests := []struct {
		time string
		ok   bool
	}{
		{date + "09:00:00Z", true},
		{date + "09:00:00.5Z", true},
		{date + "09:00:00.123456789012Z", true},
		{date + "09:00:00+02:00", true},
		{date + "09:00:00-00:00", true},
		{date + "23:59:59+23:59", true},

		{date + "9:00:00Z", false},
		{date + "09:00:00,5Z", false},
		{date + "09:00:00.Z", false},
		{date + "09:00Z", false},
		{date + "090000Z", false},
		{date + "24:00:00Z", false},
		{date + "23:59:60Z", false},
		{date + "09:60:00Z", false},
		{date + "09:00:00", false},
		{date + "09:00:00+2:00", false},
		{date + "09:00:00+0200", false},
		{date + "09:00:00+24:00", false},
		{date + "09:00:00+02:60", false},
		{date + "09:00:00z", false},
		{"2026-03-02t09:00:00Z", false},
		{"2026-03-02 09:00:00Z", false},
		{"2026-3-2T09:00:00Z", false},
		{"2026-02-30T09:00:00Z", false},
		{"+2026-03-02T09:00:00Z", false},
		{" " + date + "09:00:00Z", false},
		{date + "09:00:00Z ", false},
		{"", false},
	}
	d := newDoorWithStore(t)
	for _, tt := range tests {
		answers := map[string]*httptest.ResponseRecorder{
			"expires_at":     d.do("POST", "/v1/payments", create("expires_at", `"`+tt.time+`"`)),
			"created_after":  d.do("GET", "/v1/payments?created_after="+url.QueryEscape(tt.time), ""),
			"created_before": d.do("GET", "/v1/events?created_before="+url.QueryEscape(tt.time), ""),
		}
		for param, w := range answers {
			switch {
			case !tt.ok:
				wantProblem(t, w, payment.CodeInvalidRequest, param)
			case w.Code >= 300:
				t.Errorf("%s %q: got %d %s, want it taken", param, tt.time, w.Code, w.Body)
			}
		}
	}
}

// TestAbsentBody holds that only what has no byte is an absent body, wherever one
// may be left out.
func TestAbsentBody(t *testing.T) {
	const event = "/v1/events/evt_01h455vb4pex5vsknk084sn02q/resend"
	for _, path := range []string{
		"/v1/payments/" + aPayment + "/confirm", "/v1/payments/" + aPayment + "/capture", "/v1/payments/" + aPayment + "/cancel", event,
	} {
		d := newDoorWithStore(t)
		for _, blank := range []string{" ", "  ", "\r\n\t"} {
			wantProblem(t, d.do("POST", path, blank), payment.CodeInvalidJSON, "")
			for _, media := range []string{"text/plain", "-"} {
				wantProblem(t, d.do("POST", path, blank, "Content-Type", media), payment.CodeUnsupportedMediaType, "")
			}
		}
		d.wantUntouched()
		if w := d.do("POST", path, ""); path != event && w.Code >= 300 {
			t.Errorf("%s without a body: got %d %s, want it done", path, w.Code, w.Body)
		}
	}
}

// TestSizeOfIgnoredBodies holds that also a body that nobody looks at is small, before
// anything else is looked at.
func TestSizeOfIgnoredBodies(t *testing.T) {
	large, small := strings.Repeat("x", 64<<10+1), strings.Repeat("x", 64<<10)
	for _, call := range []struct{ method, path string }{
		{"GET", "/v1/account"},
		{"HEAD", "/v1/account"},
		{"GET", "/v1/payments/" + aPayment},
		{"GET", "/healthz"},
		{"DELETE", "/v1/webhook_endpoints/we_01h455vb4pex5vsknk084sn02q"},
	} {
		for _, announced := range []bool{true, false} {
			d := newDoorWithStore(t)
			ask := func(body string) *http.Request {
				r := newRequest(d, call.method, call.path, body)
				if !announced {
					r.ContentLength = -1
				}
				return r
			}
			nobody := ask(large)
			nobody.Header.Del("Authorization")
			for _, r := range []*http.Request{ask(large), nobody} {
				wantProblem(t, d.serve(r), payment.CodeBodyTooLarge, "")
			}
			if w := d.serve(ask(small)); w.Code == 413 || w.Code == 400 {
				t.Errorf("%s %s with 64 KiB: got %d %s, want the body ignored", call.method, call.path, w.Code, w.Body)
			}
		}
	}
}

func TestOtherBodiesRefuse(t *testing.T) {
	const invalid = payment.CodeInvalidRequest
	tests := []struct {
		name, method, path, body string
		code                     payment.Code
		param                    string
	}{
		{"confirm unknown field", "POST", "/v1/payments/" + aPayment + "/confirm", `{"amount":1}`, invalid, "amount"},
		{"confirm return", "POST", "/v1/payments/" + aPayment + "/confirm", `{"return_url":"x"}`, invalid, "return_url"},
		{"capture amount", "POST", "/v1/payments/" + aPayment + "/capture", `{"amount":0}`, invalid, "amount"},
		{"capture final", "POST", "/v1/payments/" + aPayment + "/capture", `{"final":"no"}`, invalid, "final"},
		{"cancel reason", "POST", "/v1/payments/" + aPayment + "/cancel", `{"reason":` + quoted(256) + `}`, invalid, "reason"},
		{"cancel query", "POST", "/v1/payments/" + aPayment + "/cancel?force=true", ``, invalid, "force"},
		{"refund without body", "POST", "/v1/refunds", ``, payment.CodeInvalidJSON, ""},
		{"refund without payment", "POST", "/v1/refunds", `{}`, invalid, "payment"},
		{"refund of nonsense", "POST", "/v1/refunds", `{"payment":"pay_1"}`, payment.CodeNotFound, ""},
		{"refund amount", "POST", "/v1/refunds", `{"payment":"` + aPayment + `","amount":-5}`, invalid, "amount"},
		{"refund with a card", "POST", "/v1/refunds", `{"payment":"` + aPayment + `","payment_method":{"card":{"number":"4242424242424242"}}}`, invalid, "payment_method"},
		{"patch without body", "PATCH", "/v1/payments/" + aPayment, ``, payment.CodeInvalidJSON, ""},
		{"patch amount", "PATCH", "/v1/payments/" + aPayment, `{"amount":1}`, invalid, "amount"},
		{"patch reference", "PATCH", "/v1/payments/" + aPayment, `{"reference":` + quoted(256) + `}`, invalid, "reference"},
		{"patch card number", "PATCH", "/v1/payments/" + aPayment, `{"description":"4242424242424242"}`, payment.CodePANNotAllowed, "description"},
	}
	d := newDoor(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantProblem(t, d.do(tt.method, tt.path, tt.body), tt.code, tt.param)
			d.wantUntouched()
		})
	}
}

func TestCardNumbersOutOfPlace(t *testing.T) {
	tests := []struct{ name, method, target, header, param string }{
		{"path", "GET", "/v1/payments/4242424242424242", "", "path"},
		{"escaped path", "GET", "/v1/payments/%34242424242424242", "", "path"},
		{"query", "GET", "/v1/payments?reference=4242+4242+4242+4242", "", "reference"},
		{"query name", "GET", "/v1/payments?4242424242424242=1", "", "query"},
		{"key", "POST", "/v1/payments", "4242424242424242", "Idempotency-Key"},
		{"key with spaces", "POST", "/v1/payments", `"4242 4242 4242 4242"`, "Idempotency-Key"},
	}
	d := newDoor(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var headers []string
			if tt.header != "" {
				headers = []string{"Idempotency-Key", tt.header}
			}
			wantProblem(t, d.do(tt.method, tt.target, "", headers...), payment.CodePANNotAllowed, tt.param)
			d.wantUntouched()
		})
	}
}

// TestIdentifiersAreTaken: merchants' own identifiers hold digits that pass for a
// card number, one UUID in 800 does.
func TestIdentifiersAreTaken(t *testing.T) {
	for _, id := range []string{"31f4f87b-b632-4788-9424-4635d79a89a5", "31f4f87bb632478894244635d79a89a5"} {
		d := newDoorWithStore(t)
		text := `"` + id + `"`
		body := create("reference", text, "description", `"Order `+id+`"`, "metadata", `{"k":`+text+`,`+text+`:"v"}`)
		for _, key := range []string{id, text} {
			if w := d.do("POST", "/v1/payments", body, "Idempotency-Key", key); w.Code != 201 {
				t.Errorf("create under the key %s: got %d %s, want 201", key, w.Code, w.Body)
			}
		}
		if w := d.do("GET", "/v1/payments?reference="+id, ""); w.Code != 200 {
			t.Errorf("list by %s: got %d %s, want 200", id, w.Code, w.Body)
		}
		wantProblem(t, d.do("GET", "/v1/payments/"+id, ""), payment.CodeNotFound, "")
	}
}

// TestAllow holds that a resource names the same methods to whoever asks by one that
// it does not take, and to the handler that knows no such method at all.
func TestAllow(t *testing.T) {
	d := newDoor(t)
	for path, want := range map[string]string{
		"/v1/payments": "GET, HEAD, POST", "/v1/payments/" + aPayment: "GET, HEAD, PATCH", "/v1/payments/" + aPayment + "/capture": "POST",
		"/v1/webhook_endpoints/we_01h455vb4pex5vsknk084sn02q": "DELETE, GET, HEAD, PATCH", "/healthz": "GET, HEAD",
	} {
		w := d.do("OPTIONS", path, "")
		wantProblem(t, w, payment.CodeMethodNotAllowed, "")
		if got := w.Header().Get("Allow"); got != want {
			t.Errorf("OPTIONS %s: Allow %q, want %q", path, got, want)
		}
		if got := d.api.Allow(httptest.NewRequest("BREW", path, nil)); got != want {
			t.Errorf("BREW %s: Allow %q, want %q", path, got, want)
		}
	}
	for path, want := range map[string]string{"/v1/proxy/acme/v1/charges": "DELETE, GET, HEAD, PATCH, POST, PUT", "/nothing": ""} {
		if got := d.api.Allow(httptest.NewRequest("BREW", path, nil)); got != want {
			t.Errorf("BREW %s: Allow %q, want %q", path, got, want)
		}
	}
}

func TestIDsOfThingsThatAreNot(t *testing.T) {
	d := newDoor(t)
	unknown := d.do("GET", "/v1/events/evt_01h455vb4pex5vsknk084sn02q", "")
	want := wantProblem(t, unknown, payment.CodeNotFound, "")
	for _, path := range []string{
		"/v1/payments/x", "/v1/payments/" + aRefund, "/v1/payments/pay_01H455VB4PEX5VSKNK084SN02Q", "/v1/payments/pay_01h455vb4pex5vsknk084sn02",
		"/v1/payments/pay%5f01h455vb4pex5vsknk084sn02q", "/v1/payments/" + aPayment + "%2fcapture",
		"/v1/refunds/" + aPayment, "/v1/events/x", "/", "/v1", "/v1/", "/v1/payments/", "/v1//payments", "/v1/payments/../account", "/v1/payments/./x",
		"/v2/payments", "/v1/payments/" + aPayment + "/", "/v1/payments/" + aPayment + "/void", "/V1/payments", "/healthz/", "/v1/customers",
	} {
		got := wantProblem(t, d.do("GET", path, ""), payment.CodeNotFound, "")
		if got.Detail != want.Detail {
			t.Errorf("%s: detail %q, want the one of an unknown object: %q", path, got.Detail, want.Detail)
		}
	}
	d.wantUntouched()
	for _, path := range []string{"/capture", "/confirm", "/cancel"} {
		wantProblem(t, d.do("POST", "/v1/payments/pay_1"+path, "{"), payment.CodeNotFound, "")
	}
	d.wantUntouched()
}

func TestMethods(t *testing.T) {
	tests := []struct{ path, allow string }{
		{"/v1/payments", "GET, HEAD, POST"},
		{"/v1/payments/" + aPayment, "GET, HEAD, PATCH"},
		{"/v1/payments/" + aPayment + "/capture", "POST"},
		{"/v1/payments/" + aPayment + "/confirm", "POST"},
		{"/v1/payments/" + aPayment + "/cancel", "POST"},
		{"/v1/refunds", "GET, HEAD, POST"},
		{"/v1/refunds/" + aRefund, "GET, HEAD"},
		{"/v1/events", "GET, HEAD"},
		{"/v1/events/evt_01h455vb4pex5vsknk084sn02q/resend", "POST"},
		{"/v1/webhook_endpoints", "GET, HEAD, POST"},
		{"/v1/webhook_endpoints/" + anEndpoint + "/rotate", "POST"},
		{"/v1/webhook_endpoints/" + anEndpoint + "/test", "POST"},
		{"/v1/webhook_endpoints/" + anEndpoint + "/deliveries", "GET, HEAD"},
		{"/v1/account", "GET, HEAD"},
		{"/healthz", "GET, HEAD"},
		{"/readyz", "GET, HEAD"},
	}
	d := newDoor(t)
	for _, tt := range tests {
		for _, method := range []string{"DELETE", "PUT", "OPTIONS", "TRACE", "get", "BREW"} {
			w := d.do(method, tt.path, "")
			wantProblem(t, w, payment.CodeMethodNotAllowed, "")
			if got := w.Header().Get("Allow"); got != tt.allow {
				t.Errorf("%s %s: Allow %q, want %q", method, tt.path, got, tt.allow)
			}
		}
	}
	d.wantUntouched()
}
