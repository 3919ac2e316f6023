package connector

import (
	"slices"
	"time"

	"github.com/purser-pay/purser/modules/payment"
)

// Spec is what the router, the transport, the engine and the console need to
// know of a connector without asking it to do anything.
type Spec struct {
	Name string // "stripe"; the last label of the module ID

	// TestURL and LiveURL are the base URLs where the account names none.
	TestURL, LiveURL string
	// Hosts lists every host that Encode may name beyond the base URL's own;
	// the transport refuses all others.
	Hosts []string

	Kinds      []payment.Kind
	Methods    []Method
	Currencies []payment.Currency // empty = all

	Idempotency Idempotency
	// Query tells how an attempt is found whose answer was lost.
	Query Query
	// Reversal is nil where the PSP cannot undo by our own reference.
	Reversal *Reversal
	// PartialCapture, PartialRefund: less than the whole is taken.
	PartialCapture, PartialRefund bool

	// NotFoundAfter is how long the PSP may fail to find what it has taken, or,
	// where there is no query, to tell of it by webhook; 0 = 30 s.
	NotFoundAfter time.Duration
	// Source is the PSP documentation that this follows, with its date or API
	// version.
	Source string
}

// Method is a way to pay that the connector speaks.
type Method struct {
	Type payment.MethodType
	Flow payment.Flow // "" for methods without one
	// Manual tells that authorization and capture can be apart.
	Manual bool
	// Patience is how long the engine waits for the payer before it reverses
	// by itself; 0 = until the payment expires. (A payer at a till cannot wait.)
	Patience time.Duration
}

// Idempotency is what the PSP promises about a request sent twice.
type Idempotency struct {
	// By is whose memory counts.
	By By
	// Window is how long the PSP remembers a key; 0 = for good.
	Window time.Duration
	// Kinds lists the operations that the promise covers; empty = all.
	Kinds []payment.Kind
}

// By says by what the PSP tells a repeat from a new request.
type By uint8

// What a PSP may promise.
const (
	ByNothing   By = iota // a repeat is a second charge: never resent once a byte has left
	ByKey                 // the PSP honors Call.Key: a repeat yields the first answer
	ByReference           // the PSP honors Call.Reference: a repeat does no harm, and yields the state
)

// Repeatable tells whether a request of kind k, first sent at sent, may be made
// again at now: inside the window, less [WindowMargin].
func (i Idempotency) Repeatable(k payment.Kind, sent, now time.Time) bool {
	if i.By == ByNothing {
		return false
	}
	if len(i.Kinds) > 0 && !slices.Contains(i.Kinds, k) {
		return false
	}
	return i.Window == 0 || now.Before(sent.Add(i.Window-WindowMargin))
}

// WindowMargin is kept from the end of a PSP's idempotency window: clocks
// differ, and a request takes time.
const WindowMargin = 10 * time.Minute

// Query is how an attempt is found at the PSP.
type Query uint8

// The kinds of query.
const (
	QueryNone         Query = iota // there is no query at all: webhooks and repeats only
	QueryPSPReference              // only by the PSP's own reference
	QueryExact                     // by our reference, exact and at once
)

// Reversal is the PSP's way to undo a charge by our own reference.
type Reversal struct {
	// Window is how long after the charge it works.
	Window time.Duration
}

// Takes tells whether the connector does kind k.
func (s Spec) Takes(k payment.Kind) bool {
	return slices.Contains(s.Kinds, k)
}

// Method returns the entry for a method and flow.
func (s Spec) Method(t payment.MethodType, f payment.Flow) (Method, bool) {
	for _, m := range s.Methods {
		if m.Type == t && m.Flow == f {
			return m, true
		}
	}
	return Method{}, false
}
