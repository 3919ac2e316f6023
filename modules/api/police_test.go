package api_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/api"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/guard"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/policy"
)

// rule lets the door obey the rules of a YAML text.
func (d *door) rule(text string) {
	d.t.Helper()
	dir := d.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	set, err := policy.Load(dir)
	if err != nil {
		d.t.Fatal(err)
	}
	d.guarding.Policies = func() *policy.Set { return set }
	d.reopen()
}

const (
	aCard  = `{"amount":1999,"currency":"EUR","payment_method":{"type":"card","number":"` + visa + `","exp_month":12,"exp_year":2034}}`
	nested = `{"amount":1999,"currency":"EUR","payment_method":{"type":"card","card":{"number":"` + visa + `","exp_month":12,"exp_year":2034}}}`
	other  = `{"amount":1999,"currency":"EUR","payment_method":{"type":"card","number":"4929000000006","exp_month":12,"exp_year":2034}}`
)

func TestPolicies(t *testing.T) {
	const create = "POST /v1/payments"
	tests := []struct {
		name, rules string
		call, body  string
		headers     []string
		rule        string // that refuses; "" = none does
		code        payment.Code
	}{
		{name: "an amount under the limit", rules: `{name: max, limit: {amount_max: {EUR: 1999}}}`, call: create, body: brief},
		{name: "an amount over the limit", rules: `{name: max, limit: {amount_max: {EUR: 1998}}}`, call: create, body: brief, rule: "max"},
		{name: "of another currency", rules: `{name: max, limit: {amount_max: {USD: 1}}}`, call: create, body: brief},
		{name: "a currency that is not allowed", rules: `{name: usd, allow: {currencies: [USD]}}`, call: create, body: brief, rule: "usd"},
		{name: "a method that is not allowed", rules: `{name: wallets, allow: {methods: [alipay]}}`, call: create, body: aCard, rule: "wallets"},
		{name: "a signature that is missing", rules: `{name: signed, require: {signature: true}}`, call: create, body: brief, rule: "signed"},
		{name: "TLS that is missing", rules: `{name: tls, require: {tls: "1.3"}}`, call: create, body: brief, rule: "tls"},
		{name: "a network", rules: `{name: office, require: {networks: [192.0.2.0/24]}}`, call: create, body: brief},
		{name: "another network", rules: `{name: office, require: {networks: [198.51.100.0/24]}}`, call: create, body: brief, rule: "office"},
		{name: "a condition on the route", rules: `{name: w, when: 'route == "POST /v1/payments"', require: {mtls: true}}`, call: "GET /v1/account"},
		{name: "and where it holds", rules: `{name: w, when: 'route == "POST /v1/payments"', require: {mtls: true}}`, call: create, body: brief, rule: "w"},
		{
			name: "a condition on metadata", rules: `{name: m, when: '"shop" in metadata && metadata["shop"] == "x"', require: {mtls: true}}`, call: create,
			body: `{"amount":1,"currency":"EUR","confirm":false,"metadata":{"shop":"x"}}`, rule: "m",
		},
		{name: "the channel's default", rules: `{name: c, when: 'channel == "ecommerce"', require: {mtls: true}}`, call: create, body: brief, rule: "c"},

		{
			name: "a card in mode live, allowed", rules: `{name: pan, allow: {card_numbers: true}}`, call: create, body: other,
			headers: []string{"Authorization", "live"},
		},
		{
			name: "a card in mode live, not allowed", rules: `{name: pan, when: 'mode == "test"', allow: {card_numbers: true}}`, call: create, body: other,
			headers: []string{"Authorization", "live"}, code: payment.CodePANNotAllowed,
		},
		{name: "a card in mode test, not allowed", rules: `{name: no, allow: {card_numbers: false}}`, call: create, body: aCard, rule: "no"},
		{name: "and nested", rules: `{name: no, allow: {card_numbers: false}}`, call: create, body: nested, rule: "no"},
		{name: "a test card", rules: `{name: x}`, call: create, body: aCard},
		{name: "a real card in mode test", rules: `{name: x}`, call: create, body: other, code: payment.CodeLiveCardInTestMode},

		// What a call does not say it takes from its payment: 5 EUR, 4 of it captured.
		{
			name: "a refund of the rest", rules: `{name: r, when: 'route == "POST /v1/refunds"', limit: {amount_max: {EUR: 399}}}`,
			call: "POST /v1/refunds", body: `{"payment":"` + aPayment + `"}`, rule: "r",
		},
		{
			name: "a refund of a part", rules: `{name: r, when: 'route == "POST /v1/refunds"', limit: {amount_max: {EUR: 399}}}`,
			call: "POST /v1/refunds", body: `{"payment":"` + aPayment + `","amount":399}`,
		},
		{name: "a confirmation", rules: `{name: c, limit: {amount_max: {EUR: 499}}}`, call: "POST /v1/payments/" + aPayment + "/confirm", rule: "c"},
		{
			name: "a confirmation has its payment's metadata", rules: `{name: c, when: 'has(metadata.tier) && metadata.tier == "new"', require: {mtls: true}}`,
			call: "POST /v1/payments/" + aPayment + "/confirm", rule: "c",
		},
		{name: "a cancellation has no amount", rules: `{name: c, limit: {amount_max: {EUR: 1}}}`, call: "POST /v1/payments/" + aPayment + "/cancel", body: "{}"},

		// Whatever the policies could not read is refused, whatever they say.
		{
			name: "an amount that is text", rules: `{name: max, limit: {amount_max: {EUR: 1}}}`, call: create,
			body: `{"amount":"1999","currency":"EUR","confirm":false}`, code: payment.CodeInvalidRequest,
		},
		{
			name: "an amount given twice", rules: `{name: max, limit: {amount_max: {EUR: 1}}}`, call: create,
			body: `{"amount":1,"currency":"EUR","amount":1999,"confirm":false}`, code: payment.CodeInvalidJSON,
		},
		{
			name: "an amount in capitals", rules: `{name: max, limit: {amount_max: {EUR: 1}}}`, call: create,
			body: `{"amount":1,"AMOUNT":1999,"currency":"EUR","confirm":false}`, code: payment.CodeInvalidRequest,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDoor(t)
			d.engine.object = payment.Payment{
				ID: aPayment, Mode: payment.Test, Status: payment.Succeeded, Metadata: map[string]string{"tier": "new"}, Amount: payment.Money{Minor: 500, Currency: "EUR"},
				Charge: "att_1", Attempts: []payment.Attempt{{ID: "att_1", Kind: payment.KindAuthorize, Status: payment.AttemptSucceeded, Amount: 500, Authorized: 500, Captured: 400, Released: true}},
			}
			d.rule("rules:\n- " + tt.rules + "\n")
			method, path, _ := strings.Cut(tt.call, " ")
			if len(tt.headers) == 2 && tt.headers[0] == "Authorization" {
				tt.headers = []string{"Authorization", "Bearer " + d.keys[tt.headers[1]]}
			}
			calls := len(d.engine.calls)
			w := d.do(method, path, tt.body, tt.headers...)
			switch {
			case tt.rule != "":
				wantProblem(t, w, payment.CodePolicyDenied, "")
				if !strings.Contains(w.Body.String(), `"policy":"`+tt.rule+`"`) {
					t.Errorf("the answer does not name the rule %s: %s", tt.rule, w.Body)
				}
			case tt.code != "":
				if !strings.Contains(w.Body.String(), `"code":"`+string(tt.code)+`"`) {
					t.Errorf("got %d %s, want %s", w.Code, w.Body, tt.code)
				}
			case w.Code >= 400:
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			for _, c := range d.engine.calls[calls:] {
				if (tt.rule != "" || tt.code != "") && c.Op != "payment" {
					t.Errorf("the engine was asked to %s", c.Op)
				}
			}
		})
	}
}

