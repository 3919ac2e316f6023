package gateway

import (
	"slices"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/transport"
)

// Passage opens the way through to an account's PSP, over the account's own
// client.
func (a *App) Passage(account *connector.Account) (*transport.Passage, error) {
	return a.exchange.Passage(account)
}

// Disabled tells whether an operator took an account out of use.
func (a *App) Disabled(account string) bool { return slices.Contains(a.router.Disabled(), account) }
