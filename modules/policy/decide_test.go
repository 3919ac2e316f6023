package policy

import (
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
)

// with changes a request that has everything.
func with(change func(*Input)) *Input {
	in := anInput()
	change(in)
	return in
}

// TestDemands holds each demand of a rule at its edges: what passes, and what is
// refused in the rule's name.
func TestDemands(t *testing.T) {
	t.Parallel()
	ip := func(s string) func(*Input) {
		return func(in *Input) { in.IP = netip.Addr{}; in.IP, _ = netip.ParseAddr(s) }
	}
	tls := func(s string) func(*Input) { return func(in *Input) { in.TLS = s } }
	pays := func(amount int64, c payment.Currency) func(*Input) {
		return func(in *Input) { in.Amount, in.Currency = amount, c }
	}
	age := func(d time.Duration) func(*Input) { return func(in *Input) { in.KeyCreated = in.Now.Add(-d) } }
	method := func(m payment.MethodType) func(*Input) { return func(in *Input) { in.Method = m } }
	call := func(s string) func(*Input) { return func(in *Input) { in.Proxy = s } }
	for _, tt := range []struct {
		rule   string
		change func(*Input)
		passes bool
	}{
		{"{}", func(*Input) {}, true},
		{"{deny: true}", func(*Input) {}, false},
		{"{deny: false}", func(*Input) {}, true},
		{"{require: {signature: true}}", func(in *Input) { in.Signature = true }, true},
		{"{require: {signature: true}}", func(in *Input) { in.Signature = false }, false},
		{"{require: {signature: false}}", func(in *Input) { in.Signature = false }, true},
		{"{require: {mtls: true}}", func(in *Input) { in.MTLS = true }, true},
		{"{require: {mtls: true}}", func(in *Input) { in.MTLS = false }, false},
		{"{require: {dpop: true}}", func(in *Input) { in.DPoP = true }, true},
		{"{require: {dpop: true}}", func(in *Input) { in.DPoP = false }, false},
		{"{require: {idempotency: true}}", func(in *Input) { in.Idempotency = true }, true},
		{"{require: {idempotency: true}}", func(in *Input) { in.Idempotency = false }, false},
		{"{require: {tls: '1.3'}}", tls("1.3"), true},
		{"{require: {tls: '1.3'}}", tls("1.2"), false},
		{"{require: {tls: '1.3'}}", tls(""), false},
		{"{require: {tls: '1.3'}}", tls("1.4"), false},
		{"{require: {tls: '1.2'}}", tls("1.3"), true},
		{"{require: {tls: '1.2'}}", tls("1.2"), true},
		{"{require: {tls: '1.2'}}", tls("1.1"), false},
		{"{require: {tls: '1.2'}}", tls(""), false},
		{"{require: {key_age_max: 48h}}", age(48 * time.Hour), true},
		{"{require: {key_age_max: 48h}}", age(48*time.Hour + 1), false},
		{"{require: {key_age_max: 48h}}", age(0), true},
		{"{require: {key_age_max: 48h}}", age(-time.Minute), true}, // another node's clock
		{"{require: {key_age_max: 48h}}", func(in *Input) { in.KeyCreated = time.Time{} }, false},
		{"{require: {networks: [10.0.0.0/8]}}", ip("10.255.255.255"), true},
		{"{require: {networks: [10.0.0.0/8]}}", ip("11.0.0.0"), false},
		{"{require: {networks: [10.0.0.0/8]}}", ip("::ffff:10.0.0.1"), true},
		{"{require: {networks: [10.0.0.0/8]}}", ip(""), false},
		{"{require: {networks: [0.0.0.0/0]}}", ip("2001:db8::1"), false},
		{"{require: {networks: [0.0.0.0/0, '::/0']}}", ip(""), false},
		{"{require: {networks: ['2001:db8::/32', 192.0.2.7/32]}}", ip("2001:db8::1"), true},
		{"{require: {networks: ['2001:db8::/32', 192.0.2.7/32]}}", ip("192.0.2.7"), true},
		{"{require: {networks: ['2001:db8::/32', 192.0.2.7/32]}}", ip("192.0.2.8"), false},
		{"{require: {networks: ['fe80::/10']}}", ip("fe80::1%eth0"), true},
		{"{limit: {amount_max: {EUR: 500}}}", pays(500, "EUR"), true},
		{"{limit: {amount_max: {EUR: 500}}}", pays(501, "EUR"), false},
		{"{limit: {amount_max: {EUR: 500}}}", pays(501, "USD"), true}, // not listed, not limited
		{"{limit: {amount_max: {EUR: 500}}}", pays(1, ""), false},     // cannot be compared
		{"{limit: {amount_max: {EUR: 500}}}", pays(0, ""), true},
		{"{limit: {amount_max: {EUR: 500}}}", pays(0, "EUR"), true},
		{"{limit: {daily_amount: {EUR: 500}}}", pays(500, "EUR"), true},
		{"{limit: {daily_amount: {EUR: 500}}}", pays(501, "EUR"), false}, // alone over the day's
		{"{limit: {daily_amount: {EUR: 500}}}", pays(501, "USD"), true},
		{"{limit: {daily_amount: {EUR: 500}}}", pays(1, ""), false},
		{"{limit: {rate: {key: 1/1s}}}", func(*Input) {}, true},
		{"{allow: {methods: [card_token, alipay]}}", method("alipay"), true},
		{"{allow: {methods: [card_token, alipay]}}", method("card"), false},
		{"{allow: {methods: [card_token, alipay]}}", method(""), true}, // a call without one
		{"{allow: {methods: []}}", method("alipay"), false},
		{"{allow: {methods: []}}", method(""), true},
		{"{allow: {currencies: [EUR]}}", pays(1, "EUR"), true},
		{"{allow: {currencies: [EUR]}}", pays(1, "USD"), false},
		{"{allow: {currencies: [EUR]}}", pays(0, ""), true},
		{"{allow: {currencies: []}}", pays(1, "EUR"), false},
		{"{allow: {proxy: [GET /v1/charges*]}}", call("GET /v1/charges/ch_1"), true},
		{"{allow: {proxy: [GET /v1/charges*]}}", call("POST /v1/charges/ch_1"), false},
		{"{allow: {proxy: []}}", call("GET /v1/charges/ch_1"), false},
		{"{allow: {proxy: []}}", call(""), true},
		{"{when: mtls, deny: true}", func(in *Input) { in.MTLS = true }, false},
		{"{when: mtls, deny: true}", func(in *Input) { in.MTLS = false }, true},
		{"{when: metadata.none == 'x'}", func(*Input) {}, false}, // cannot be decided
		{"{when: false, deny: true}", func(*Input) {}, true},
	} {
		rule := strings.Replace(tt.rule, "{", "{name: the rule, ", 1)
		s := ruleSet(t, "rules:\n- "+rule+"\n")
		in := with(tt.change)
		d := s.Decide(in)
		if d.Allowed != tt.passes {
			t.Errorf("%s over %+v: got %+v, want allowed %v", tt.rule, *in, d, tt.passes)
			continue
		}
		if !tt.passes && (d.Rule != "the rule" || d.Code != payment.CodePolicyDenied || d.Detail == "") {
			t.Errorf("%s: got rule %q, code %q, detail %q; want the rule's name, policy_denied and a detail", tt.rule, d.Rule, d.Code, d.Detail)
		}
		if tt.passes && (d.Rule != "" || d.Code != "" || d.Detail != "" || d.Err != nil) {
			t.Errorf("%s: allowed, and yet %+v", tt.rule, d)
		}
		explained := s.Explain(in)
		explained.Trace = nil
		if diff := cmp.Diff(d, explained, cmp.Comparer(func(a, b error) bool { return (a == nil) == (b == nil) })); diff != "" {
			t.Errorf("%s: Explain decides otherwise (-Decide +Explain):\n%s", tt.rule, diff)
		}
	}
}