// The amounts of a day are the engine's to count, in the transaction of the intent.
func TestDailyAmounts(t *testing.T) {
	d := newDoor(t)
	d.rule("rules:\n- {name: day, limit: {daily_amount: {EUR: 5000, USD: 1}}}\n")
	d.do("POST", "/v1/payments", aCard)
	got := d.engine.calls[len(d.engine.calls)-1].Claim.Quotas
	want := []engine.Quota{{
		Counter: "daily/" + d.shop.ID + "/test/EUR/2026-03-01/day", Limit: 5000, Policy: "day",
		Expires: time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC),
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a payment (-want +got):\n%s", diff)
	}
	d.engine.object = payment.Payment{ID: aPayment, Amount: payment.Money{Minor: 500, Currency: "EUR"}}
	d.do("POST", "/v1/refunds", `{"payment":"`+aPayment+`","amount":5}`)
	want[0].Counter += "/refunds"
	if diff := cmp.Diff(want, d.engine.calls[len(d.engine.calls)-1].Claim.Quotas); diff != "" {
		t.Errorf("a refund (-want +got):\n%s", diff)
	}
}

// Every refusal is told, with whose it is as far as that is known.
func TestRefusalsAreReported(t *testing.T) {
	d := newDoor(t)
	var told []guard.Refusal
	d.guarding.Refused = func(r guard.Refusal) { told = append(told, r) }
	d.rule("rules:\n- {name: no, when: 'amount > 1000', require: {mtls: true}}\n")
	for _, tt := range []struct {
		name string
		do   func() *httptest.ResponseRecorder
		code payment.Code
		who  string
	}{
		{"no credential", func() *httptest.ResponseRecorder { return d.do("GET", "/v1/account", "", "Authorization", "-") }, payment.CodeUnauthenticated, ""},
		{"no scope", func() *httptest.ResponseRecorder {
			return d.do("GET", "/v1/events", "", "Authorization", "Bearer "+d.keys["read"])
		}, payment.CodeInsufficientScope, d.ids["read"].ID},
		{"a policy", func() *httptest.ResponseRecorder { return d.do("POST", "/v1/payments", brief) }, payment.CodePolicyDenied, d.ids["test"].ID},
		{"a card number", func() *httptest.ResponseRecorder { return d.do("GET", "/v1/payments?reference="+visa, "") }, payment.CodePANNotAllowed, d.ids["test"].ID},
		{"a mistake", func() *httptest.ResponseRecorder { return d.do("POST", "/v1/payments", `{}`) }, "", ""},
		{"nothing wrong", func() *httptest.ResponseRecorder { return d.do("GET", "/v1/account", "") }, "", ""},
	} {
		told = nil
		w := tt.do()
		if tt.code == "" {
			if len(told) != 0 {
				t.Errorf("%s: told of %s", tt.name, told[0].Err.Code)
			}
			continue
		}
		if len(told) != 1 || told[0].Err.Code != tt.code || told[0].Call.Who() != tt.who || told[0].Call.ID != w.Header().Get("Request-Id") {
			t.Errorf("%s: told %v, want %s by %q once", tt.name, told, tt.code, tt.who)
		}
	}
}

