package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// beat is how often a watcher makes sure that its connection lives.
	beat = 250 * time.Millisecond
	// beatPatience is how long it waits for the answer.
	beatPatience = 500 * time.Millisecond
	// reconnect is the longest pause before another try.
	reconnect = 250 * time.Millisecond
	// maxChanges bounds what is told one by one; more are told as one, whose price is
	// that everything is read. Each takes some 50 bytes, and maxName at most.
	maxChanges = 1024
	// maxName bounds the name of what has changed, in bytes: a notification has
	// room for 8000.
	maxName = 1000
)

// Kind says what has changed.
type Kind string

// The kinds of change that are told.
const (
	// Everything: changes may have gone unheard, so anything may have changed.
	Everything      Kind = ""
	MerchantChanged Kind = "merchant"
	APIKeyChanged   Kind = "api_key"
	TokensRevoked   Kind = "token_revocation"
	SettingChanged  Kind = "setting"
)

// Change is something that a node may have kept in memory, and that has changed.
type Change struct {
	Kind Kind
	ID   string // of the merchant or key, or the issuer's or setting's name; "" = any
}

func (c Change) payload() string {
	if len(c.ID) > maxName {
		c.ID = ""
	}
	return string(c.Kind) + " " + c.ID
}

func parseChange(payload string) Change {
	kind, id, _ := strings.Cut(payload, " ")
	return Change{Kind(kind), id}
}

// Watcher hears of the merchants, API keys, token revocations and settings that any node changes.
type Watcher struct {
	s    *Store
	fn   func(context.Context, Change) error
	stop context.CancelFunc
	done chan struct{}

	mu           sync.Mutex
	heard, since time.Time
}

// Watch calls fn, one call at a time, with each change that is committed from
// now on, by this node or another; and with [Everything] first, and after each
// time that the connection was lost. A view that begins then finds the change: the
// server tells a listener only of transactions that a new snapshot has. fn has
// 1.5 s; where it fails, it is soon called with Everything. Watching lasts until ctx
// ends, Stop, or the end of the store. It takes a connection beside those of the
// pool, and finds a new one when the server is back within half a second.
func (s *Store) Watch(ctx context.Context, fn func(context.Context, Change) error) (*Watcher, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	w := &Watcher{s: s, fn: fn, stop: stop, done: make(chan struct{})}
	go func() {
		defer s.leave()
		defer close(w.done)
		defer stop()
		go func() {
			select {
			case <-s.closing:
				stop()
			case <-w.done:
			}
		}()
		w.watch(ctx)
	}()
	return w, nil
}

// Stop ends the watching, and waits for a call of fn that is under way. fn may
// not call it.
func (w *Watcher) Stop() {
	w.stop()
	<-w.done
}

// Heard tells up to when fn has been told of every change, but for a few
// milliseconds that a notification travels; zero = never yet. It moves about
// four times a second while the connection lives, and not at all while it does
// not: who may act on stale knowledge for a second compares it with the present.
func (w *Watcher) Heard() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heard
}

// Since tells from when on the connection has lived without a break; zero = it
// does not live.
func (w *Watcher) Since() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.since
}

// watch listens, again and again, until ctx ends.
func (w *Watcher) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := w.listen(ctx)
		w.mu.Lock()
		lived := !w.since.IsZero()
		w.since = time.Time{}
		w.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		if lived {
			w.s.cfg.Log.Warn("changes go unheard until the connection is back", slog.Any("error", err))
		}
		wait(ctx, rand.N(reconnect)) //nolint:gosec // nodes do not come all at once
	}
}

// listen tells of changes for as long as one connection lives.
func (w *Watcher) listen(ctx context.Context) error {
	changes := []Change{{Kind: Everything}}
	cfg := w.s.pool.Config().ConnConfig
	cfg.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) {
		changes = append(changes, parseChange(n.Payload))
		if len(changes) > maxChanges {
			changes = append(changes[:0], Change{Kind: Everything})
		}
	}
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), beatPatience)
		defer cancel()
		_ = c.Close(ctx) // whatever it says, it is gone
	}()
	if err := w.subscribe(ctx, c); err != nil {
		return err
	}
	for {
		asked := w.s.cfg.Now()
		if err := bounded(ctx, beatPatience, c.Ping); err != nil {
			return fmt.Errorf("ping: %w", err)
		}
		for _, change := range changes {
			err := bounded(ctx, w.s.patience, func(ctx context.Context) error { return w.fn(ctx, change) })
			if err != nil {
				return fmt.Errorf("tell: %w", err)
			}
		}
		changes = changes[:0]
		w.note(asked)
		if err := bounded(ctx, beat, c.PgConn().WaitForNotification); err != nil && (ctx.Err() != nil || c.IsClosed()) {
			return fmt.Errorf("wait: %w", err)
		}
	}
}

func (w *Watcher) subscribe(ctx context.Context, c *pgx.Conn) error {
	return bounded(ctx, w.s.patience, func(ctx context.Context) error {
		var name string
		if err := c.QueryRow(ctx, "SELECT "+channel).Scan(&name); err != nil {
			return err
		}
		_, err := c.Exec(ctx, "LISTEN "+pgx.Identifier{name}.Sanitize())
		return err
	})
}

// note writes down that everything up to asked has been told.
func (w *Watcher) note(asked time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = asked
	if w.since.IsZero() {
		w.since = asked
	}
}

// bounded runs fn under a time limit.
func bounded(ctx context.Context, limit time.Duration, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return fn(ctx)
}
