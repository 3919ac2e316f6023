package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
)

// FuzzCreate: whatever a body holds, it is either refused with a 4xx problem
// and reaches nobody, or reaches the engine with every bound kept.
func FuzzCreate(f *testing.F) {
	f.Add(create())
	f.Add(create("metadata", `{"a":"b"}`, "expires_at", `"2026-03-02T00:00:00Z"`, "return_url", `"https://a.example/"`))
	for _, form := range forms {
		f.Add(create("payment_method", form.write("card", `"cvc":"123","number":"4242424242424242","exp_month":12,"exp_year":2030,"holder_name":"cvc"`)))
		f.Add(create("payment_method", form.write("card", `"number":"4242424242424242"`), "confirm", "false"))
		f.Add(create("payment_method", form.write("alipay", `"flow":"barcode","auth_code":"4242424242424242"`)))
		f.Add(create("payment_method", form.write("card_token", `"token":"t","account":"a"`), "confirm", "false"))
	}
	f.Add(`{"payment_method":{"card":{"cvc":{"cvc":[1]},"number":null}}}`)
	f.Add(`{"payment_method":{"type":"card","cvc":null,"card":{"cvc":"123","number":"4242424242424242"}}}`)
	f.Add(`{"payment_method":{"type":"card","cvc":{"cvc":"cvc"},"number":["4242424242424242"]}}`)
	f.Add(`{"amount":1,"amount":2}`)
	f.Add(strings.Repeat("[", 40))
	f.Add("\xff")
	f.Fuzz(func(t *testing.T, body string) {
		d := newDoor(t)
		w := d.serve(newRequest(d, "POST", "/v1/payments", body))
		if w.Code >= 500 || d.log.Len() > 0 {
			t.Fatalf("%d %s for %q\n%s", w.Code, w.Body, body, d.log)
		}
		if w.Code >= 400 {
			if len(d.engine.calls) > 0 {
				t.Fatalf("refused and done: %q", body)
			}
			var p problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code {
				t.Fatalf("not a problem: %v in %s", err, w.Body)
			}
			if _, _, found := payment.FindPAN(p.Param + "|" + p.Detail); found {
				t.Fatalf("the answer holds a card number: %s", w.Body)
			}
			return
		}
		if len(d.engine.calls) != 1 {
			t.Fatalf("%d calls for %q", len(d.engine.calls), body)
		}
		in := d.engine.calls[0].In.(engine.Create)
		if _, err := payment.NewMoney(in.Amount.Minor, in.Amount.Currency); err != nil {
			t.Errorf("amount: %v", err)
		}
		if !json.Valid([]byte(body)) {
			t.Errorf("not JSON, and taken: %q", body)
		}
		for _, s := range []string{in.Reference, in.Description, in.StatementDescriptor, in.ReturnURL, in.Account} {
			if strings.ContainsRune(s, 0) {
				t.Errorf("NUL in %q", s)
			}
			if _, _, found := payment.FindPAN(s); found && !strings.Contains(s, "_") {
				t.Errorf("card number in %q", s)
			}
		}
		if in.Confirm && in.Method == nil || !in.Confirm && in.Method.Transient() {
			t.Errorf("confirm %v with method %v", in.Confirm, in.Method)
		}
	})
}

