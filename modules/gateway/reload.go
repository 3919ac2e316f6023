package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// knownSetting is where the store keeps which accounts there were, so that an
// account that went missing between two starts is noticed as well.
const knownSetting = "gateway.accounts"

// knownAccount is what must not change under a payment.
type knownAccount struct {
	Connector string       `json:"connector"`
	Mode      payment.Mode `json:"mode"`
	Retired   bool         `json:"retired,omitempty"`
}

// described lists the accounts of this configuration.
func (a *App) described() map[string]knownAccount {
	m := make(map[string]knownAccount, len(a.accounts))
	for name, account := range a.accounts {
		m[name] = knownAccount{account.Connector.Spec().Name, account.Mode, account.Retired}
	}
	return m
}

// refuseOrphans refuses a configuration without an account that still has work,
// or with another connector or mode under its name: nobody could ever capture,
// refund or ask about those payments again. An account that was marked retired
// may go: its operator has said so.
func (a *App) refuseOrphans(ctx context.Context) error {
	have := a.described()
	return a.ground.store.View(ctx, func(r store.Reader) error {
		known, err := readKnown(r)
		if err != nil {
			return err
		}
		if running, err := Running(); err == nil && running.ground == a.ground {
			maps.Copy(known, running.described())
		}
		for _, name := range sorted(known) {
			was, is := known[name], have[name]
			if was.Retired || (is.Connector == was.Connector && is.Mode == was.Mode) {
				continue
			}
			active, err := r.Active(name)
			if err != nil {
				return fmt.Errorf("account %s: %w", name, err)
			}
			if active {
				return orphanError(name, was, is)
			}
		}
		return nil
	})
}

func orphanError(name string, was, is knownAccount) error {
	const advice = "mark it retired first, and remove it in a later reload"
	switch {
	case is == knownAccount{}:
		return fmt.Errorf("account %s is gone, and has payments that are unresolved, capturable or refundable; %s", name, advice)
	case is.Connector != was.Connector:
		return fmt.Errorf("account %s was of connector %s, and has payments that are unresolved, capturable or refundable: give %s another name", name, was.Connector, is.Connector)
	default:
		return fmt.Errorf("account %s was of mode %s, and has payments that are unresolved, capturable or refundable: give the one of mode %s another name", name, was.Mode, is.Mode)
	}
}

// rememberAccounts writes down the accounts of a configuration that starts.
// Those that are gone stay known as long as they have work. Where nothing has
// changed, nothing is written, and no payment waits for it.
func (a *App) rememberAccounts(ctx context.Context) error {
	have := a.described()
	return a.ground.store.Update(ctx, func(tx store.Tx) error {
		known, err := readKnown(tx)
		if err != nil {
			return err
		}
		next := maps.Clone(have)
		for name, was := range known {
			if _, ok := have[name]; ok {
				continue
			}
			active, err := tx.Active(name)
			if err != nil {
				return fmt.Errorf("account %s: %w", name, err)
			}
			if active {
				next[name] = was
			}
		}
		if maps.Equal(next, known) {
			return nil
		}
		b, err := json.Marshal(next)
		if err != nil {
			return fmt.Errorf("remember accounts: %w", err)
		}
		return tx.PutSetting(knownSetting, string(b))
	})
}

func readKnown(r store.Reader) (map[string]knownAccount, error) {
	known := map[string]knownAccount{}
	text, err := r.Setting(knownSetting)
	switch {
	case errors.Is(err, store.ErrNotFound) || (err == nil && text == ""):
		return known, nil
	case err != nil:
		return nil, fmt.Errorf("known accounts: %w", err)
	}
	if err := json.Unmarshal([]byte(text), &known); err != nil {
		return nil, fmt.Errorf("known accounts: %w", err)
	}
	return known, nil
}

// ErrNotRunning tells that no configuration with a payments app is active.
var ErrNotRunning = errors.New("no payments app is running")

// Running returns the app of the configuration that is active now. While a new
// one starts, that is still the old one.
func Running() (*App, error) {
	v, err := caddy.ActiveContext().AppIfConfigured(appName)
	if err != nil {
		return nil, ErrNotRunning
	}
	a, ok := v.(*App)
	if !ok || !a.Ready() {
		return nil, ErrNotRunning
	}
	return a, nil
}
