package postgres

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purser-pay/purser/modules/store"
)

// Key implements [store.Reader].
func (r *reader) Key(k store.KeyScope) (store.IdempotencyKey, error) {
	out := store.IdempotencyKey{KeyScope: k}
	err := r.one(source{"read idempotency key", qKey, "idempotency_keys", locked}, func(row pgx.Row) error {
		var fingerprint []byte
		err := row.Scan(&fingerprint, &out.Payment, &out.Object, instant(&out.Lease), &out.Status, &out.Success,
			&out.ContentType, &out.Body, instant(&out.Expires))
		if err != nil {
			return err
		}
		if n := copy(out.Fingerprint[:], fingerprint); n != len(out.Fingerprint) {
			return fmt.Errorf("stored fingerprint has %d bytes", n)
		}
		return nil
	}, k.Merchant, string(k.Mode), k.Key)
	if err != nil {
		return store.IdempotencyKey{}, err
	}
	return out, nil
}

// keyArgs fills the columns in the order that wClaimKey and wPutKey share.
func keyArgs(k *store.IdempotencyKey) []any {
	return []any{
		k.Merchant, string(k.Mode), k.Key, k.Fingerprint[:], k.Payment, k.Object, floor(k.Lease),
		k.Status, k.Success, k.ContentType, k.Body, floor(k.Expires),
	}
}

// ClaimKey implements [store.Tx]. A bold run takes the key for free.
func (t *tx) ClaimKey(k store.IdempotencyKey, now time.Time) (store.IdempotencyKey, bool, error) {
	args := keyArgs(&k)
	if t.mode == careful {
		args = append(args, floor(now))
	}
	n, err := t.write("claim idempotency key", wClaimKey, args...)
	if err != nil {
		return store.IdempotencyKey{}, false, err
	}
	if n > 0 {
		return k, true, nil
	}
	held, err := t.Key(k.KeyScope)
	return held, false, err
}

// PutKey implements [store.Tx].
func (t *tx) PutKey(k store.IdempotencyKey) error {
	n, err := t.write("put idempotency key", wPutKey, keyArgs(&k)...)
	if err == nil && n == 0 {
		if _, err = t.Key(k.KeyScope); err == nil {
			err = store.ErrConflict // it has its answer already
		}
	}
	return err
}

// DeleteKey implements [store.Tx].
func (t *tx) DeleteKey(k store.IdempotencyKey) error {
	return t.put("delete idempotency key", wDeleteKey, nil, k.Merchant, string(k.Mode), k.Key, floor(k.Lease))
}