// FuzzMethod: the two forms of a payment method are taken alike or refused
// alike.
func FuzzMethod(f *testing.F) {
	for _, row := range methodsTaken {
		f.Add(row.of, "{"+row.members+"}")
	}
	for _, row := range methodsRefused {
		f.Add(row.of, "{"+row.members+"}")
	}
	f.Fuzz(func(t *testing.T, of, object string) {
		var members map[string]json.RawMessage
		if !slices.Contains([]string{"card", "card_token", "alipay", "wechat_pay"}, of) || json.Unmarshal([]byte(object), &members) != nil {
			return
		}
		for _, own := range []string{"type", "card", "card_token", "alipay", "wechat_pay"} {
			if _, there := members[own]; there {
				return // of no meaning inside the object
			}
		}
		text, err := json.Marshal(members)
		if err != nil || strings.Count(object, "[")+strings.Count(object, "{") > 20 || len(text) > 200 {
			return // too deep or too long in one form alone
		}
		var calls []call
		var problems []problem
		for _, form := range forms {
			d := newDoor(t)
			w := d.serve(newRequest(d, "POST", "/v1/payments", create("payment_method", form.write(of, string(text[1:len(text)-1])))))
			if len(d.engine.calls) == 1 {
				calls = append(calls, call{In: d.engine.calls[0].In})
				continue
			}
			var p problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code >= 500 {
				t.Fatalf("%s: %d %s, %v", form.name, w.Code, w.Body, err)
			}
			if rest, ok := strings.CutPrefix(p.Param, form.at(of)); ok {
				p.Param = rest
			}
			p.RequestID = ""
			problems = append(problems, p)
		}
		if len(calls) == 1 || len(calls) == 2 && !cmp.Equal(calls[0], calls[1], sameSensitive) || len(problems) == 2 && problems[0] != problems[1] {
			t.Errorf("the forms of %s %s differ:\n%+v\n%+v", of, text, calls, problems)
		}
	})
}

// FuzzIdempotencyKey: a key that is taken is 1 … 255 visible ASCII characters,
// and quoting it yields the same key.
func FuzzIdempotencyKey(f *testing.F) {
	for _, s := range []string{"a", `"a"`, `"a\"b"`, `"`, "a b", "", `"a";p`, "ä", strings.Repeat("k", 256)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		key, ok := takenKey(t, field)
		if !ok {
			return
		}
		if len(key) < 1 || len(key) > 255 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("%q was taken as %q", field, key)
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, ok := takenKey(t, quoted); !ok || again != key {
			t.Errorf("%q yields %q, and %q yields %q %v", field, key, quoted, again, ok)
		}
	})
}

func takenKey(t *testing.T, field string) (string, bool) {
	t.Helper()
	d := newDoor(t)
	r := newRequest(d, http.MethodPost, "/v1/payments", create())
	r.Header["Idempotency-Key"] = []string{field}
	if w := d.serve(r); w.Code >= 500 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if len(d.engine.calls) == 0 {
		return "", false
	}
	return d.engine.calls[0].Claim.Key, true
}

// BenchmarkCreate measures the door alone: the engine answers at once.
func BenchmarkCreate(b *testing.B) {
	d := newDoor(b)
	p := payment.Payment{
		ID: aPayment, Merchant: d.shop.ID, Mode: payment.Test, Status: payment.Succeeded, Outcome: payment.Known,
		Amount: payment.Money{Minor: 1999, Currency: "EUR"}, CreatedAt: start, UpdatedAt: start,
		Attempts: []payment.Attempt{{ID: "att_01h455vb4pex5vsknk084sn02q", Kind: payment.KindAuthorize, StartedAt: start}},
	}
	d.api = benchAPI(d, &rendering{fakeEngine: d.engine, payment: p})
	body := create("reference", `"order 1"`, "description", `"Two tickets"`, "metadata", `{"cart":"77","source":"web"}`,
		"customer", `{"name":"Zoë","email":"zoe@shop.example","ip":"192.0.2.7"}`, "return_url", `"https://shop.example/done"`,
		"billing_address", `{"line1":"Weg 1","city":"Köln","postal_code":"50667","country":"DE"}`)
	b.ReportAllocs()
	for b.Loop() {
		if w := d.serve(newRequest(d, "POST", "/v1/payments", body)); w.Code != 201 {
			b.Fatalf("%d %s", w.Code, w.Body)
		}
	}
}

// BenchmarkRequest is what the benchmark's own request and recorder cost.
func BenchmarkRequest(b *testing.B) {
	d := newDoor(b)
	body := create()
	b.ReportAllocs()
	for b.Loop() {
		_ = newRequest(d, "POST", "/v1/payments", body)
		_ = httptest.NewRecorder()
	}
}
