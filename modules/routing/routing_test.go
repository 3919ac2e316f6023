package routing

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/purser-pay/purser/modules/payment"
)

var (
	card   = Method{Type: payment.MethodCard, Manual: true}
	alipay = Method{Type: payment.MethodAlipay, Flow: payment.FlowQR}
)

func accounts() []Account {
	m := []string{"m1"}
	return []Account{
		{Name: "stripe_us", Connector: "stripe", Mode: payment.Test, Merchants: m, Priority: 2, Methods: []Method{card}},
		{Name: "adyen_eu", Connector: "adyen", Mode: payment.Test, Merchants: m, Priority: 1, Methods: []Method{card}, Currencies: []payment.Currency{"EUR", "USD"}},
		{Name: "alipay_cn", Connector: "alipay", Mode: payment.Test, Merchants: m, Priority: 1, Methods: []Method{alipay}},
		{Name: "old", Mode: payment.Test, Merchants: m, Methods: []Method{card}, Retired: true},
		{Name: "shared", Mode: payment.Test, Merchants: []string{"*"}, Priority: 2, Methods: []Method{{Type: payment.MethodCard}}},
		{Name: "others", Mode: payment.Test, Merchants: []string{"m2"}, Methods: []Method{card}},
		{Name: "stripe_live", Mode: payment.Live, Merchants: m, Methods: []Method{card}},
		{Name: "live_for_all", Mode: payment.Live, Merchants: []string{"*"}, Methods: []Method{card}},
	}
}

