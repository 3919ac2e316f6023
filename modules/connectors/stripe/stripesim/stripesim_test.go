package stripesim_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/connectors/stripe/stripesim"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

const reference = "a0000000000000000000000000000001"

// bench is a dialect behind a real server, on a clock that stands still.
type bench struct {
	t     *testing.T
	clock *books.Clock
	b     *books.Books
	srv   *httptest.Server
	key   string
}

func open(t *testing.T) *bench {
	t.Helper()
	clock := books.NewClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	b := books.New(books.Config{Now: clock.Now, AfterFunc: clock.AfterFunc, Seed: 7, Client: http.DefaultClient})
	srv := httptest.NewServer(http.StripPrefix("/stripe", stripesim.New(b, stripesim.Options{})))
	t.Cleanup(func() { b.Close(); srv.Close() })
	return &bench{t: t, clock: clock, b: b, srv: srv, key: "sk_test_bench"}
}

type answer struct {
	status int
	header http.Header
	body   map[string]any
}

// at reads a member by its dotted path.
func (a answer) at(path string) any {
	var v any = a.body
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// send makes one request: a POST of form, or a GET where form is nil. The form
// alternates names and values.
func (x *bench) send(path, key string, form ...string) (answer, error) {
	x.t.Helper()
	method, body := http.MethodGet, io.Reader(nil)
	if len(form) > 0 {
		v := url.Values{}
		for i := 0; i < len(form); i += 2 {
			if form[i] != "" {
				v.Add(form[i], form[i+1])
			}
		}
		method, body = http.MethodPost, strings.NewReader(v.Encode())
	}
	req, err := http.NewRequestWithContext(x.t.Context(), method, x.srv.URL+"/stripe"+path, body)
	if err != nil {
		x.t.Fatal(err)
	}
	req.GetBody = nil // net/http must not resend by itself
	req.Header.Set("Authorization", "Bearer "+x.key)
	req.Header.Set("Stripe-Version", stripesim.Version)
	if len(form) > 0 {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := x.srv.Client().Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	a := answer{status: res.StatusCode, header: res.Header}
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(raw, &a.body)
}

func (x *bench) must(path, key string, form ...string) answer {
	x.t.Helper()
	a, err := x.send(path, key, form...)
	if err != nil {
		x.t.Fatalf("%s: %v", path, err)
	}
	return a
}

// pay creates and confirms an intent with a test token.
func (x *bench) pay(token, capture string, more ...string) answer {
	x.t.Helper()
	return x.must("/v1/payment_intents", "", payForm(token, capture, more...)...)
}

func payForm(token, capture string, more ...string) []string {
	return append([]string{
		"amount", "1000", "currency", "usd", "payment_method", token, "payment_method_types[]", "card", "confirm", "true",
		"capture_method", capture, "metadata[purser_reference]", reference, "expand[]", "latest_charge",
	}, more...)
}

func (x *bench) charge() books.Charge {
	x.t.Helper()
	c, err := x.b.ByReference(stripesim.Connector, "", reference)
	if err != nil {
		x.t.Fatalf("no charge under %s: %v", reference, err)
	}
	return c
}

type sums struct {
	Authorized, Captured, Refunded int64
	Status                         payment.Status
}

func (x *bench) want(authorized, captured, refunded int64, status payment.Status) {
	x.t.Helper()
	c := x.charge()
	got := sums{c.Authorized, c.Captured, c.Refunded, c.Status}
	if d := cmp.Diff(sums{authorized, captured, refunded, status}, got); d != "" {
		x.t.Errorf("books (-want +got):\n%s", d)
	}
}

func check(t *testing.T, a answer, status int, members map[string]any) {
	t.Helper()
	got := map[string]any{}
	for path := range maps.Keys(members) {
		got[path] = a.at(path)
	}
	if a.status != status {
		t.Errorf("got status %d, want %d: %v", a.status, status, a.body)
	}
	if d := cmp.Diff(members, got); d != "" && len(members) > 0 {
		t.Errorf("answer (-want +got):\n%s", d)
	}
}

func TestLife(t *testing.T) {
	t.Parallel()
	x := open(t)
	pm := x.must("/v1/payment_methods", "k1", "type", "card", "card[number]", "4242424242424242",
		"card[exp_month]", "12", "card[exp_year]", "2030", "card[cvc]", "123")
	check(t, pm, 200, map[string]any{"object": "payment_method", "card.last4": "4242", "card.brand": "visa", "card.exp_year": 2030.0})
	a := x.pay(pm.at("id").(string), "manual")
	check(t, a, 200, map[string]any{
		"status": "requires_capture", "amount_capturable": 1000.0, "amount_received": 0.0, "livemode": false,
		"latest_charge.status": "succeeded", "latest_charge.captured": false,
		"latest_charge.payment_method_details.card.capture_before": float64(x.clock.Now().Add(7 * 24 * time.Hour).Unix()),
	})
	x.want(1000, 0, 0, payment.RequiresCapture)
	pi := "/v1/payment_intents/" + a.at("id").(string)
	check(t, x.must(pi+"/capture", "", "amount_to_capture", "1001"), 400, map[string]any{"error.code": "amount_too_large"})
	check(t, x.must(pi+"/capture", "", "amount_to_capture", "700"), 200, map[string]any{"status": "succeeded", "amount_received": 700.0})
	check(t, x.must(pi+"/capture", "", "amount_to_capture", "1"), 400, map[string]any{"error.code": "payment_intent_unexpected_state", "error.payment_intent.status": "succeeded"})
	x.want(1000, 700, 0, payment.Succeeded)
	re := x.must("/v1/refunds", "", "payment_intent", a.at("id").(string), "amount", "300", "metadata[purser_reference]", "r1")
	check(t, re, 200, map[string]any{"status": "succeeded", "amount": 300.0, "payment_intent": a.at("id")})
	check(t, x.must("/v1/refunds", "", "payment_intent", a.at("id").(string), "amount", "401"), 400, map[string]any{"error.code": "amount_too_large"})
	check(t, x.must("/v1/refunds", "", "payment_intent", a.at("id").(string)), 200, map[string]any{"amount": 400.0})
	check(t, x.must("/v1/refunds", "", "payment_intent", a.at("id").(string)), 400, map[string]any{"error.code": "charge_already_refunded"})
	x.want(1000, 700, 700, payment.Succeeded)
	check(t, x.must(pi+"?expand[]=latest_charge.refunds", ""), 200, map[string]any{
		"latest_charge.amount_captured": 700.0,
		"latest_charge.amount_refunded": 1000.0, // what the capture released counts, as at Stripe
	})
	if got := len(x.must("/v1/refunds?payment_intent="+a.at("id").(string), "").body["data"].([]any)); got != 2 {
		t.Errorf("got %d refunds, want 2", got)
	}
	check(t, x.must("/v1/refunds/"+re.at("id").(string), ""), 200, map[string]any{"amount": 300.0})
}

func TestCards(t *testing.T) {
	t.Parallel()
	for _, card := range books.Cards {
		if card.Decline == nil {
			continue
		}
		t.Run(card.Token, func(t *testing.T) {
			t.Parallel()
			x := open(t)
			want := map[string]any{
				"error.type": "card_error", "error.code": card.Decline.Code, "error.decline_code": nil,
				"error.payment_intent.status": "requires_payment_method", "error.payment_intent.last_payment_error.code": card.Decline.Code,
			}
			if card.Decline.DeclineCode != "" {
				want["error.decline_code"] = card.Decline.DeclineCode
			}
			check(t, x.pay(card.Token, "automatic"), 402, want)
			x.want(0, 0, 0, payment.Failed)
		})
	}
}

func TestCardChecks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ number, month, year, cvc, code string }{
		{"4242424242424241", "12", "2030", "123", "incorrect_number"},
		{"4242424242424242", "13", "2030", "123", "invalid_expiry_month"},
		{"4242424242424242", "12", "2019", "123", "invalid_expiry_year"},
		{"4242424242424242", "12", "2030", "99", "invalid_cvc"},
		{"4111111111111111", "12", "2030", "123", "card_declined"},
	} {
		t.Run(tt.code, func(t *testing.T) {
			t.Parallel()
			a := open(t).must("/v1/payment_methods", "", "type", "card", "card[number]", tt.number,
				"card[exp_month]", tt.month, "card[exp_year]", tt.year, "card[cvc]", tt.cvc)
			check(t, a, 402, map[string]any{"error.type": "card_error", "error.code": tt.code})
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		path   string
		form   []string
		status int
		code   any
	}{
		"unknown parameter":        {"/v1/payment_intents", []string{"amount", "100", "currency", "usd", "colour", "red"}, 400, "parameter_unknown"},
		"unknown nested parameter": {"/v1/payment_intents", []string{"amount", "100", "currency", "usd", "payment_method_options[card][wish]", "x"}, 400, "parameter_unknown"},
		"no amount":                {"/v1/payment_intents", []string{"currency", "usd"}, 400, "parameter_missing"},
		"zero":                     {"/v1/payment_intents", []string{"amount", "0", "currency", "usd"}, 400, "parameter_invalid_integer"},
		"float":                    {"/v1/payment_intents", []string{"amount", "10.0", "currency", "usd"}, 400, "parameter_invalid_integer"},
		"too large":                {"/v1/payment_intents", []string{"amount", "100000000", "currency", "usd"}, 400, "amount_too_large"},
		"too small":                {"/v1/payment_intents", []string{"amount", "10", "currency", "usd"}, 400, "amount_too_small"},
		"currency":                 {"/v1/payment_intents", []string{"amount", "100", "currency", "zzz"}, 400, "invalid_currency"},
		"grid":                     {"/v1/payment_intents", []string{"amount", "5125", "currency", "kwd"}, 400, nil},
		"return_url unconfirmed":   {"/v1/payment_intents", []string{"amount", "100", "currency", "usd", "return_url", "https://m.example"}, 400, nil},
		"redirects without return": {"/v1/payment_intents", []string{"amount", "100", "currency", "usd", "confirm", "true", "payment_method", "pm_card_visa"}, 400, nil},
		"no such method":           {"/v1/payment_intents", []string{"amount", "100", "currency", "usd", "payment_method", "pm_x"}, 404, "resource_missing"},
		"no such intent":           {"/v1/payment_intents/pi_x/capture", []string{"amount_to_capture", "1"}, 404, "resource_missing"},
		"no such address":          {"/v1/nothing", []string{"a", "b"}, 404, nil},
		"expansion":                {"/v1/payment_intents", []string{"amount", "100", "currency", "usd", "expand[]", "soul"}, 400, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := open(t)
			a := x.must(tt.path, "", tt.form...)
			check(t, a, tt.status, map[string]any{"error.code": tt.code, "error.type": "invalid_request_error"})
			if n := len(x.b.All()); n != 0 {
				t.Errorf("got %d charges in the books, want none", n)
			}
		})
	}
	x := open(t)
	check(t, x.must("/v1/payment_intents/pi_nobodys", ""), 404, map[string]any{"error.code": "resource_missing"})
	x.key = "sk_live_1"
	check(t, x.pay("pm_card_visa", "manual"), 401, nil)
	x.key = "sk_test_old_revoked"
	check(t, x.must("/v1/payment_intents/pi_nobodys", ""), 401, map[string]any{"error.code": "api_key_expired"})
}

func TestAccountsDoNotMeet(t *testing.T) {
	t.Parallel()
	x := open(t)
	id := x.pay("pm_card_visa", "manual").at("id").(string)
	x.key = "sk_test_other"
	check(t, x.must("/v1/payment_intents/"+id, ""), 404, map[string]any{"error.code": "resource_missing"})
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	x := open(t)
	form := payForm("pm_card_visa", "manual")
	first := x.must("/v1/payment_intents", "key", form...)
	again := x.must("/v1/payment_intents", "key", form...)
	if d := cmp.Diff(first.body, again.body); d != "" {
		t.Errorf("replay differs (-first +again):\n%s", d)
	}
	if got := again.header.Get("Idempotent-Replayed"); got != "true" {
		t.Errorf("got Idempotent-Replayed %q, want true", got)
	}
	if got := first.header.Get("Idempotent-Replayed"); got != "" {
		t.Errorf("got Idempotent-Replayed %q on the first answer, want none", got)
	}
	other := x.must("/v1/payment_intents", "key", payForm("pm_card_visa", "automatic")...)
	check(t, other, 400, map[string]any{"error.type": "idempotency_error"})
	// A refusal by validation is not stored: the corrected request may use the key.
	check(t, x.must("/v1/payment_intents", "key2", "amount", "x", "currency", "usd"), 400, nil)
	check(t, x.must("/v1/payment_intents", "key2", "amount", "100", "currency", "usd"), 200, nil)
	// A decline is.
	d1 := x.must("/v1/payment_intents", "key3", payForm("pm_card_visa_chargeDeclined", "manual")...)
	d2 := x.must("/v1/payment_intents", "key3", payForm("pm_card_visa_chargeDeclined", "manual")...)
	if d := cmp.Diff(d1.body, d2.body); d != "" || d2.status != 402 {
		t.Errorf("replayed decline: status %d, (-first +again):\n%s", d2.status, d)
	}
	x.clock.Advance(24 * time.Hour)
	if late := x.must("/v1/payment_intents", "key", form...); late.at("id") == first.at("id") {
		t.Error("the key was still remembered after its window")
	}
	if got := x.b.Counts(stripesim.Connector, reference)[0].Requests["authorize"]; got != (books.Count{Received: 6, Executed: 3}) {
		t.Errorf("got %+v, want 6 received, 3 executed", got)
	}
}

func TestReference(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]map[string]string{
		"a":       {"purser_reference": "a", "reference": "b"},
		"b":       {"reference": "b", "x": reference},
		reference: {"x": reference, "order_id": "7"},
		"7":       {"x": "y", "order_id": "7"},
		"":        {"x": "y"},
	} {
		if got := stripesim.Reference(m); got != want {
			t.Errorf("%v: got %q, want %q", m, got, want)
		}
	}
}

