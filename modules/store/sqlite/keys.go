package sqlite

import (
	"fmt"
	"time"

	"github.com/purser-pay/purser/modules/store"
)

// Key implements [store.Reader].
func (r *reader) Key(k store.KeyScope) (store.IdempotencyKey, error) {
	b := r.c.bind(qKey)
	scope(&b, k)
	if err := one("read idempotency key", &b); err != nil {
		return store.IdempotencyKey{}, err
	}
	defer b.reset()
	s := b.s
	out := store.IdempotencyKey{
		KeyScope: k,
		Payment:  s.ColumnText(1), Object: s.ColumnText(2),
		Lease: column(s, 3), Status: s.ColumnInt(4), Success: s.ColumnInt(5),
		ContentType: s.ColumnText(6), Body: s.ColumnBlob(7, nil), Expires: column(s, 8),
	}
	if n := copy(out.Fingerprint[:], s.ColumnRawBlob(0)); n != len(out.Fingerprint) {
		return store.IdempotencyKey{}, fmt.Errorf("sqlite: stored fingerprint has %d bytes", n)
	}
	return out, nil
}

func scope(b *binder, k store.KeyScope) {
	b.text(k.Merchant)
	b.text(string(k.Mode))
	b.text(k.Key)
}

// key fills the columns in the order that qClaimKey and qPutKey share.
func key(b *binder, k *store.IdempotencyKey) {
	b.blob(k.Fingerprint[:])
	b.text(k.Payment)
	b.text(k.Object)
	b.time(k.Lease)
	b.int(int64(k.Status))
	b.int(int64(k.Success))
	b.text(k.ContentType)
	b.blob(k.Body)
	b.time(k.Expires)
	scope(b, k.KeyScope)
}

// ClaimKey implements [store.Tx].
func (t *tx) ClaimKey(k store.IdempotencyKey, now time.Time) (store.IdempotencyKey, bool, error) {
	b := t.c.bind(qClaimKey)
	key(&b, &k)
	b.time(now)
	n, err := t.wrote("claim idempotency key", &b)
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
	b := t.c.bind(qPutKey)
	key(&b, &k)
	n, err := t.wrote("put idempotency key", &b)
	if err == nil && n == 0 {
		if _, err = t.Key(k.KeyScope); err == nil {
			err = store.ErrConflict // it has its answer already
		}
	}
	return err
}

// DeleteKey implements [store.Tx].
func (t *tx) DeleteKey(k store.IdempotencyKey) error {
	b := t.c.bind(qDeleteKey)
	scope(&b, k.KeyScope)
	b.time(k.Lease)
	_, err := t.wrote("delete idempotency key", &b)
	return err
}