// fakeProxy has the account psp of the shop, and answers by itself.
type fakeProxy struct{ served []string }

func (f *fakeProxy) Find(p access.Principal, r *http.Request) (api.Passage, error) {
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), "/v1/proxy/psp")
	if !ok {
		return nil, payment.Errorf(payment.CodeNotFound, "there is no such account")
	}
	return fakePassage{f, rest}, nil
}

type fakePassage struct {
	*fakeProxy
	path string
}

func (f fakePassage) Target() (account, path string) { return "psp", f.path }

func (f fakePassage) Serve(w http.ResponseWriter, c *guard.Call) error {
	body := new(strings.Builder)
	if _, err := copyAll(body, c.HTTP); err != nil {
		return err
	}
	f.served = append(f.served, c.HTTP.Method+" "+c.HTTP.URL.Path+" "+body.String())
	w.WriteHeader(http.StatusTeapot)
	return nil
}

func copyAll(to *strings.Builder, r *http.Request) (int64, error) {
	b := make([]byte, 1<<10)
	n, _ := r.Body.Read(b)
	to.Write(b[:n])
	return int64(n), nil
}

// Nothing passes to a PSP by itself: not without the scope, nor without a policy.
func TestPassThrough(t *testing.T) {
	const allow = "rules:\n- {name: read, allow: {proxy: [\"GET /v1/charges*\"]}}\n"
	for _, tt := range []struct {
		name, rules, call, key string
		status                 int
		code                   payment.Code
	}{
		{"allowed", allow, "GET /v1/proxy/psp/v1/charges/ch_1", "proxy", http.StatusTeapot, ""},
		{"another method", allow, "POST /v1/proxy/psp/v1/charges", "proxy", 403, payment.CodePolicyDenied},
		{"another path", allow, "GET /v1/proxy/psp/v1/payouts", "proxy", 403, payment.CodePolicyDenied},
		{"no policy at all", "", "GET /v1/proxy/psp/v1/charges", "proxy", 403, payment.CodePolicyDenied},
		{"no scope", allow, "GET /v1/proxy/psp/v1/charges", "test", 403, payment.CodeInsufficientScope},
		{"no credential", allow, "GET /v1/proxy/psp/v1/charges", "", 401, payment.CodeUnauthenticated},
		{"no such account", allow, "GET /v1/proxy/other/v1/charges", "proxy", 404, payment.CodeNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDoor(t)
			proxy := &fakeProxy{}
			d.cfg.Proxy = proxy
			d.reopen()
			if tt.rules != "" {
				d.rule(tt.rules)
			}
			method, path, _ := strings.Cut(tt.call, " ")
			auth := "-"
			if tt.key != "" {
				auth = "Bearer " + d.keys[tt.key]
			}
			w := d.do(method, path, "", "Authorization", auth)
			if w.Code != tt.status || tt.code != "" && !strings.Contains(w.Body.String(), `"code":"`+string(tt.code)+`"`) {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tt.status, tt.code)
			}
			if passed := len(proxy.served) == 1; passed != (tt.code == "") {
				t.Errorf("served %q", proxy.served)
			}
		})
	}
}