func TestPlan(t *testing.T) {
	facts := payment.Facts{
		Merchant: "m1", Mode: payment.Test, Amount: payment.Money{Minor: 1050, Currency: "EUR"},
		Method: payment.MethodCard, Capture: true,
	}
	with := func(change func(*payment.Facts)) payment.Facts {
		f := facts
		change(&f)
		return f
	}
	const noAlipay = "card is not a method of alipay"
	tests := []struct {
		name     string
		facts    payment.Facts
		disabled []string
		want     payment.Plan
	}{
		{"by priority, then name", facts, nil, payment.Plan{Rule: RuleDefault, Candidates: []payment.Candidate{
			{Account: "adyen_eu", Outcome: "chosen", Reason: "priority 1"},
			{Account: "shared", Outcome: "next", Reason: "priority 2"},
			{Account: "stripe_us", Outcome: "next", Reason: "priority 2"},
			{Account: "old", Outcome: "rejected", Reason: "retired"},
			{Account: "alipay_cn", Outcome: "rejected", Reason: noAlipay},
		}}},
		{"currency and manual capture", with(func(f *payment.Facts) { f.Amount.Currency, f.Capture = "JPY", false }), nil, payment.Plan{Rule: RuleDefault, Candidates: []payment.Candidate{
			{Account: "stripe_us", Outcome: "chosen", Reason: "priority 2"},
			{Account: "old", Outcome: "rejected", Reason: "retired"},
			{Account: "adyen_eu", Outcome: "rejected", Reason: "currency JPY not taken"},
			{Account: "alipay_cn", Outcome: "rejected", Reason: noAlipay},
			{Account: "shared", Outcome: "rejected", Reason: "manual capture not supported"},
		}}},
		{"disabled", facts, []string{"adyen_eu", "shared", "no_such"}, payment.Plan{Rule: RuleDefault, Candidates: []payment.Candidate{
			{Account: "stripe_us", Outcome: "chosen", Reason: "priority 2"},
			{Account: "old", Outcome: "rejected", Reason: "retired"},
			{Account: "adyen_eu", Outcome: "rejected", Reason: "disabled by the operator"},
			{Account: "alipay_cn", Outcome: "rejected", Reason: noAlipay},
			{Account: "shared", Outcome: "rejected", Reason: "disabled by the operator"},
		}}},
		{"pinned", with(func(f *payment.Facts) { f.Account = "stripe_us" }), nil, payment.Plan{Rule: RulePinned, Candidates: []payment.Candidate{
			{Account: "stripe_us", Outcome: "chosen", Reason: "pinned to stripe_us"},
			{Account: "old", Outcome: "rejected", Reason: "pinned to stripe_us"},
			{Account: "adyen_eu", Outcome: "rejected", Reason: "pinned to stripe_us"},
			{Account: "alipay_cn", Outcome: "rejected", Reason: "pinned to stripe_us"},
			{Account: "shared", Outcome: "rejected", Reason: "pinned to stripe_us"},
		}}},
		{"flow", with(func(f *payment.Facts) { f.Method, f.Flow = payment.MethodAlipay, payment.FlowApp }), []string{"shared", "old", "adyen_eu"}, payment.Plan{Rule: RuleDefault, Candidates: []payment.Candidate{
			{Account: "old", Outcome: "rejected", Reason: "disabled by the operator"},
			{Account: "adyen_eu", Outcome: "rejected", Reason: "disabled by the operator"},
			{Account: "alipay_cn", Outcome: "rejected", Reason: "app is not a flow of alipay at alipay"},
			{Account: "shared", Outcome: "rejected", Reason: "disabled by the operator"},
			{Account: "stripe_us", Outcome: "rejected", Reason: "alipay is not a method of stripe"},
		}}},
		{"live", with(func(f *payment.Facts) { f.Mode = payment.Live }), nil, payment.Plan{Rule: RuleDefault, Candidates: []payment.Candidate{
			{Account: "stripe_live", Outcome: "chosen", Reason: "priority 0"},
		}}},
		{"unknown merchant, live", with(func(f *payment.Facts) { f.Mode, f.Merchant = payment.Live, "m9" }), nil, payment.Plan{Rule: RuleDefault, Candidates: []payment.Candidate{}}},
		{"nobody", with(func(f *payment.Facts) { f.Merchant = "*" }), nil, payment.Plan{Rule: RuleDefault, Candidates: []payment.Candidate{}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := New(accounts())
			for _, name := range tt.disabled {
				r.SetDisabled(name, true)
			}
			if diff := cmp.Diff(tt.want, r.Plan(tt.facts)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(len(tt.disabled), len(r.Disabled())); diff != "" {
				t.Errorf("disabled (-want +got):\n%s", diff)
			}
			for _, name := range tt.disabled {
				r.SetDisabled(name, false)
			}
			if got := r.Disabled(); len(got) != 0 {
				t.Errorf("got %v still disabled, want none", got)
			}
		})
	}
}

// Accounts whose PSP gives no answers come last, and say so; where there are no
// others, they are tried all the same.
func TestSilentComeLast(t *testing.T) {
	facts := payment.Facts{Merchant: "m1", Mode: payment.Test, Amount: payment.Money{Minor: 1, Currency: "EUR"}, Method: payment.MethodCard, Capture: true}
	tests := []struct {
		name   string
		silent []string
		pin    string
		want   []payment.Candidate // those that were not rejected
	}{
		{"the first", []string{"adyen_eu"}, "", []payment.Candidate{
			{Account: "shared", Outcome: "chosen", Reason: "priority 2"},
			{Account: "stripe_us", Outcome: "next", Reason: "priority 2"},
			{Account: "adyen_eu", Outcome: "next", Reason: "priority 1; circuit breaker open"},
		}},
		{"all", []string{"adyen_eu", "shared", "stripe_us"}, "", []payment.Candidate{
			{Account: "adyen_eu", Outcome: "chosen", Reason: "priority 1; circuit breaker open"},
			{Account: "shared", Outcome: "next", Reason: "priority 2; circuit breaker open"},
			{Account: "stripe_us", Outcome: "next", Reason: "priority 2; circuit breaker open"},
		}},
		{"the pinned one", []string{"shared"}, "shared", []payment.Candidate{
			{Account: "shared", Outcome: "chosen", Reason: "pinned to shared; circuit breaker open"},
		}},
		{"one that will not do", []string{"alipay_cn", "old"}, "", []payment.Candidate{
			{Account: "adyen_eu", Outcome: "chosen", Reason: "priority 1"},
			{Account: "shared", Outcome: "next", Reason: "priority 2"},
			{Account: "stripe_us", Outcome: "next", Reason: "priority 2"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := New(accounts())
			r.WatchSilence(func(account string) bool { return slices.Contains(tt.silent, account) })
			f := facts
			f.Account = tt.pin
			var got []payment.Candidate
			for _, c := range r.Plan(f).Candidates {
				if c.Outcome == payment.CandidateRejected {
					if strings.Contains(c.Reason, ReasonSilent) {
						t.Errorf("%s is rejected for %q", c.Account, c.Reason)
					}
					continue
				}
				got = append(got, c)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("candidates (-want +got):\n%s", diff)
			}
		})
	}
}

// A pin to the account of another merchant and a pin to none look alike.
func TestPinRevealsNothing(t *testing.T) {
	r := New(accounts())
	plan := func(pin string) []string {
		p := r.Plan(payment.Facts{Merchant: "m1", Mode: payment.Test, Method: payment.MethodCard, Capture: true, Account: pin})
		var got []string
		for _, c := range p.Candidates {
			got = append(got, c.Account+" "+c.Outcome)
			if c.Reason != "pinned to "+pin {
				t.Errorf("got reason %q", c.Reason)
			}
		}
		return got
	}
	if diff := cmp.Diff(plan("no_such"), plan("others")); diff != "" {
		t.Errorf("plans differ:\n%s", diff)
	}
}

func TestRouterKeepsACopy(t *testing.T) {
	in := accounts()
	r := New(in)
	f := payment.Facts{Merchant: "m1", Mode: payment.Test, Method: payment.MethodCard, Capture: true}
	before := r.Plan(f)
	for i := range in {
		in[i].Merchants[0], in[i].Methods[0] = "m9", Method{}
	}
	if diff := cmp.Diff(before, r.Plan(f)); diff != "" {
		t.Errorf("plan changed with the caller's slice:\n%s", diff)
	}
}

func TestPlanWhileDisabling(t *testing.T) {
	r := New(accounts())
	f := payment.Facts{Merchant: "m1", Mode: payment.Test, Method: payment.MethodCard, Capture: true}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 100 {
				r.SetDisabled(fmt.Sprintf("x%d", i), n%2 == 0)
				r.Plan(f)
			}
		})
	}
	wg.Wait()
	if got := r.Disabled(); len(got) != 0 {
		t.Errorf("got %v disabled, want none: a change was lost", got)
	}
}