func TestOffSession(t *testing.T) {
	t.Parallel()
	x := open(t)
	check(t, x.pay("pm_card_authenticationRequired", "manual", "off_session", "true"), 402, map[string]any{"error.code": "authentication_required"})
	check(t, x.pay("pm_card_authenticationRequiredOnSetup", "manual", "off_session", "true"), 200, map[string]any{"status": "requires_capture"})
}

func TestLater(t *testing.T) {
	t.Parallel()
	for token, want := range map[string]payment.Status{"pm_card_later": payment.Succeeded, "pm_card_laterDeclined": payment.Failed} {
		x := open(t)
		a := x.pay(token, "automatic")
		check(t, a, 200, map[string]any{"status": "processing", "latest_charge.status": "pending"})
		check(t, x.must("/v1/payment_intents/"+a.at("id").(string)+"/cancel", "", "", ""), 400, map[string]any{"error.code": "payment_intent_unexpected_state"})
		x.clock.Advance(2 * time.Second)
		if got := x.charge().Status; got != want {
			t.Errorf("%s: got %s, want %s", token, got, want)
		}
	}
}

func TestRefundsLater(t *testing.T) {
	t.Parallel()
	for token, tt := range map[string]struct {
		first, last string
		refunded    int64
	}{
		"pm_card_pendingRefund": {"pending", "succeeded", 1000},
		"pm_card_refundFail":    {"succeeded", "failed", 0},
	} {
		x := open(t)
		id := x.pay(token, "automatic").at("id").(string)
		re := x.must("/v1/refunds", "", "payment_intent", id)
		check(t, re, 200, map[string]any{"status": tt.first})
		x.want(1000, 1000, 1000, payment.Succeeded)
		x.b.Advance()
		check(t, x.must("/v1/refunds/"+re.at("id").(string), ""), 200, map[string]any{"status": tt.last})
		x.want(1000, 1000, tt.refunded, payment.Succeeded)
	}
}

