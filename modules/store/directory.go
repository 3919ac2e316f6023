package store

import (
	"context"
	"errors"

	"github.com/purser-pay/purser/modules/access"
)

// AllKeys reads everybody who may call, as [access.NewDirectory] wants it.
func AllKeys(s Store) func(context.Context) ([]access.Merchant, []access.Key, error) {
	return func(ctx context.Context) (merchants []access.Merchant, keys []access.Key, err error) {
		err = s.View(ctx, func(r Reader) error {
			if merchants, err = r.Merchants(); err != nil {
				return err
			}
			keys, err = r.APIKeys("")
			return err
		})
		return merchants, keys, err
	}
}

// SomeKeys reads those of the merchants and keys that are there.
func SomeKeys(s Store) access.Some {
	return func(ctx context.Context, merchantIDs, keyIDs []string) (merchants []access.Merchant, keys []access.Key, err error) {
		err = s.View(ctx, func(r Reader) error {
			if len(merchantIDs) > 0 {
				if merchants, err = r.MerchantsByID(merchantIDs); err != nil {
					return err
				}
			}
			if len(keyIDs) > 0 {
				keys, err = r.APIKeysByID(keyIDs)
			}
			return err
		})
		return merchants, keys, err
	}
}

// OneKey reads one key and its merchant.
func OneKey(s Store) access.Lookup {
	return func(ctx context.Context, id string) (m access.Merchant, k access.Key, err error) {
		err = s.View(ctx, func(r Reader) (err error) {
			m, k = access.Merchant{}, access.Key{}
			if k, err = r.APIKey(id); err == nil {
				m, err = r.Merchant(k.Merchant)
			}
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			return err
		})
		return m, k, err
	}
}