// TestCards holds who may send which card numbers.
func TestCards(t *testing.T) {
	t.Parallel()
	yes, no, off := "{name: yes-rule, allow: {card_numbers: true}}", "{name: no-rule, allow: {card_numbers: false}}", "{name: off, when: mtls, allow: {card_numbers: true}}"
	pan, live := payment.CodePANNotAllowed, payment.CodeLiveCardInTestMode
	for _, tt := range []struct {
		rules string
		mode  payment.Mode
		test  bool // a published test number
		may   CardNumbers
		code  payment.Code
		by    string
	}{
		{"", "test", true, TestCardNumbers, "", ""},
		{"", "test", false, TestCardNumbers, live, ""},
		{"", "live", true, NoCardNumbers, pan, ""},
		{"", "live", false, NoCardNumbers, pan, ""},
		{"", "", true, NoCardNumbers, pan, ""},
		{yes, "test", false, AnyCardNumbers, "", ""},
		{yes, "live", false, AnyCardNumbers, "", ""},
		{yes, "live", true, AnyCardNumbers, "", ""},
		{off, "live", false, NoCardNumbers, pan, ""},
		{off, "test", false, TestCardNumbers, live, ""},
		{no, "test", true, NoCardNumbers, payment.CodePolicyDenied, "no-rule"},
		{no, "live", false, NoCardNumbers, payment.CodePolicyDenied, "no-rule"},
		{yes + ", " + no, "live", false, NoCardNumbers, payment.CodePolicyDenied, "no-rule"},
		{no + ", " + yes, "test", true, NoCardNumbers, payment.CodePolicyDenied, "no-rule"},
		{yes + ", " + off, "live", false, AnyCardNumbers, "", ""},
	} {
		s := ruleSet(t, "rules: ["+tt.rules+"]")
		in := &Input{Mode: tt.mode, Method: payment.MethodCard, CardNumber: true, TestCard: tt.test}
		d := s.Decide(in)
		if d.Allowed != (tt.code == "") || d.Code != tt.code || d.Rule != tt.by || d.CardNumbers != tt.may {
			t.Errorf("rules [%s], mode %q, test card %v: got %+v, want code %q by %q and %v", tt.rules, tt.mode, tt.test, d, tt.code, tt.by, tt.may)
		}
		in.CardNumber = false
		if d := s.Decide(in); !d.Allowed || d.CardNumbers != tt.may {
			t.Errorf("rules [%s], mode %q, no card: got %+v, want allowed, and %v", tt.rules, tt.mode, d, tt.may)
		}
	}
}

