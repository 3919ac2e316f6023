package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"

	"github.com/purser-pay/purser/modules/store"
)

// maxBatch bounds the updates that share one commit, and with it how long the
// first of them waits for the last.
const maxBatch = 256

// errAborted tells the writer that fn did not return: it panicked, or ended its
// goroutine. The caller's own stack carries on with that.
var errAborted = errors.New("update aborted")

// update is one caller of Update on its way through the writer. The caller runs
// its own fn, in its own goroutine, when it gets the turn: so a panic unwinds
// the stack that it belongs to, and the writer never runs foreign code.
type update struct {
	phase atomic.Int32
	turn  chan *tx   // writer → caller: run
	ran   chan error // caller → writer: what fn said
	done  chan error // writer → caller: what became of it
}

// The phases of an update.
const (
	waiting int32 = iota
	started       // the writer gave it the turn
	left          // its caller went away before that
)

// writer owns the one connection that writes.
type writer struct {
	s       *Store
	conn    *conn
	queue   chan *update
	done    chan struct{} // closed when the queue is closed and empty
	running bool
}

func newWriter(s *Store, c *conn) *writer {
	return &writer{s: s, conn: c, queue: make(chan *update, maxBatch), done: make(chan struct{})}
}

// Update implements [store.Store]. A caller whose ctx ends before its turn goes
// away and nothing happens; from then on fn runs to its end and the commit is
// waited for. fn may not call a method of the store itself: it is the writer.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	u := &update{turn: make(chan *tx, 1), ran: make(chan error, 1), done: make(chan error, 1)}
	if err := s.submit(ctx, u); err != nil {
		return err
	}
	select {
	case t := <-u.turn:
		return u.run(t, fn)
	case err := <-u.done:
		return err
	case <-ctx.Done():
	}
	if u.phase.CompareAndSwap(waiting, left) {
		return ctx.Err()
	}
	select { // the writer was faster
	case t := <-u.turn:
		return u.run(t, fn)
	case err := <-u.done:
		return err
	}
}

func (s *Store) submit(ctx context.Context, u *update) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return errClosed
	}
	select {
	case s.write.queue <- u:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (u *update) run(t *tx, fn func(store.Tx) error) error {
	err := errAborted
	defer func() {
		if errors.Is(err, errAborted) {
			t.c = nil
			u.ran <- errAborted
		}
	}()
	err = fn(t)
	if err == nil {
		err = t.failed // fn must not talk a failed write away
	}
	t.c = nil // a transaction that outlives its update fails loudly
	u.ran <- err
	return <-u.done
}

// run commits batches until the queue is closed and empty.
func (w *writer) run() {
	defer close(w.done)
	for u := range w.queue {
		w.batch(u)
		w.checkpoint()
	}
}

// batch runs u, and whatever has queued up by the time that it is done, and
// commits them together.
func (w *writer) batch(u *update) {
	var held []*update // ran well, and waiting for the commit
	for n := 1; ; n++ {
		held = w.turn(u, held)
		if n == maxBatch {
			break
		}
		var more bool
		select {
		case u, more = <-w.queue:
		default:
		}
		if !more {
			break
		}
	}
	if len(held) == 0 {
		return
	}
	err := w.commit()
	for _, u := range held {
		u.done <- err
	}
}

// turn lets one update run and adds it to those that wait for the commit. The
// first one needs no savepoint: if it fails, there is nothing else to keep.
func (w *writer) turn(u *update, held []*update) []*update {
	if !u.phase.CompareAndSwap(waiting, started) {
		return held
	}
	if err := w.open(len(held) > 0); err != nil {
		u.done <- err
		return w.survivors(held, err)
	}
	u.turn <- &tx{reader: reader{w.conn}}
	failed := <-u.ran
	var err error
	switch {
	case w.conn.db.GetAutocommit():
		// SQLite itself has rolled back everything, as it does when the disk is
		// full in mid-statement.
		err = fmt.Errorf("sqlite: transaction lost: %w", store.ErrUnavailable)
		if failed == nil {
			failed = err
		}
	case failed != nil && len(held) == 0:
		err = w.conn.end()
	case failed != nil:
		err = errors.Join(w.conn.exec(qRollbackTo), w.conn.exec(qRelease))
	case len(held) > 0:
		if err = w.conn.exec(qRelease); err != nil {
			failed = fault("release", err)
		}
	}
	if failed != nil {
		u.done <- failed
	} else {
		held = append(held, u)
	}
	if err != nil {
		return w.survivors(held, err)
	}
	return held
}

// open begins a transaction, or a savepoint within the one that is open.
func (w *writer) open(within bool) error {
	if within {
		return fault("savepoint", w.conn.exec(qSavepoint))
	}
	if err := w.conn.end(); err != nil { // a rollback that failed before
		return fault("rollback", err)
	}
	if w.s.doubt.Load() {
		if err := w.settle(); err != nil {
			return err
		}
	}
	return fault("begin", w.conn.exec(qBeginImmediate))
}

// survivors gives up the whole batch: the transaction cannot be trusted.
func (w *writer) survivors(held []*update, cause error) []*update {
	err := errors.Join(fault("batch", cause), w.conn.end())
	if !errors.Is(err, store.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	for _, u := range held {
		u.done <- err
	}
	return held[:0]
}

// commit makes the batch durable. An error that comes before the commit record
// can be on disk is [store.ErrUnavailable]; any other one is settled at once
// where that is possible.
func (w *writer) commit() error {
	err := w.conn.exec(qCommit)
	if err == nil {
		return nil
	}
	if rest := w.conn.end(); rest != nil {
		w.s.cfg.Log.Error("rollback after a failed commit failed", "error", rest)
	}
	if harmless(err) {
		return fmt.Errorf("sqlite: commit: %w: %w", store.ErrUnavailable, err)
	}
	w.s.doubt.Store(true)
	if again := w.settle(); again != nil {
		w.s.cfg.Log.Error("commit is uncertain", "error", err)
		return fmt.Errorf("sqlite: commit: %w: %w", store.ErrUncertain, err)
	}
	return fmt.Errorf("sqlite: commit: %w: %w", store.ErrUnavailable, err)
}

// harmless tells that a failed commit left no commit record: SQLite writes that
// last, and only syncing it, or what follows, can fail when it is there.
func harmless(err error) bool {
	return errors.Is(err, sqlite3.FULL) || errors.Is(err, sqlite3.BUSY) || errors.Is(err, sqlite3.READONLY) ||
		errors.Is(err, sqlite3.CONSTRAINT) || errors.Is(err, sqlite3.IOERR_WRITE)
}

// settle ends the doubt after a failed commit. SQLite has forgotten that
// transaction, but its frames may be on disk, where a crash would bring them
// back to life. A further commit lies on top of them; once it is durable, they
// are gone for good.
func (w *writer) settle() error {
	err := w.conn.exec(qBeginImmediate)
	if err == nil {
		err = w.conn.exec(qBeat)
	}
	if err == nil {
		err = w.conn.exec(qCommit)
	}
	if err != nil {
		err = errors.Join(err, w.conn.end())
		return fmt.Errorf("sqlite: an earlier commit is in doubt: %w: %w", store.ErrUnavailable, err)
	}
	w.s.doubt.Store(false)
	return nil
}

// checkpoint copies a long log back into the file. Nobody waits for it but the
// next batch. A failure loses nothing: the log only stays long.
func (w *writer) checkpoint() {
	if w.conn.pages < checkpointAt {
		return
	}
	_, _, err := w.conn.db.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
	if err != nil {
		w.s.cfg.Log.Warn("checkpoint failed", "error", err)
	}
}
