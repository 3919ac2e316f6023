// Package access holds the nouns of who may call: merchants, their API keys,
// and the principal that a credential proves.
package access

import (
	"net/netip"
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
	RateLimits []Rate `json:"rate_limits,omitempty"`
	// AllowIP are the networks from which the key is good, at most [MaxNetworks];
	// none = from everywhere.
	AllowIP []netip.Prefix `json:"allow_ip,omitempty"`
	// Signing is how requests under the key are signed; nil = they are not.
	Signing   *SigningKey `json:"signing,omitempty"`
	Hash      [32]byte    `json:"-"` // HMAC-SHA256(pepper, the whole text of the key)
	CreatedAt time.Time   `json:"created_at"`
	ExpiresAt time.Time   `json:"expires_at,omitzero"` // zero = never
	RevokedAt time.Time   `json:"revoked_at,omitzero"` // zero = not revoked; may lie ahead (rotation)
	RotatedTo string      `json:"rotated_to,omitempty"`
	// LastUsedAt is roughly when the key was last good for a call; see [Usage]. Zero
	// = not yet, or not since this is noted.
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
	// PepperID names the pepper of Hash; see [PepperID]. "" = it is not known.
	PepperID string `json:"pepper_id,omitempty"`
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

// Means is what proved a [Principal].
type Means string

// The means.
const (
	ByKey         Means = "key"
	ByToken       Means = "token"
	ByCertificate Means = "certificate"
)

// Principal is who a request proved to be.
type Principal struct {
	Merchant string
	Mode     payment.Mode
	By       Means
	// Subject is whom a token or a certificate names, for logs; "" for a key.
	Subject string
	Key     string // the key's ID; "" where no key was shown
	// KeyCreatedAt is when the key was made; zero where no key was shown.
	KeyCreatedAt time.Time
	Scopes       []Scope
	// RateLimits are the key's own; see [Key].
	RateLimits []Rate
	// Signing is the key's, and must not be changed; nil = it has none, so that no
	// signature can be its holder's.
	Signing *SigningKey
}

// Has tells whether the principal has a scope.
func (p Principal) Has(s Scope) bool {
	return slices.Contains(p.Scopes, s)
}
