package postgres

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purser-pay/purser/modules/store"
)

// lasts is a nonce's expiry, rounded up: none may be forgotten early.
func lasts(n *store.Nonce) time.Time { return floor(n.Expires.Add(time.Millisecond - 1)) }

// SpendNonce implements [store.Store], by one statement that is a transaction of
// its own. Where a connection dies under it and it is sent again, it knows its own
// row by the spender that it has drawn.
func (s *Store) SpendNonce(ctx context.Context, n store.Nonce, now time.Time) error {
	if !n.Expires.After(now) {
		return store.ErrConflict
	}
	digest, spender := n.Digest(), 1+rand.Int64N(math.MaxInt64) //nolint:gosec // no secret: it tells two senders apart
	var spent bool
	err := s.alone(ctx, statement{
		op: "spend nonce", sql: qSpendNonce, args: []any{digest[:], lasts(&n), floor(now), spender},
		take: func(r pgx.BatchResults) error {
			tag, err := r.Exec()
			spent = tag.RowsAffected() > 0
			return err
		},
	})
	if err == nil && !spent {
		err = store.ErrConflict
	}
	return err
}

// PutNonce implements [store.Tx].
func (t *tx) PutNonce(n store.Nonce, now time.Time) error {
	if !n.Expires.After(now) {
		return store.ErrConflict
	}
	digest := n.Digest()
	return t.put("put nonce", wPutNonce, store.ErrConflict, digest[:], lasts(&n), floor(now))
}

// AddToCounter implements [store.Tx]. The counter's row is locked and read at
// once, in a bold run too: its sum is what the caller wants to know. What is
// written waits, and cannot fail.
func (t *tx) AddToCounter(a store.Addition, now time.Time) (total int64, err error) {
	if err := a.Check(); err != nil {
		return 0, fmt.Errorf("postgres: %w", err)
	}
	var expires time.Time
	err = t.l.send(
		statement{op: "lock counter", sql: qLockCounter, args: []any{a.Counter, floor(a.Expires)}},
		statement{op: "read counter", sql: qCounter, args: []any{a.Counter}, take: row(func(r pgx.Row) error {
			return r.Scan(&total, instant(&expires))
		})},
	)
	if err != nil {
		return 0, err
	}
	if !expires.After(floor(now)) {
		total, expires = 0, floor(a.Expires)
	}
	if total, err = a.To(total); err != nil {
		return total, fmt.Errorf("postgres: %w", err)
	}
	if a.Delta == 0 {
		return total, nil
	}
	return total, t.put("put counter", wPutCounter, nil, a.Counter, total, expires)
}