func TestMultiCapture(t *testing.T) {
	t.Parallel()
	x := open(t)
	a := x.pay("pm_card_multicapture", "manual")
	check(t, a, 200, map[string]any{"latest_charge.payment_method_details.card.multicapture.status": "available"})
	pi := "/v1/payment_intents/" + a.at("id").(string)
	check(t, x.must(pi+"/capture", "", "amount_to_capture", "300", "final_capture", "false"), 200,
		map[string]any{"status": "requires_capture", "amount_capturable": 700.0, "amount_received": 300.0})
	check(t, x.must(pi+"/capture", "", "amount_to_capture", "200"), 200, map[string]any{"status": "succeeded", "amount_received": 500.0})
	x.want(1000, 500, 0, payment.Succeeded)
	single := x.pay("pm_card_visa", "manual").at("id").(string)
	check(t, x.must("/v1/payment_intents/"+single+"/capture", "", "amount_to_capture", "300", "final_capture", "false"), 400,
		map[string]any{"error.param": "final_capture"})
}

// A hold that has lapsed cannot be captured, and is let go as Stripe does it.
func TestLapse(t *testing.T) {
	t.Parallel()
	x := open(t)
	a := x.pay("pm_card_captureDeclined", "manual")
	pi := "/v1/payment_intents/" + a.at("id").(string)
	for range 2 {
		check(t, x.must(pi+"/capture", "", "", ""), 400, map[string]any{"error.code": "charge_expired_for_capture"})
	}
	x.b.Advance()
	check(t, x.must(pi, ""), 200, map[string]any{"status": "canceled", "cancellation_reason": "automatic", "amount_capturable": 0.0})
	x.want(1000, 0, 0, payment.Canceled)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	x := open(t)
	a := x.pay("pm_card_visa", "manual")
	pi := "/v1/payment_intents/" + a.at("id").(string)
	check(t, x.must(pi+"/cancel", "", "cancellation_reason", "boredom"), 400, map[string]any{"error.param": "cancellation_reason"})
	check(t, x.must(pi+"/cancel", "", "cancellation_reason", "abandoned"), 200, map[string]any{"status": "canceled", "amount_capturable": 0.0})
	check(t, x.must(pi+"/cancel", "", "", ""), 400, map[string]any{"error.code": "payment_intent_unexpected_state"})
	x.want(1000, 0, 0, payment.Canceled)
}
