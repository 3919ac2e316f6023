package connector

import (
	"slices"
	"time"

	"github.com/purser-pay/purser/modules/payment"
)

// Account is one set of credentials at one PSP, under the name that merchants
// and policies know it by. It is immutable once provisioned.
type Account struct {
	Name      string
	Connector Connector
	Mode      payment.Mode
	// Merchants may use the account; "*" stands for all, in mode test only.
	Merchants []string
	// Priority orders the candidates: lower first, then by name.
	Priority int
	BaseURL  string // no trailing slash; "" = the connector's default for the mode
	// Timeout bounds one exchange, repeats included; 0 = [DefaultTimeout].
	Timeout time.Duration
	// NotFoundAfter is how long "not found" is not believed; 0 = the
	// connector's.
	NotFoundAfter time.Duration
	// Retired accounts take no new payments; what is under way goes on.
	Retired bool
	// PinnedOnly accounts take payments that are pinned to them, and no others:
	// a new account that is to be tried out beside the old ones.
	PinnedOnly bool
}

// The defaults of an account.
const (
	DefaultTimeout       = 20 * time.Second
	DefaultNotFoundAfter = 30 * time.Second
)

// Exchange returns how long one exchange may take.
func (a *Account) Exchange() time.Duration {
	if a.Timeout > 0 {
		return a.Timeout
	}
	return DefaultTimeout
}

// NotFound returns how long "not found" is not believed.
func (a *Account) NotFound() time.Duration {
	switch {
	case a.NotFoundAfter > 0:
		return a.NotFoundAfter
	case a.Connector.Spec().NotFoundAfter > 0:
		return a.Connector.Spec().NotFoundAfter
	default:
		return DefaultNotFoundAfter
	}
}

// Base returns the base URL for calls.
func (a *Account) Base() string {
	switch {
	case a.BaseURL != "":
		return a.BaseURL
	case a.Mode.Live():
		return a.Connector.Spec().LiveURL
	default:
		return a.Connector.Spec().TestURL
	}
}

// Serves tells whether a merchant may use the account in a mode.
func (a *Account) Serves(merchant string, mode payment.Mode) bool {
	return a.Mode == mode && (slices.Contains(a.Merchants, merchant) ||
		(mode == payment.Test && slices.Contains(a.Merchants, "*")))
}