// A node that has too much to do says so before it does anything.
func TestOverloaded(t *testing.T) {
	d := newDoor(t)
	left := 0
	var asked []string
	d.cfg.Shed = func(p access.Principal, method, route string) (func(), time.Duration) {
		asked = append(asked, string(p.Mode)+" "+method+" "+route)
		if method == http.MethodPost {
			return nil, 3 * time.Second
		}
		return func() { left++ }, 0
	}
	d.reopen()
	w := d.do("POST", "/v1/payments", brief)
	wantProblem(t, w, payment.CodeOverloaded, "")
	if w.Header().Get("Retry-After") != "3" || len(d.engine.calls) != 0 {
		t.Errorf("Retry-After %q after %d calls", w.Header().Get("Retry-After"), len(d.engine.calls))
	}
	if w := d.do("GET", "/v1/account", ""); w.Code != 200 || left != 1 {
		t.Errorf("%d, %d calls ended", w.Code, left)
	}
	if d.do("GET", "/openapi.json", ""); len(asked) != 2 {
		t.Errorf("a call that asks for no credential was weighed: %q", asked)
	}
	if want := "test POST POST /v1/payments"; asked[0] != want {
		t.Errorf("asked about %q, want %q", asked[0], want)
	}
}

var _ api.Proxy = (*fakeProxy)(nil)
