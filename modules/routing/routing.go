// Package routing decides which account of which PSP a payment is tried with,
// and says why. It is a pure function from the facts of a payment to a plan; what
// changes under it is which accounts the operator has disabled, and which give no
// answers.
package routing

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/purser-pay/purser/modules/payment"
)

// The rules that a plan may name.
const (
	RuleDefault = "default order"
	RulePinned  = "pinned account"
)

// ReasonSilent is why an account comes last: its PSP gives no answers.
const ReasonSilent = "circuit breaker open"

// Account is what routing knows of a connector account.
type Account struct {
	Name      string
	Connector string // for the reasons: "card is not a method of alipay"; "" = the account's name
	Mode      payment.Mode
	// Merchants may use the account; "*" stands for all, in mode test only.
	Merchants []string
	// Priority orders the candidates: lower first, then by name.
	Priority int
	Methods  []Method
	// Currencies are those that the account takes; empty = all.
	Currencies []payment.Currency
	// Retired accounts take no new payments.
	Retired bool
	// PinnedOnly accounts take payments that are pinned to them, and no others.
	PinnedOnly bool
}

// Method is a way to pay that an account takes.
type Method struct {
	Type payment.MethodType
	Flow payment.Flow // "" for methods without one
	// Manual tells that authorization and capture can be apart.
	Manual bool
}

// Router plans payments. It is safe for concurrent use.
type Router struct {
	accounts []Account // by priority, then name; never written again
	silent   func(account string) bool

	mu       sync.Mutex // one writer of disabled at a time
	disabled atomic.Pointer[map[string]bool]
}

// New returns a router for accounts, of which it keeps a copy. None is disabled.
func New(accounts []Account) *Router {
	r := &Router{accounts: make([]Account, len(accounts))}
	for i, a := range accounts {
		a.Merchants = slices.Clone(a.Merchants)
		a.Methods = slices.Clone(a.Methods)
		a.Currencies = slices.Clone(a.Currencies)
		if a.Connector == "" {
			a.Connector = a.Name
		}
		r.accounts[i] = a
	}
	slices.SortStableFunc(r.accounts, func(a, b Account) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
	})
	r.disabled.Store(&map[string]bool{})
	return r
}

// WatchSilence puts accounts behind all others for which silent answers true: their
// PSP gives no answers. It is called before the router is used, if at all.
func (r *Router) WatchSilence(silent func(account string) bool) { r.silent = silent }

// SetDisabled takes an account out of new plans, or back in. Plans being made
// see it either way as a whole. An unknown name is remembered and does nothing.
func (r *Router) SetDisabled(name string, disabled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := maps.Clone(*r.disabled.Load())
	if disabled {
		next[name] = true
	} else {
		delete(next, name)
	}
	r.disabled.Store(&next)
}

// Disabled lists the disabled accounts by name.
func (r *Router) Disabled() []string {
	return slices.Sorted(maps.Keys(*r.disabled.Load()))
}

// Plan lists every account that the merchant may use in the payment's mode: one
// is chosen if any will do, those that follow are next in order, and the rest
// are rejected with a reason. An account whose PSP gives no answers comes after
// those that do: it may be tried where they have failed. Accounts of others do not
// appear at all, so that a plan does not tell that they exist. The same facts yield
// the same plan until SetDisabled is called, or an account falls silent or speaks.
func (r *Router) Plan(f payment.Facts) payment.Plan {
	disabled := *r.disabled.Load()
	plan := payment.Plan{Rule: RuleDefault, Candidates: make([]payment.Candidate, 0, len(r.accounts))}
	if f.Account != "" {
		plan.Rule = RulePinned
	}
	var silent, rejected []payment.Candidate
	for i := range r.accounts {
		a := &r.accounts[i]
		if !a.serves(f.Merchant, f.Mode) {
			continue
		}
		c := payment.Candidate{Account: a.Name, Outcome: payment.CandidateNext, Reason: fmt.Sprintf("priority %d", a.Priority)}
		if f.Account != "" {
			c.Reason = "pinned to " + a.Name
		}
		switch reason := a.refusal(f, disabled[a.Name]); {
		case reason != "":
			c.Outcome, c.Reason = payment.CandidateRejected, reason
			rejected = append(rejected, c)
		case r.silent != nil && r.silent(a.Name):
			c.Reason += "; " + ReasonSilent
			silent = append(silent, c)
		default:
			plan.Candidates = append(plan.Candidates, c)
		}
	}
	plan.Candidates = append(plan.Candidates, silent...)
	if len(plan.Candidates) > 0 {
		plan.Candidates[0].Outcome = payment.CandidateChosen
	}
	plan.Candidates = append(plan.Candidates, rejected...)
	return plan
}

func (a *Account) serves(merchant string, mode payment.Mode) bool {
	if a.Mode != mode || merchant == "" || merchant == "*" {
		return false
	}
	return slices.Contains(a.Merchants, merchant) || (mode == payment.Test && slices.Contains(a.Merchants, "*"))
}

// refusal says why a does not take the payment; "" = it does. The reason that
// the merchant or the operator can do most about comes first.
func (a *Account) refusal(f payment.Facts, disabled bool) string {
	switch {
	case f.Account != "" && f.Account != a.Name:
		return "pinned to " + f.Account
	case disabled:
		return "disabled by the operator"
	case a.Retired:
		return "retired"
	case a.PinnedOnly && f.Account == "":
		return "takes pinned payments only"
	}
	m, known := a.method(f.Method, f.Flow)
	switch {
	case !known && f.Flow != "" && a.speaks(f.Method):
		return fmt.Sprintf("%s is not a flow of %s at %s", f.Flow, f.Method, a.Connector)
	case !known:
		return fmt.Sprintf("%s is not a method of %s", f.Method, a.Connector)
	case !f.Capture && !m.Manual:
		return "manual capture not supported"
	case len(a.Currencies) > 0 && !slices.Contains(a.Currencies, f.Amount.Currency):
		return fmt.Sprintf("currency %s not taken", f.Amount.Currency)
	}
	return ""
}

func (a *Account) method(t payment.MethodType, f payment.Flow) (Method, bool) {
	for _, m := range a.Methods {
		if m.Type == t && m.Flow == f {
			return m, true
		}
	}
	return Method{}, false
}

func (a *Account) speaks(t payment.MethodType) bool {
	return slices.ContainsFunc(a.Methods, func(m Method) bool { return m.Type == t })
}