// TestProxy holds that nothing passes before a rule allows it, and that all lists
// of rules that match must.
func TestProxy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rules, call string
		passes      bool
		by          string
	}{
		{"", "GET /v1/charges", false, ""},
		{"{name: a, limit: {rate: {key: 1/1s}}, allow: {methods: [alipay]}}", "GET /v1/charges", false, ""},
		{"{name: a, when: mtls, allow: {proxy: [GET /*]}}", "GET /v1/charges", false, ""},
		{"{name: a, allow: {proxy: [GET /v1/charges]}}", "GET /v1/charges", true, ""},
		{"{name: a, allow: {proxy: [GET /v1/charges]}}", "GET /v1/charges/x", false, "a"},
		{"{name: a, allow: {proxy: [GET /*]}}, {name: b, allow: {proxy: [GET /v1/refunds]}}", "GET /v1/charges", false, "b"},
		{"{name: a, allow: {proxy: [GET /*]}}, {name: b, allow: {proxy: [GET /v1/refunds]}}", "GET /v1/refunds", true, ""},
		{"{name: a, allow: {proxy: [GET /*]}}, {name: b, deny: true}", "GET /v1/refunds", false, "b"},
		{"{name: a, allow: {proxy: [GET /*]}}", "GET /v1/../admin", false, "a"},
	} {
		s := ruleSet(t, "rules: ["+tt.rules+"]")
		d := s.Decide(&Input{Mode: "live", Proxy: tt.call})
		if d.Allowed != tt.passes || d.Rule != tt.by || !d.Allowed && d.Code != payment.CodePolicyDenied {
			t.Errorf("[%s] on %s: got %+v, want allowed %v by %q", tt.rules, tt.call, d, tt.passes, tt.by)
		}
	}
}

