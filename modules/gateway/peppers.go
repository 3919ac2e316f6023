package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/store"
)

// readKeyPeppers reads the peppers of API keys. The pepper is good for keys in any
// case: those of before the first rotation were made under it. Where it is named
// among them it has that place, so that a new one can be announced behind it.
func (a *App) readKeyPeppers(resolver func(string) (string, error)) error {
	a.peppers = nil
	named := false
	for i, s := range a.KeyPepperSecrets {
		pepper, err := decodeKey(fmt.Sprintf("key_peppers, number %d", i+1), s, resolver)
		if err != nil {
			return err
		}
		named = named || bytes.Equal(pepper, a.pepper)
		a.peppers = append(a.peppers, pepper)
	}
	if !named {
		a.peppers = append(a.peppers, a.pepper)
	}
	if len(a.peppers) > 1+access.MaxFormer {
		return fmt.Errorf("key_peppers: at most %d beside the pepper", access.MaxFormer)
	}
	return nil
}

// keyPeppers are the peppers of API keys, the one for new keys first.
func (a *App) keyPeppers() [][]byte {
	if len(a.peppers) == 0 {
		return [][]byte{a.pepper}
	}
	return a.peppers
}

// rehash stores the hash of a key under the current pepper, and has the directory
// read it. Whoever calls with the key does not wait for that, and where it fails the
// key stays good.
func (g *ground) rehash(d *access.Directory) func(context.Context, access.Key) {
	return func(_ context.Context, k access.Key) {
		go func() { //nolint:gosec // the call that showed the key does not wait, and its end is not this one's
			ctx, cancel := context.WithTimeout(context.Background(), usedTimeout)
			defer cancel()
			err := store.Rehash(ctx, g.store, k)
			if err == nil || errors.Is(err, store.ErrUncertain) {
				d.KeyChanged(k.ID)
				err = errors.Join(err, d.CatchUp(ctx))
			}
			if log := g.log(); err != nil && log != nil {
				log.Warn("the hash of a key stays under a former pepper for now", slog.String("key", k.ID), slog.String("error", err.Error()))
			}
		}()
	}
}

// parseKeyPeppers reads the references of one line.
func (a *App) parseKeyPeppers(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("key_peppers takes references, the one for new keys first: key_peppers {file.key_pepper_2} {file.key_pepper_1}")
	}
	for _, arg := range args {
		var s connector.Secret
		if err := s.UnmarshalText([]byte(arg)); err != nil {
			return d.WrapErr(err)
		}
		a.KeyPepperSecrets = append(a.KeyPepperSecrets, s)
	}
	return nil
}
