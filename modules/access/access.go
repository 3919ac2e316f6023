// Package access holds the nouns of who may call: merchants, their API keys,
// and the principal that a credential proves.
package access

import (
	"slices"
	"time"

	"github.com/purser-pay/purser/modules/payment"
)

// Merchant is somebody who takes payments.
type Merchant struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
}

// Key is an API key as it is stored: never the secret, only its keyed hash.
type Key struct {
	ID       string       `json:"id"`
	Merchant string       `json:"merchant"`
	Mode     payment.Mode `json:"mode"`
	Name     string       `json:"name"`
	Scopes   []Scope      `json:"scopes"`
	// RateLimits take the place of the gateway's limit for keys; none = that one.
	RateLimits []Rate    `json:"rate_limits,omitempty"`
	Hash       [32]byte  `json:"-"` // HMAC-SHA256(pepper, the whole text of the key)
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"` // zero = never
	RevokedAt  time.Time `json:"revoked_at,omitzero"` // zero = not revoked; may lie ahead (rotation)
	RotatedTo  string    `json:"rotated_to,omitempty"`
}

// Scope is a permission.
type Scope string

// The scopes.
const (
	PaymentsRead  Scope = "payments:read"
	PaymentsWrite Scope = "payments:write"
	RefundsRead   Scope = "refunds:read"
	RefundsWrite  Scope = "refunds:write"
	WebhooksRead  Scope = "webhooks:read"
	WebhooksWrite Scope = "webhooks:write"
	EventsRead    Scope = "events:read"
	AccountRead   Scope = "account:read"
	ProxyUse      Scope = "proxy:use"
)

// Scopes lists every scope.
var Scopes = []Scope{
	PaymentsRead, PaymentsWrite, RefundsRead, RefundsWrite,
	WebhooksRead, WebhooksWrite, EventsRead, AccountRead, ProxyUse,
}

// DefaultScopes is what a key has when none are named: all but [ProxyUse].
func DefaultScopes() []Scope { return append([]Scope(nil), Scopes[:len(Scopes)-1]...) }

// Principal is who a request proved to be.
type Principal struct {
	Merchant string
	Mode     payment.Mode
	Key      string // the key's ID
	Scopes   []Scope
	// RateLimits are the key's own; see [Key].
	RateLimits []Rate
}

// Has tells whether the principal has a scope.
func (p Principal) Has(s Scope) bool {
	return slices.Contains(p.Scopes, s)
}