// TestStrictest holds whose name is told where several rules refuse.
func TestStrictest(t *testing.T) {
	t.Parallel()
	all := map[string]string{
		"error":  "{name: error, when: metadata.none == 'x'}",
		"deny":   "{name: deny, deny: true}",
		"mtls":   "{name: mtls, require: {mtls: true}}",
		"dpop":   "{name: dpop, require: {dpop: true}}",
		"card":   "{name: card, allow: {methods: [alipay]}}",
		"max9":   "{name: max9, limit: {amount_max: {EUR: 9}}}",
		"max5":   "{name: max5, limit: {amount_max: {EUR: 5}}}",
		"day7":   "{name: day7, limit: {daily_amount: {EUR: 7}}}",
		"passes": "{name: passes, require: {tls: 1.2}}",
	}
	for _, tt := range []struct{ order, want string }{
		{"passes", ""},
		{"max9 max5 day7", "max5"},
		{"day7 max9", "day7"},
		{"max5 card max9", "card"},
		{"card mtls", "mtls"},
		{"dpop mtls", "dpop"},
		{"mtls dpop passes", "mtls"},
		{"mtls deny card", "deny"},
		{"deny error", "error"},
		{"max5 mtls error deny", "error"},
	} {
		var rules []string
		for name := range strings.FieldsSeq(tt.order) {
			rules = append(rules, all[name])
		}
		d := ruleSet(t, "rules: ["+strings.Join(rules, ", ")+"]").Decide(&Input{Mode: "live", TLS: "1.3", Method: "card_token", Amount: 10, Currency: "EUR"})
		if d.Rule != tt.want || d.Allowed != (tt.want == "") {
			t.Errorf("%s: got %+v, want %q", tt.order, d, tt.want)
		}
		if (d.Err != nil) != (tt.want == "error") {
			t.Errorf("%s: the error is %v", tt.order, d.Err)
		}
	}
	// A refusal of a rule goes before one of the built-in rules.
	s := ruleSet(t, "rules: ["+all["max5"]+"]")
	if d := s.Decide(&Input{Mode: "live", CardNumber: true, Amount: 10, Currency: "EUR"}); d.Rule != "max5" {
		t.Errorf("got %+v, want the rule", d)
	}
}

// TestCounts holds what the caller is told to count.
func TestCounts(t *testing.T) {
	t.Parallel()
	s := ruleSet(t, `rules:
- {name: all, limit: {rate: {key: [100/1s, 1000/1m], ip: 9/1s}, daily_amount: {USD: 900, EUR: 800}}}
- {name: refunds, when: route == "POST /v1/refunds", limit: {rate: {merchant: 10/1m}, daily_amount: {EUR: 300}}}
- {name: nobody, when: mtls, limit: {rate: {route: 1/1h}, daily_amount: {EUR: 1}}}
`)
	second, minute := time.Second, time.Minute
	all := []Rate{
		{"all", ScopeKey, access.Rate{Limit: 100, Period: second}},
		{"all", ScopeKey, access.Rate{Limit: 1000, Period: minute}},
		{"all", ScopeIP, access.Rate{Limit: 9, Period: second}},
	}
	refunds := append(all[:3:3], Rate{"refunds", ScopeMerchant, access.Rate{Limit: 10, Period: minute}})
	for _, tt := range []struct {
		in    Input
		rates []Rate
		daily []Quota
	}{
		{Input{}, all, nil},
		{Input{Amount: 5, Currency: "EUR"}, all, []Quota{{"all", "EUR", 800}}},
		{Input{Amount: 5, Currency: "GBP"}, all, nil},
		{Input{Currency: "EUR"}, all, nil},
		{Input{Amount: 5, Currency: "EUR", Route: "POST /v1/refunds"}, refunds, []Quota{{"all", "EUR", 800}, {"refunds", "EUR", 300}}},
		{Input{Amount: 5, Currency: "USD", Route: "POST /v1/refunds"}, refunds, []Quota{{"all", "USD", 900}}},
	} {
		d := s.Decide(&tt.in)
		if diff := cmp.Diff(tt.rates, d.Rates); diff != "" || !d.Allowed {
			t.Errorf("%+v: allowed %v, rates (-want +got):\n%s", tt.in, d.Allowed, diff)
		}
		if diff := cmp.Diff(tt.daily, d.Daily); diff != "" {
			t.Errorf("%+v: daily amounts (-want +got):\n%s", tt.in, diff)
		}
	}
	// What is refused is not counted.
	if d := s.Decide(&Input{Amount: 301, Currency: "EUR", Route: "POST /v1/refunds"}); d.Allowed || d.Rates != nil || d.Daily != nil {
		t.Errorf("got %+v, want a refusal that counts nothing", d)
	}
	// What one decision collects reaches into no other.
	s.Decide(&Input{Route: "POST /v1/refunds"})
	if diff := cmp.Diff(all, s.Decide(&Input{}).Rates); diff != "" {
		t.Errorf("a second decision (-want +got):\n%s", diff)
	}
}

