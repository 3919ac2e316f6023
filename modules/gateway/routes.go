package gateway

import (
	"context"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/routing"
	"github.com/purser-pay/purser/modules/store"
)

// route builds the router of the accounts, with those switched off that an
// operator took out of use.
func (a *App) route(ctx context.Context) (*routing.Router, error) {
	candidates := make([]routing.Account, 0, len(a.accounts))
	for _, name := range sorted(a.accounts) {
		candidates = append(candidates, candidate(a.accounts[name]))
	}
	router := routing.New(candidates)
	router.WatchSilence(a.silent)
	return router, a.readSwitches(ctx, router)
}

// readSwitches tells a router which accounts operators took out of use.
func (a *App) readSwitches(ctx context.Context, router *routing.Router) error {
	return a.ground.store.View(ctx, func(r store.Reader) error {
		for _, name := range sorted(a.accounts) {
			off, err := isDisabled(r, name)
			if err != nil {
				return err
			}
			router.SetDisabled(name, off)
		}
		return nil
	})
}

// candidate is an account as the router sees it.
func candidate(a *connector.Account) routing.Account {
	spec := a.Connector.Spec()
	methods := make([]routing.Method, len(spec.Methods))
	for i, m := range spec.Methods {
		methods[i] = routing.Method{Type: m.Type, Flow: m.Flow, Manual: m.Manual}
	}
	return routing.Account{
		Name: a.Name, Connector: spec.Name, Mode: a.Mode, Merchants: a.Merchants, Priority: a.Priority,
		Methods: methods, Currencies: spec.Currencies, Retired: a.Retired, PinnedOnly: a.PinnedOnly,
	}
}
