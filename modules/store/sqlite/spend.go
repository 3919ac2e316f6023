package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/purser-pay/purser/modules/store"
)

// SpendNonce implements [store.Store]. Those who spend at one time share a
// commit.
func (s *Store) SpendNonce(ctx context.Context, n store.Nonce, now time.Time) error {
	return s.Update(ctx, func(t store.Tx) error { return t.PutNonce(n, now) })
}

// PutNonce implements [store.Tx].
func (t *tx) PutNonce(n store.Nonce, now time.Time) error {
	if !n.Expires.After(now) {
		return store.ErrConflict
	}
	digest := n.Digest()
	b := t.c.bind(qPutNonce)
	b.blob(digest[:])
	b.time(n.Expires.Add(time.Millisecond - 1)) // rounded up: none may be forgotten early
	b.time(now)
	return t.once("put nonce", &b, store.ErrConflict)
}

// AddToCounter implements [store.Tx]. Nobody else writes between the look and
// the write.
func (t *tx) AddToCounter(a store.Addition, now time.Time) (total int64, err error) {
	if err := a.Check(); err != nil {
		return 0, fmt.Errorf("sqlite: %w", err)
	}
	total, expires, err := t.counter(a.Counter)
	switch {
	case err != nil:
		return 0, err
	case expires <= now.UnixMilli():
		total, expires = 0, a.Expires.UnixMilli()
	}
	if total, err = a.To(total); err != nil {
		return total, fmt.Errorf("sqlite: %w", err)
	}
	if a.Delta == 0 {
		return total, nil
	}
	b := t.c.bind(qPutCounter)
	b.text(a.Counter)
	b.int(total)
	b.int(expires)
	_, err = t.wrote("put counter", &b)
	return total, err
}

// counter reads a counter; one that is not there has expired.
func (t *tx) counter(name string) (total, expires int64, err error) {
	b := t.c.bind(qCounter)
	b.text(name)
	err = one("read counter", &b)
	if errors.Is(err, store.ErrNotFound) {
		return 0, math.MinInt64, nil
	}
	if err != nil {
		return 0, 0, err
	}
	defer b.reset()
	return b.s.ColumnInt64(0), b.s.ColumnInt64(1), nil
}
