package policy

import (
	"errors"
	"fmt"
	"slices"

	"github.com/purser-pay/purser/modules/payment"
)

// CardNumbers says which card numbers a request may hold.
type CardNumbers uint8

// What may be taken. By the built-in rules it is test numbers in mode test, and
// none elsewhere; a rule says otherwise.
const (
	NoCardNumbers   CardNumbers = iota
	TestCardNumbers             // those that PSPs publish for their sandboxes
	AnyCardNumbers
)

// Decision is what the rules say of one request.
type Decision struct {
	Allowed bool
	// Rule is the name of the rule that refuses; "" where the request is allowed,
	// or the built-in rules refuse it.
	Rule string
	// Code is "" where the request is allowed. A rule refuses by
	// [payment.CodePolicyDenied], the built-in ones also by
	// [payment.CodePANNotAllowed] and [payment.CodeLiveCardInTestMode].
	Code payment.Code
	// Detail is for the merchant.
	Detail string
	// Err is why a condition could not be decided, for the operator's log.
	Err error
	// CardNumbers is what the rules that match leave, also where the request has
	// no card number.
	CardNumbers CardNumbers
	// Rates and Daily are what the caller has to count before an allowed request
	// goes on, in the order of the rules. They are not to be changed.
	Rates []Rate
	Daily []Quota
	// Trace is every rule and what it found; [Set.Explain] alone fills it.
	Trace []Step
}

// Step is what became of one rule.
type Step struct {
	Rule    string  `json:"rule"` // "" = the built-in rules
	File    string  `json:"file,omitempty"`
	Line    int     `json:"line,omitempty"`
	Matched bool    `json:"matched"`
	Error   string  `json:"error,omitempty"` // why the condition could not be decided, which refuses
	Checks  []Found `json:"checks,omitempty"`
}

// Refuses tells whether the rule by itself refuses the request.
func (s *Step) Refuses() bool {
	for _, c := range s.Checks {
		if !c.OK {
			return true
		}
	}
	return s.Error != ""
}

// Found is what one demand of a rule met.
type Found struct {
	Check string `json:"check"` // such as "require.tls"
	Want  string `json:"want"`
	Got   string `json:"got"`
	OK    bool   `json:"ok"`
}

// Decide looks at every rule. All whose conditions hold must be satisfied; a
// condition that cannot be decided refuses. Of several refusals the one of the
// strictest demand is told: what must be proved before what is allowed, before how
// much, the smallest amount first, and then the first in the order of the files.
// Nothing of in is kept or changed.
func (s *Set) Decide(in *Input) Decision { return s.decide(in, nil) }

// Explain decides as [Set.Decide] does, and tells of every rule.
func (s *Set) Explain(in *Input) Decision {
	var steps []Step
	d := s.decide(in, &steps)
	d.Trace = steps
	return d
}

// verdict is a decision in the making.
type verdict struct {
	Decision
	facts   *facts
	trace   *[]Step
	rank    rank
	limit   int64 // of a refusal of rankAmount
	refused bool
	cards   [cardsTaken + 1]bool // which words were said
	proxied bool
}

func (s *Set) decide(in *Input, trace *[]Step) Decision {
	v := verdict{facts: newFacts(in), trace: trace}
	defer v.facts.release()
	if s != nil {
		for i := range s.rules {
			v.rule(&s.rules[i])
		}
	}
	v.builtIn()
	if v.Allowed = !v.refused; !v.Allowed {
		v.Rates, v.Daily = nil, nil
	}
	return v.Decision
}

// rule applies one rule.
func (v *verdict) rule(r *rule) {
	matched, err := r.when.holds(v.facts)
	if err != nil {
		v.refuse(rankError, 0, r.name, payment.CodePolicyDenied, "The policy could not be decided for this request.")
		if v.Err == nil {
			v.Err = fmt.Errorf("policy %s: %w", r.name, err)
		}
	}
	if v.trace != nil {
		step := Step{Rule: r.name, File: r.file, Line: r.line, Matched: matched}
		if err != nil {
			step.Error = err.Error()
		}
		*v.trace = append(*v.trace, step)
	}
	if !matched || err != nil {
		return
	}
	v.cards[r.cards] = true
	v.proxied = v.proxied || r.proxied
	for i := range r.checks {
		v.check(r, &r.checks[i])
	}
	v.count(r)
}

