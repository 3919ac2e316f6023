package postgres

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/store"
)

// View implements [store.Store]. The snapshot is that of the first read. fn may
// not call a method of the store itself: it holds one of few connections. The
// caller does not wait for the transaction's end, which tells nothing.
func (s *Store) View(ctx context.Context, fn func(store.Reader) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	l, done, err := s.link(ctx)
	if err != nil {
		s.leave()
		return err
	}
	l.opening = []statement{{op: "begin", sql: "BEGIN READ ONLY, ISOLATION LEVEL REPEATABLE READ"}}
	r := &reader{l: l, gone: ctx.Err}
	defer func() {
		r.l = nil // a reader that outlives its view fails loudly
		go func() {
			defer s.leave()
			defer done()
			l.release()
		}()
	}()
	return fn(r)
}

// Due implements [store.Store].
func (s *Store) Due(ctx context.Context, q store.Queue) (due time.Time, ok bool, err error) {
	err = s.alone(ctx, statement{
		op: "look at queue", sql: qDue, args: []any{string(q)},
		take: func(r pgx.BatchResults) error {
			ok = false
			return each(r, func(row pgx.Rows) error {
				ok = true
				return row.Scan(instant(&due))
			})
		},
	})
	return due, ok, err
}

// Lease implements [store.Store]. After an error, items may be hidden until now
// + hold, as they are after the death of who got them.
func (s *Store) Lease(ctx context.Context, q store.Queue, now time.Time, limit int, hold time.Duration) ([]store.Item, error) {
	if limit < 1 {
		return nil, ctx.Err()
	}
	type handed struct {
		store.Item
		was time.Time
	}
	var rows []handed
	until := floor(now.Add(hold))
	err := s.alone(ctx, statement{
		op: "lease", sql: qLease, args: []any{string(q), floor(now), limit, until},
		take: func(r pgx.BatchResults) error {
			rows = nil
			return each(r, func(row pgx.Rows) error {
				h := handed{Item: store.Item{Due: until}}
				if err := row.Scan(&h.ID, &h.Tries, &h.Payload, instant(&h.was)); err != nil {
					return err
				}
				rows = append(rows, h)
				return nil
			})
		},
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(rows, func(a, b handed) int { return cmp.Or(a.was.Compare(b.was), cmp.Compare(a.ID, b.ID)) })
	var items []store.Item
	for i := range rows {
		items = append(items, rows[i].Item)
	}
	return items, nil
}

// deliveryAge is how long a line of the delivery log is kept.
const deliveryAge = 30 * 24 * time.Hour

// nonceSlack is for how long nonces are kept after their end: the clock of the
// node that sweeps may be ahead of another's, at which they still count.
const nonceSlack = time.Minute

// Sweep deletes up to limit rows that have had their time at now: idempotency
// keys, then nonces and counters, then lines of the delivery log that are 30 days
// old, then revocations that are of [access.TokenRevocationAge]. It tells how many: fewer than limit means that nothing is left to do. What
// another node is sweeping is left to it.
func (s *Store) Sweep(ctx context.Context, now time.Time, limit int) (n int, err error) {
	for _, sweep := range []struct {
		sql    string
		before time.Time
	}{
		{qSweepKeys, now},
		{qSweepNonces, now.Add(-nonceSlack)},
		{qSweepCounters, now},
		{qSweepDeliveries, now.Add(-deliveryAge)},
		{qSweepTokenRevocations, now.Add(-access.TokenRevocationAge)},
	} {
		if n >= limit {
			break
		}
		var more int64
		err := s.alone(ctx, statement{
			op: "sweep", sql: sweep.sql, args: []any{floor(sweep.before), limit - n},
			take: func(r pgx.BatchResults) error {
				tag, err := r.Exec()
				more = tag.RowsAffected()
				return err
			},
		})
		if err != nil {
			return n, err
		}
		n += int(more)
	}
	return n, nil
}

// Ping writes one row, so that it fails where the disk is full or the server is
// a standby.
func (s *Store) Ping(ctx context.Context) error {
	return s.alone(ctx, statement{op: "ping", sql: qBeat})
}
