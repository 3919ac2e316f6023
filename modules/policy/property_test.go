package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/purser-pay/purser/modules/payment"
)

// pool is rules of every kind: those of grants may turn a refusal into an
// allowance, the others may not.
func pool(t testing.TB) (strict, grants []rule) {
	t.Helper()
	whens := []string{"true", `mode == "live"`, "mtls", `metadata.tier == "gold"`, "amount > 5", `inNetwork(ip, "10.0.0.0/8")`, `key_age > duration("1h")`}
	load := func(name string, bodies ...string) []rule {
		var b strings.Builder
		b.WriteString("rules:\n")
		for i, body := range bodies {
			for j, when := range whens {
				fmt.Fprintf(&b, "- name: %s %d %d\n  when: '%s'\n  %s\n", name, i, j, when, body)
			}
		}
		return ruleSet(t, b.String()).rules
	}
	strict = load("strict",
		"deny: true", "deny: false", "require: {signature: true}", "require: {mtls: true, dpop: false}", "require: {dpop: true}",
		"require: {idempotency: true}", "require: {tls: 1.3}", "require: {tls: 1.2}", "require: {key_age_max: 1h}",
		"require: {networks: [10.0.0.0/8]}", "limit: {amount_max: {EUR: 1999}}", "limit: {amount_max: {USD: 4}}",
		"limit: {daily_amount: {EUR: 4, USD: 2000}}", "limit: {rate: {key: [1/1s, 2/2s, 3/3s, 4/4s]}}",
		"allow: {card_numbers: false}", "allow: {methods: [card_token, alipay]}", "allow: {currencies: [EUR]}", "require: {mtls: false}",
	)
	grants = load("grant", "allow: {card_numbers: true}", "allow: {proxy: ['GET /v1/*']}", "allow: {proxy: [POST /v1/charges]}", "allow: {proxy: []}")
	return strict, grants
}

// TestMoreRulesAreStricter holds that a rule that grants nothing never makes a set
// laxer, wherever it stands: no refusal becomes an allowance, no more card numbers
// may pass, and nothing that was counted is forgotten. A rule that grants lifts a
// refusal of the built-in rules alone, and only the one that it is about.
func TestMoreRulesAreStricter(t *testing.T) {
	t.Parallel()
	strict, grants := pool(t)
	lifted, refused := 0, 0
	check := func(t *rapid.T) {
		all := append(slices.Clone(strict), grants...)
		before := &Set{rules: rapid.SliceOfN(rapid.SampledFrom(all), 0, 6).Draw(t, "rules")}
		grant := rapid.Bool().Draw(t, "grant")
		from := strict
		if grant {
			from = grants
		}
		extra := rapid.SampledFrom(from).Draw(t, "extra")
		at := rapid.IntRange(0, len(before.rules)).Draw(t, "at")
		after := &Set{rules: slices.Insert(slices.Clone(before.rules), at, extra)}
		for range 20 {
			in := drawInput(t)
			was, is := before.Decide(in), after.Decide(in)
			switch {
			case was.Allowed && !is.Allowed:
				refused++
			case !was.Allowed && is.Allowed:
				lifted++
			}
			if why := laxer(&extra, grant, &was, &is); why != "" {
				t.Fatalf("%s: %s: %+v, then %+v, over %+v", extra.name, why, was, is, *in)
			}
		}
	}
	// A short run draws few sets: it goes on until it has seen both.
	for range 50 {
		if rapid.Check(t, check); t.Failed() || lifted > 0 && refused > 0 {
			break
		}
	}
	if lifted == 0 || refused == 0 {
		t.Errorf("%d refusals were lifted and %d added: that proves nothing", lifted, refused)
	}
}

// laxer says how a set became laxer by a rule in a way that it may not.
func laxer(extra *rule, grant bool, was, is *Decision) string {
	switch {
	case was.Allowed && is.Allowed && (len(is.Rates) < len(was.Rates) || len(is.Daily) < len(was.Daily)):
		return "something is no longer counted"
	case !grant && is.CardNumbers > was.CardNumbers:
		return "more card numbers pass"
	case was.Allowed || !is.Allowed:
		return ""
	case !grant:
		return "a refusal became an allowance"
	case was.Rule != "":
		return "the refusal of a rule was lifted"
	case (was.Code == payment.CodePolicyDenied) != extra.proxied, (was.Code == payment.CodePolicyDenied) == (extra.cards == cardsTaken):
		return "a refusal was lifted that the rule is not about"
	}
	return ""
}

// TestOrderDoesNotMatter holds that the order of rules decides about the name that
// is told, and nothing else.
func TestOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	strict, grants := pool(t)
	all := append(strict, grants...)
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rapid.SampledFrom(all), 0, 8).Draw(t, "rules")
		in := drawInput(t)
		a, b := (&Set{rules: rules}).Decide(in), (&Set{rules: rapid.Permutation(rules).Draw(t, "order")}).Decide(in)
		if a.Allowed != b.Allowed || a.Code != b.Code || a.CardNumbers != b.CardNumbers || len(a.Rates) != len(b.Rates) || len(a.Daily) != len(b.Daily) {
			t.Fatalf("got %+v in one order and %+v in another, over %+v", a, b, *in)
		}
	})
}

// TestDecideAndExplainAgree holds that what is explained is what is decided, and
// that the trace shows why.
func TestDecideAndExplainAgree(t *testing.T) {
	t.Parallel()
	strict, grants := pool(t)
	all := append(strict, grants...)
	rapid.Check(t, func(t *rapid.T) {
		s := &Set{rules: rapid.SliceOfN(rapid.SampledFrom(all), 0, 8).Draw(t, "rules")}
		in := drawInput(t)
		d, e := s.Decide(in), s.Explain(in)
		if d.Allowed != e.Allowed || d.Rule != e.Rule || d.Code != e.Code || d.CardNumbers != e.CardNumbers {
			t.Fatalf("decided %+v, explained %+v, over %+v", d, e, *in)
		}
		if len(e.Trace) != len(s.rules)+1 {
			t.Fatalf("the trace of %d rules has %d steps", len(s.rules), len(e.Trace))
		}
		refuses := slices.ContainsFunc(e.Trace, func(s Step) bool { return s.Refuses() })
		if refuses == e.Allowed {
			t.Fatalf("allowed %v, and the trace refuses %v: %+v", e.Allowed, refuses, e.Trace)
		}
		if e.Rule != "" && !slices.ContainsFunc(e.Trace, func(s Step) bool { return s.Rule == e.Rule && s.Refuses() }) {
			t.Fatalf("%s refuses, and its step does not: %+v", e.Rule, e.Trace)
		}
	})
}