func (v *verdict) check(r *rule, c *check) {
	ok := c.holds(v.facts)
	if !ok {
		var limit int64
		if c.limit != nil {
			limit = c.limit(v.facts)
		}
		v.refuse(c.rank, limit, r.name, payment.CodePolicyDenied, c.detail)
	}
	v.found(c.name, c.want, c.got, ok)
}

// found adds to the trace.
func (v *verdict) found(name, want string, got func(*facts) string, ok bool) {
	if v.trace != nil {
		step := &(*v.trace)[len(*v.trace)-1]
		step.Checks = append(step.Checks, Found{name, want, got(v.facts), ok})
	}
}

// count collects what the caller must count. A rule's own slice is shared where
// only one rule has any.
func (v *verdict) count(r *rule) {
	if len(r.rates) > 0 {
		if v.Rates == nil {
			v.Rates = slices.Clip(r.rates)
		} else {
			v.Rates = append(v.Rates, r.rates...)
		}
	}
	if v.facts.in.Amount > 0 {
		for i := range r.daily {
			if r.daily[i].Currency == v.facts.in.Currency {
				v.Daily = append(v.Daily, r.daily[i])
			}
		}
	}
	if len(v.Rates) > MaxRates || len(v.Daily) > MaxQuotas {
		v.refuse(rankWindows, 0, r.name, payment.CodePolicyDenied, "The policy counts more for this call than can be counted.")
		v.found("limit", fmt.Sprintf("at most %d rates and %d daily amounts to count", MaxRates, MaxQuotas),
			func(*facts) string { return fmt.Sprintf("%d and %d", len(v.Rates), len(v.Daily)) }, false)
		if v.Err == nil {
			v.Err = errWindows
		}
	}
}

var errWindows = errors.New("more rates or daily amounts apply to one request than can be counted")

// refuse keeps the refusal that is to be told.
func (v *verdict) refuse(k rank, limit int64, rule string, code payment.Code, detail string) {
	if v.refused && (k > v.rank || k == v.rank && limit >= v.limit) {
		return
	}
	v.refused, v.rank, v.limit = true, k, limit
	v.Rule, v.Code, v.Detail = rule, code, detail
}

// builtIn applies what holds where no rule says otherwise: in mode test only
// published test numbers, elsewhere no card number, and no call to a PSP's own API.
func (v *verdict) builtIn() {
	in := v.facts.in
	v.CardNumbers = NoCardNumbers
	switch {
	case v.cards[cardsRefused]:
	case v.cards[cardsTaken]:
		v.CardNumbers = AnyCardNumbers
	case in.Mode == payment.Test:
		v.CardNumbers = TestCardNumbers
	}
	if v.trace != nil {
		*v.trace = append(*v.trace, Step{Matched: true})
	}
	if in.CardNumber && !v.cards[cardsRefused] { // that has refused it by itself
		ok := true
		switch {
		case v.CardNumbers == NoCardNumbers:
			ok = false
			v.refuse(rankDefault, 0, "", payment.CodePANNotAllowed, "No policy allows card numbers here. Use a token of the payment provider.")
		case v.CardNumbers == TestCardNumbers && !in.TestCard:
			ok = false
			v.refuse(rankDefault, 0, "", payment.CodeLiveCardInTestMode, "Mode test takes published test card numbers only.")
		}
		v.found("card_numbers", v.CardNumbers.String(), func(f *facts) string {
			if f.in.TestCard {
				return "a test number"
			}
			return "a number"
		}, ok)
	}
	if in.Proxy != "" {
		if !v.proxied {
			v.refuse(rankDefault, 0, "", payment.CodePolicyDenied, "No policy lets this call pass.")
		}
		v.found("proxy", "a rule that allows it", func(f *facts) string { return f.in.Proxy }, v.proxied)
	}
}

// String says it in words.
func (c CardNumbers) String() string {
	return [...]string{"none", "test numbers", "any"}[min(c, AnyCardNumbers)]
}
