// Package ratelimit decides how many calls somebody may make: over several
// windows and several limits at once, all or nothing, in memory or in a store
// that several nodes share. Its stores keep the contract of ulule/limiter; the
// arithmetic is GCRA's.
package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ulule/limiter/v3"

	"github.com/purser-pay/purser/modules/access"
)

// Scope is what a limit counts by.
type Scope string

// The scopes.
const (
	// Key limits one API key.
	Key Scope = "key"
	// Merchant limits all keys of a merchant in one mode.
	Merchant Scope = "merchant"
	// Route limits the calls of a merchant in one mode to one route.
	Route Scope = "route"
	// Address limits one IPv4 address, or one /64 network of IPv6.
	Address Scope = "ip"
	// Account limits what is sent to one account at a PSP, on behalf of all
	// merchants that use it.
	Account Scope = "account"
)

// Scopes lists every scope, in the order in which limits are told.
var Scopes = []Scope{Address, Key, Merchant, Route, Account}

// Kind is what a [Group] is a group of. Each kind has room of its own in memory,
// so that addresses, which anybody may have many of, displace no merchant.
type Kind uint8

// The kinds.
const (
	Others Kind = iota // whatever callers of the plain contract count
	Addresses
	Merchants
	Accounts
	kinds
)

// String names the kind.
func (k Kind) String() string { return [kinds]string{"other", "ip", "merchant", "account"}[k] }

// Group is what the charges of one decision have in common. A store keeps them
// together, behind one lock or in one slot of a cluster.
type Group struct {
	Kind Kind
	ID   string
}

// Charge is one window of one limit, and what a call costs there.
type Charge struct {
	Scope Scope
	// Name is who is counted, within the group and the scope; Mode tells test from
	// live where the name does not.
	Name, Mode string
	// Rule is the policy that the window belongs to, and that it is counted for
	// alone; "" = the gateway's own limits.
	Rule string
	Rate limiter.Rate
	// Cost is in calls. More than the limit counts as all of it, so that a call
	// is never impossible; 0 looks and takes nothing.
	Cost int64
}

// State is how a window stands after a decision.
type State struct {
	Scope     Scope
	Rule      string // the policy that asks for the window; "" = none does
	Rate      limiter.Rate
	Remaining int64         // calls that would pass now
	Reset     time.Duration // until the window is empty again
	// Retry is how long the charge must wait; 0 = this window lets it pass.
	Retry time.Duration
	// Concurrent tells that calls in flight are counted: Rate has a limit and no
	// period, and Reset says nothing.
	Concurrent bool
}

// Store is the contract of ulule/limiter, and decides over several windows at
// once. It is safe for concurrent use.
type Store interface {
	limiter.Store
	// Take charges all windows where every one of them has room, else none, and
	// appends how each of them stands to states. At most [MaxCharges] at once.
	Take(ctx context.Context, g Group, charges []Charge, states []State) ([]State, error)
	// Give takes charges back that passed some time ago and were for nothing. What
	// may have drained since is not given again, so that no more passes than the
	// rates say.
	Give(ctx context.Context, g Group, charges []Charge, ago time.Duration) error
}

// MaxCharges bounds one decision of a store: three scopes with all windows that
// each may have.
const MaxCharges = 3 * access.MaxRates

var (
	// ErrUnavailable tells that the shared counters cannot be reached, and that
	// the operator prefers to refuse.
	ErrUnavailable = errors.New("the counters of the rate limits cannot be reached")
	errCharges     = errors.New("too many windows in one decision")
	errExtra       = fmt.Errorf("policies ask for more than %d windows at once", MaxExtra)
	errRate        = errors.New("the rate has no limit, or its period is not 1 ns for each call … 30 days")
)

// Passed tells whether a decision let the call pass.
func Passed(states []State) bool {
	for i := range states {
		if states[i].Retry > 0 {
			return false
		}
	}
	return true
}

// RateOf is a rate in the terms of ulule/limiter.
func RateOf(r access.Rate) limiter.Rate {
	return limiter.Rate{Formatted: r.String(), Period: r.Period, Limit: r.Limit}
}

// RatesOf converts the windows of a limit.
func RatesOf(rates []access.Rate) []limiter.Rate {
	out := make([]limiter.Rate, len(rates))
	for i, r := range rates {
		out[i] = RateOf(r)
	}
	return out
}

// check refuses a decision that no store can take.
func check(charges []Charge) error {
	if len(charges) > MaxCharges {
		return errCharges
	}
	for i := range charges {
		if r := &charges[i].Rate; r.Limit < 1 || r.Period > access.MaxRatePeriod || int64(r.Period) < r.Limit {
			return errRate
		}
	}
	return nil
}
