package policy

import (
	"time"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
)

// rule is one rule, compiled.
type rule struct {
	name string
	file string
	line int
	when condition
	// checks are what a request must pass where the condition holds.
	checks []check
	rates  []Rate
	daily  []Quota
	// cards is what the rule says of card numbers: nothing, refused, or taken.
	cards cardWord
	// proxied tells that the rule has a list of calls that may be passed through.
	proxied bool
}

type cardWord uint8

const (
	cardsUnsaid cardWord = iota
	cardsRefused
	cardsTaken
)

// rank orders refusals of one request: the lowest is told.
type rank uint8

const (
	rankError   rank = iota // the condition cannot be decided
	rankDeny                // deny: true
	rankRequire             // who calls, and how
	rankAllow               // what is asked for
	rankAmount              // how much; among those the smallest limit
	rankWindows             // more is to be counted than can be
	rankDefault             // the built-in rules
)

// check is one demand of a rule. It holds where the request has nothing that it
// is about.
type check struct {
	name  string // as the file has it, such as "require.tls"
	rank  rank
	fact  fact
	want  string
	holds func(*facts) bool
	got   func(*facts) string
	// limit is the amount that a check of rankAmount allows.
	limit func(*facts) int64
	// detail is for the merchant.
	detail string
}

// Scope is what a rate is counted by, besides the rule.
type Scope string

// The scopes, by the names of package ratelimit.
const (
	ScopeKey      Scope = "key"
	ScopeMerchant Scope = "merchant"
	ScopeRoute    Scope = "route"
	ScopeIP       Scope = "ip"
	ScopeAccount  Scope = "account"
)

// scopes are all that there are.
var scopes = []Scope{ScopeIP, ScopeKey, ScopeMerchant, ScopeRoute, ScopeAccount}

// Rate is a window that the caller still has to count. Each rule counts by itself,
// and only the calls that its condition holds for.
type Rate struct {
	Rule  string
	Scope Scope
	Rate  access.Rate
}

// Quota is an amount that a merchant may not exceed in one mode, one currency and
// one day of UTC, over all calls that the rule's condition holds for. The caller
// counts it.
type Quota struct {
	Rule     string
	Currency payment.Currency
	Limit    int64 // in the currency's minor unit
}

// Bounds of what a rule says.
const (
	maxAmount = payment.MaxMinor
	maxDaily  = 1_000_000 * 1_000_000_000 // some thousand of the largest payments
	maxKeyAge = 10 * 366 * 24 * time.Hour
	// MaxRates is how many windows one decision may ask to be counted, and
	// MaxQuotas how many amounts: a request to which more apply is refused.
	MaxRates  = 12
	MaxQuotas = 12
)