// TestTooManyCounts holds that what cannot be counted is not let through.
func TestTooManyCounts(t *testing.T) {
	t.Parallel()
	for what, each := range map[string]string{
		"rates":         "{rate: {key: [1/1s, 1/2s, 1/3s, 1/4s]}}",
		"daily amounts": "{daily_amount: {EUR: 500}}",
	} {
		var b strings.Builder
		b.WriteString("rules:\n")
		n := map[string]int{"rates": MaxRates / 4, "daily amounts": MaxQuotas}[what]
		for i := range n {
			b.WriteString("- {name: r" + string(rune('a'+i)) + ", limit: " + each + "}\n")
		}
		in := &Input{Amount: 5, Currency: "EUR"}
		if d := ruleSet(t, b.String()).Decide(in); !d.Allowed {
			t.Errorf("%d rules with %s: got %+v, want allowed", n, what, d)
		}
		b.WriteString("- {name: last, limit: " + each + "}\n")
		if d := ruleSet(t, b.String()).Decide(in); d.Allowed || d.Rule != "last" || d.Err == nil {
			t.Errorf("%d rules with %s: got %+v, want a refusal by the last", n+1, what, d)
		}
	}
}

// TestInputIsLeftAlone holds that a decision changes nothing and keeps nothing.
func TestInputIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := ruleSet(t, "rules:\n- name: a\n  when: metadata.exists(k, metadata[k] == merchant) || ip == 'x' || now.getHours() == 4\n  require: {networks: [10.0.0.0/8]}\n")
	in, want := anInput(), anInput()
	want.Metadata = maps.Clone(want.Metadata)
	s.Explain(in)
	if diff := cmp.Diff(want, in, cmp.Comparer(sameAddr)); diff != "" {
		t.Errorf("the request (-before +after):\n%s", diff)
	}
	// The second request gets none of the first one's facts.
	other := with(func(in *Input) {
		in.Now = in.Now.Add(time.Hour)
		in.Merchant = "silver"
		in.IP = netip.MustParseAddr("11.0.0.1")
	})
	if d := s.Decide(other); !d.Allowed {
		t.Errorf("got %+v, want that the condition does not hold", d)
	}
}

func sameAddr(a, b netip.Addr) bool { return a == b }

// TestTrace holds what Explain tells.
func TestTrace(t *testing.T) {
	t.Parallel()
	s := ruleSet(t, `rules:
- name: edge
  require: {tls: 1.3, mtls: true}
- name: off
  when: mode == "test"
  deny: true
- name: tier
  when: metadata.tier == "gold"
`)
	d := s.Explain(&Input{Mode: "live", TLS: "1.3", CardNumber: true, Proxy: "GET /x"})
	want := []Step{
		{Rule: "edge", File: "p/a.yaml", Line: 2, Matched: true, Checks: []Found{
			{"require.tls", "1.3", "1.3", true}, {"require.mtls", "true", "false", false},
		}},
		{Rule: "off", File: "p/a.yaml", Line: 4},
		{Rule: "tier", File: "p/a.yaml", Line: 7, Error: "no such key: tier"},
		{Matched: true, Checks: []Found{{"card_numbers", "none", "a number", false}, {"proxy", "a rule that allows it", "GET /x", false}}},
	}
	if diff := cmp.Diff(want, d.Trace); diff != "" {
		t.Errorf("trace (-want +got):\n%s", diff)
	}
	if d.Rule != "tier" || strings.Contains(d.Detail, "tier") || strings.Contains(d.Detail, "metadata") {
		t.Errorf("got rule %q, detail %q; want tier, and a detail that keeps the condition to itself", d.Rule, d.Detail)
	}
	if d := s.Decide(&Input{}); d.Trace != nil {
		t.Errorf("Decide traced: %+v", d.Trace)
	}
}

// TestNone holds that the built-in rules need no set.
func TestNone(t *testing.T) {
	t.Parallel()
	for _, s := range []*Set{nil, {}} {
		for _, tt := range []struct {
			in   Input
			want payment.Code
		}{
			{Input{}, ""},
			{Input{Mode: "live", Amount: payment.MaxMinor, Currency: "USD"}, ""},
			{Input{Mode: "live", CardNumber: true}, payment.CodePANNotAllowed},
			{Input{Mode: "live", Proxy: "GET /v1/charges"}, payment.CodePolicyDenied},
		} {
			if d := s.Decide(&tt.in); d.Code != tt.want || d.Allowed != (tt.want == "") {
				t.Errorf("%+v: got %+v, want %q", tt.in, d, tt.want)
			}
		}
	}
}
