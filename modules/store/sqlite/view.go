package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/store"
)

// errClosed is the answer of a store that was closed.
var errClosed = fmt.Errorf("sqlite: closed: %w", store.ErrUnavailable)

// View implements [store.Store]. fn may not call a method of the store itself:
// it holds one of few connections.
func (s *Store) View(ctx context.Context, fn func(store.Reader) error) error {
	if s.doubt.Load() {
		// What a reader finds now may be contradicted by what a crash would
		// leave. An empty update makes the writer settle that first.
		if err := s.Update(ctx, func(store.Tx) error { return nil }); err != nil {
			return err
		}
	}
	c, err := s.reader(ctx)
	if err != nil {
		return err
	}
	r := &reader{c}
	defer func() {
		r.c = nil                               // a reader that outlives its view fails loudly
		c.db.SetInterrupt(context.Background()) //nolint:forbidigo // the connection outlives the view
		if err := c.end(); err != nil {
			s.cfg.Log.Error("read transaction does not end", slog.Any("error", err))
		}
		s.views <- c
	}()
	if err := c.exec(qBegin); err != nil {
		return fault("begin", err)
	}
	c.db.SetInterrupt(ctx)
	err = fn(r)
	if errors.Is(err, sqlite3.INTERRUPT) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// reader waits for an idle connection.
func (s *Store) reader(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return nil, errClosed
	}
	select {
	case c := <-s.views:
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Due implements [store.Store].
func (s *Store) Due(ctx context.Context, q store.Queue) (due time.Time, ok bool, err error) {
	err = s.View(ctx, func(r store.Reader) (err error) {
		due, ok, err = r.(*reader).due(q)
		return err
	})
	return due, ok, err
}

// Lease implements [store.Store].
func (s *Store) Lease(ctx context.Context, q store.Queue, now time.Time, limit int, hold time.Duration) ([]store.Item, error) {
	// An empty queue is the common case, and costs the writer nothing.
	if due, ok, err := s.Due(ctx, q); err != nil || !ok || due.After(now) || limit < 1 {
		return nil, err
	}
	var items []store.Item
	err := s.Update(ctx, func(t store.Tx) (err error) {
		items, err = t.(*tx).lease(q, now, limit, hold)
		return err
	})
	if err != nil {
		return nil, err
	}
	return items, nil
}

// deliveryAge is how long a line of the delivery log is kept.
const deliveryAge = 30 * 24 * time.Hour

// nonceSlack is for how long nonces are kept after their end: a clock that was set
// back a little brings none of them to life.
const nonceSlack = time.Minute

// Sweep deletes up to limit rows that have had their time at now: idempotency
// keys, then nonces and counters, then lines of the delivery log that are 30 days
// old, then revocations that are of [access.TokenRevocationAge]. It tells how many: fewer than limit means that nothing is left to do.
func (s *Store) Sweep(ctx context.Context, now time.Time, limit int) (n int, err error) {
	err = s.Update(ctx, func(t store.Tx) (err error) {
		n, err = t.(*tx).sweep(now, limit)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (t *tx) sweep(now time.Time, limit int) (n int, err error) {
	for _, sweep := range []struct {
		q      query
		before time.Time
	}{
		{qSweep, now},
		{qSweepNonces, now.Add(-nonceSlack)},
		{qSweepCounters, now},
		{qSweepDeliveries, now.Add(-deliveryAge)},
		{qSweepTokenRevocations, now.Add(-access.TokenRevocationAge)},
	} {
		if n >= limit {
			break
		}
		b := t.c.bind(sweep.q)
		b.time(sweep.before)
		b.int(int64(limit - n))
		more, err := t.wrote("sweep", &b)
		if err != nil {
			return n, err
		}
		n += int(more)
	}
	return n, nil
}