// worlds of few names, so that they meet often.
var (
	merchants  = []string{"m1", "m2", "m3"}
	modes      = []payment.Mode{payment.Test, payment.Live}
	currencies = []payment.Currency{"EUR", "JPY"}
	methods    = []Method{card, {Type: payment.MethodCard}, alipay, {Type: payment.MethodAlipay, Flow: payment.FlowApp, Manual: true}}
)

func drawAccounts(t *rapid.T) []Account {
	return rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Account {
		return Account{
			Name:       fmt.Sprintf("a%d", rapid.IntRange(0, 9).Draw(t, "name")),
			Mode:       rapid.SampledFrom(modes).Draw(t, "mode"),
			Merchants:  rapid.SliceOfN(rapid.SampledFrom(append([]string{"*"}, merchants...)), 1, 2).Draw(t, "merchants"),
			Priority:   rapid.IntRange(-1, 2).Draw(t, "priority"),
			Methods:    rapid.SliceOfN(rapid.SampledFrom(methods), 0, 3).Draw(t, "methods"),
			Currencies: rapid.SliceOfN(rapid.SampledFrom(currencies), 0, 2).Draw(t, "currencies"),
			Retired:    rapid.IntRange(0, 4).Draw(t, "retired") == 0,
		}
	}), 0, 6, func(a Account) string { return a.Name }).Draw(t, "accounts")
}

func drawFacts(t *rapid.T) payment.Facts {
	m := rapid.SampledFrom(methods).Draw(t, "method")
	return payment.Facts{
		Merchant: rapid.SampledFrom(merchants).Draw(t, "merchant"),
		Mode:     rapid.SampledFrom(modes).Draw(t, "mode"),
		Amount:   payment.Money{Minor: 1, Currency: rapid.SampledFrom(currencies).Draw(t, "currency")},
		Method:   m.Type, Flow: m.Flow,
		Capture: rapid.Bool().Draw(t, "capture"),
		Account: rapid.SampledFrom([]string{"", "", "a0", "a1", "a2"}).Draw(t, "pin"),
	}
}

