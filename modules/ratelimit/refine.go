package ratelimit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/purser-pay/purser/modules/access"
)

// MaxExtra bounds the windows that policies may add to one call.
const MaxExtra = 64

// Extra is a limit that a policy adds to a call.
//
// Each rule counts for itself, and only the calls that it holds for: two rules
// with the same scope and the same window share nothing, so that the calls that
// one of them is about use up nothing of the other's.
type Extra struct {
	// Rule is the policy's name, by which the counts are kept: under another name
	// they begin anew.
	Rule string
	// Scope is whose calls are counted together; see [Limiter.Refine].
	Scope Scope
	// Rates are the windows. All of them hold.
	Rates []access.Rate
}

// order is that in which the groups of a call are asked.
var order = [...]Kind{Addresses, Merchants, Accounts}

// bite is what a store decides at once.
type bite struct {
	group   Group
	charges []Charge
}

// Refine decides by the rates that policies add, beside those of [Limiter.Admit],
// and never instead of them. Key, merchant and route count as they do there;
// [Address] counts all that come from one address, whoever they are, and
// [Account] all that name one account, and nothing where c names none.
//
// All windows have room or none is charged. What counts by merchant is one
// decision of the store. An address and an account are decisions of their own,
// because stores keep them elsewhere: what they took is given back where a later
// one refuses, and for that moment a window is fuller by one call, never emptier.
// What Admit has counted stays. Errors are [ErrUnavailable], more
// than [MaxExtra] windows, and a scope that there is not.
func (l *Limiter) Refine(ctx context.Context, c Caller, extra []Extra) (Verdict, error) {
	bites, err := l.bites(&c, extra)
	if err != nil || len(bites) == 0 {
		return Verdict{}, err
	}
	v := Verdict{States: make([]State, 0, MaxCharges)}
	began := l.clock()
	for i, b := range bites {
		if v.States, err = l.store.Take(ctx, b.group, b.charges, v.States); err == nil && v.Passed() {
			continue
		}
		for _, taken := range bites[:i] {
			l.giveBack(ctx, taken, began)
		}
		break
	}
	return v, err
}

// bites sorts the windows by their groups, and cuts what is too much for one
// decision.
func (l *Limiter) bites(c *Caller, extra []Extra) ([]bite, error) {
	windows := 0
	for i := range extra {
		if windows += len(extra[i].Rates); !slices.Contains(Scopes, extra[i].Scope) {
			return nil, fmt.Errorf("there is no scope %.40q", extra[i].Scope)
		}
	}
	if windows > MaxExtra {
		return nil, errExtra
	}
	charges := make([]Charge, 0, windows) // bites are parts of it
	var bites []bite
	for _, kind := range order {
		from := len(charges)
		for i := range extra {
			charges = l.charge(charges, kind, c, &extra[i])
		}
		for part := range slices.Chunk(charges[from:], MaxCharges) {
			bites = append(bites, bite{c.group(kind), part})
		}
	}
	return bites, nil
}

// charge appends the windows of a rule where they count in groups of a kind.
func (l *Limiter) charge(charges []Charge, kind Kind, c *Caller, x *Extra) []Charge {
	ch := Charge{Scope: x.Scope, Rule: x.Rule, Cost: 1}
	own := Merchants
	switch x.Scope {
	case Address:
		own = Addresses
	case Account:
		if own = Accounts; c.Account == "" {
			return charges
		}
	case Key:
		ch.Name = c.Key
	case Merchant:
		ch.Mode = c.Mode
	case Route:
		ch.Name, ch.Mode = c.Route, c.Mode
	}
	if own != kind {
		return charges
	}
	if kind == Merchants {
		ch.Cost = l.cost(c.Route)
	}
	for _, r := range x.Rates {
		ch.Rate.Limit, ch.Rate.Period = r.Limit, r.Period
		charges = append(charges, ch)
	}
	return charges
}

// group is where a caller counts.
func (c *Caller) group(k Kind) Group {
	switch k {
	case Addresses:
		return groupOf(c.Address)
	case Accounts:
		return Group{Accounts, c.Account}
	case Merchants, Others, kinds:
	}
	return Group{Merchants, c.Merchant}
}

// Account decides over one operation that is about to be sent to an account at a
// PSP. Done says that it has ended, and [Verdict.Cancel] that it was not sent.
// How much an account has left is nobody's business who shares it with others:
// the states are not for merchants.
func (l *Limiter) Account(ctx context.Context, account string) (Verdict, error) {
	if l.account.none() {
		return Verdict{}, nil
	}
	g := Group{Accounts, account}
	var charges [access.MaxRates]Charge
	n := 0
	for _, r := range l.account.Rates[:min(len(l.account.Rates), access.MaxRates)] {
		charges[n] = Charge{Scope: Account, Rate: r, Cost: 1}
		n++
	}
	var berths []berth
	var limits []int64
	if l.account.InFlight > 0 {
		berths, limits = []berth{{group: g.ID, scope: Account}}, []int64{l.account.InFlight}
	}
	began := l.clock()
	v, err := l.decide(ctx, g, charges[:n], berths, limits)
	if err == nil && v.Passed() && n > 0 {
		v.give = func(ctx context.Context) { l.giveBack(ctx, bite{g, charges[:n]}, began) }
	}
	return v, err
}

// Limits tells whether anything limits a scope.
func (l *Limiter) Limits(s Scope) bool {
	limit := l.policy.Limits[s]
	return !limit.none()
}

// clock is the time of a decision; zero where the policy has no clock.
func (l *Limiter) clock() time.Time {
	if l.policy.Now == nil {
		return time.Time{}
	}
	return l.policy.Now()
}

// giveBack returns what passed at a time and was for nothing. Where the store
// does not take it, it stays counted: too many calls never pass for that.
func (l *Limiter) giveBack(ctx context.Context, b bite, began time.Time) {
	if l.policy.Now == nil {
		return
	}
	_ = l.store.Give(ctx, b.group, b.charges, l.policy.Now().Sub(began))
}