// eligible says by itself, and otherwise than the router, whether a will do.
func eligible(a Account, f payment.Facts, disabled bool) bool {
	fits := slices.ContainsFunc(a.Methods, func(m Method) bool {
		return m.Type == f.Method && m.Flow == f.Flow
	})
	if i := slices.IndexFunc(a.Methods, func(m Method) bool { return m.Type == f.Method && m.Flow == f.Flow }); i >= 0 && !f.Capture {
		fits = a.Methods[i].Manual
	}
	takes := len(a.Currencies) == 0 || slices.Contains(a.Currencies, f.Amount.Currency)
	return fits && takes && !a.Retired && !disabled && (f.Account == "" || f.Account == a.Name)
}

func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all, f := drawAccounts(t), drawFacts(t)
		off := rapid.SliceOfN(rapid.SampledFrom([]string{"a0", "a1", "a2", "a3"}), 0, 2).Draw(t, "disabled")
		r, shuffled := New(all), New(rapid.Permutation(all).Draw(t, "shuffled"))
		for _, name := range off {
			r.SetDisabled(name, true)
			shuffled.SetDisabled(name, true)
		}
		plan := r.Plan(f)
		if diff := cmp.Diff(plan, r.Plan(f)); diff != "" {
			t.Fatalf("the same facts, another plan:\n%s", diff)
		}
		if diff := cmp.Diff(plan, shuffled.Plan(f)); diff != "" {
			t.Fatalf("the plan depends on the configuration's order:\n%s", diff)
		}
		got := map[string]string{}
		chosen := 0
		for i, c := range plan.Candidates {
			got[c.Account] = c.Outcome
			if c.Reason == "" {
				t.Fatalf("%s has no reason", c.Account)
			}
			if c.Outcome == payment.CandidateChosen {
				chosen++
				if i != 0 {
					t.Fatalf("the chosen account is number %d", i)
				}
			}
		}
		want, some := map[string]string{}, 0
		for _, a := range all {
			if a.Mode != f.Mode || (!slices.Contains(a.Merchants, f.Merchant) && (f.Mode != payment.Test || !slices.Contains(a.Merchants, "*"))) {
				continue // of another merchant or mode: must not appear
			}
			want[a.Name] = payment.CandidateRejected
			if eligible(a, f, slices.Contains(off, a.Name)) {
				want[a.Name] = payment.CandidateNext
				some = 1
			}
		}
		if chosen != some {
			t.Fatalf("got %d chosen, want %d", chosen, some)
		}
		for name, outcome := range got {
			if outcome == payment.CandidateChosen {
				got[name] = payment.CandidateNext
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("candidates (-want +got):\n%s", diff)
		}
	})
}

func BenchmarkPlan(b *testing.B) {
	r := New(accounts())
	f := payment.Facts{Merchant: "m1", Mode: payment.Test, Amount: payment.Money{Minor: 1, Currency: "EUR"}, Method: payment.MethodCard, Capture: true}
	b.ReportAllocs()
	for b.Loop() {
		r.Plan(f)
	}
}

// An account that is tried out takes what is pinned to it, and nothing else.
func TestPinnedOnly(t *testing.T) {
	t.Parallel()
	card := []Method{{Type: payment.MethodCard, Manual: true}}
	r := New([]Account{
		{Name: "old", Mode: payment.Test, Merchants: []string{"*"}, Priority: 2, Methods: card},
		{Name: "new", Mode: payment.Test, Merchants: []string{"*"}, Priority: 1, Methods: card, PinnedOnly: true},
	})
	f := payment.Facts{
		Merchant: "mer_a", Mode: payment.Test, Amount: payment.Money{Minor: 1, Currency: "EUR"}, Method: payment.MethodCard, Capture: true,
	}
	want := []payment.Candidate{
		{Account: "old", Outcome: payment.CandidateChosen, Reason: "priority 2"},
		{Account: "new", Outcome: payment.CandidateRejected, Reason: "takes pinned payments only"},
	}
	if diff := cmp.Diff(want, r.Plan(f).Candidates); diff != "" {
		t.Errorf("not pinned (-want +got):\n%s", diff)
	}
	f.Account = "new"
	want = []payment.Candidate{
		{Account: "new", Outcome: payment.CandidateChosen, Reason: "pinned to new"},
		{Account: "old", Outcome: payment.CandidateRejected, Reason: "pinned to new"},
	}
	if diff := cmp.Diff(want, r.Plan(f).Candidates); diff != "" {
		t.Errorf("pinned (-want +got):\n%s", diff)
	}
}
