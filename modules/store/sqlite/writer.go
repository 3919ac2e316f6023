package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"

	"github.com/purser-pay/purser/modules/store"
)

// maxBatch bounds the updates that share one commit, and with it how long the
// first of them waits for the last.
const maxBatch = 256

// update is one call of Update on its way through the writer.
type update struct {
	fn    func(store.Tx) error
	phase atomic.Int32
	done  chan error // what became of it
	// How fn ended where it did not return: by a panic, or by ending its
	// goroutine, as a test's FailNow does.
	panicked any
	exited   bool
}

// The phases of an update.
const (
	waiting int32 = iota
	started       // fn runs, or has run
	left          // the caller went away before that
)

// writer owns the one connection that writes, and runs every fn in its own
// goroutine: to hand the connection to the callers and back would cost two
// switches inside the transaction that everybody waits for.
type writer struct {
	s       *Store
	conn    *conn
	queue   chan *update
	done    chan struct{} // closed when the queue is closed and empty
	running bool
	now     *update   // whose fn runs
	held    []*update // ran well, and waiting for the commit
}

func newWriter(s *Store, c *conn) *writer {
	return &writer{s: s, conn: c, queue: make(chan *update, maxBatch), done: make(chan struct{})}
}

// Update implements [store.Store]. A caller whose ctx ends before its fn starts
// goes away and nothing happens; from then on fn runs to its end and the commit
// is waited for. fn may not call a method of the store itself: it runs in the
// writer. A panic of fn goes on in the caller.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	u := &update{fn: fn, done: make(chan error, 1)}
	if err := s.submit(ctx, u); err != nil {
		return err
	}
	var err error
	select {
	case err = <-u.done:
	case <-ctx.Done():
		if u.phase.CompareAndSwap(waiting, left) {
			return ctx.Err()
		}
		err = <-u.done // the writer was faster
	}
	if u.panicked != nil {
		panic(u.panicked)
	}
	if u.exited {
		runtime.Goexit()
	}
	return err
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

// run commits batches until the queue is closed and empty. If an fn ends this
// goroutine, another one carries on.
func (w *writer) run() {
	finished := false
	defer func() {
		if finished {
			close(w.done)
			return
		}
		w.now.exited = true
		w.now.done <- errAborted
		w.abandon(errAborted)
		go w.run()
	}()
	for u := range w.queue {
		w.batch(u)
		w.checkpoint()
	}
	finished = true
}

// batch runs u, and whatever has queued up by the time that it is done, and
// commits them together.
func (w *writer) batch(u *update) {
	for n := 1; ; n++ {
		w.turn(u)
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
	if len(w.held) > 0 {
		err := w.commit()
		if err == nil {
			w.s.cfg.Committed(len(w.held))
		}
		w.answer(err)
	}
}

// answer tells those who wait for the commit what became of it.
func (w *writer) answer(err error) {
	for i, u := range w.held {
		u.done <- err
		w.held[i] = nil
	}
	w.held = w.held[:0]
}

// abandon gives up the whole batch: the transaction cannot be trusted.
func (w *writer) abandon(cause error) {
	err := errors.Join(fault("batch", cause), w.conn.end())
	if !errors.Is(err, store.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	w.answer(err)
}

// turn lets one update run and holds it for the commit. The first one needs no
// savepoint: if it fails, there is nothing else to keep.
func (w *writer) turn(u *update) {
	if !u.phase.CompareAndSwap(waiting, started) {
		return
	}
	first := len(w.held) == 0
	if err := w.open(!first); err != nil {
		u.done <- err
		w.abandon(err)
		return
	}
	failed := w.call(u)
	var err error
	switch {
	case w.conn.db.GetAutocommit():
		// SQLite itself has rolled back everything, as it does when the disk is
		// full in mid-statement.
		err = fmt.Errorf("sqlite: transaction lost: %w", store.ErrUnavailable)
		if failed == nil {
			failed = err
		}
	case failed != nil && first:
		err = w.conn.end()
	case failed != nil:
		err = errors.Join(w.conn.exec(qRollbackTo), w.conn.exec(qRelease))
	case !first:
		if err = w.conn.exec(qRelease); err != nil {
			failed = fault("release", err)
		}
	}
	if failed != nil {
		u.done <- failed
	} else {
		w.held = append(w.held, u)
	}
	if err != nil {
		w.abandon(err)
	}
}

// errAborted tells that an fn did not return.
var errAborted = errors.New("update aborted")

// call runs an fn and survives its panic.
func (w *writer) call(u *update) (err error) {
	t := &tx{reader: reader{w.conn}}
	w.now = u
	defer func() {
		t.c = nil // a transaction that outlives its update fails loudly
		if p := recover(); p != nil {
			// The caller panics again, but its stack does not show where.
			w.s.cfg.Log.Error("update panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			u.panicked, err = p, errAborted
		}
	}()
	if err := u.fn(t); err != nil {
		return err
	}
	return t.failed // fn must not talk a failed write away
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

// commit makes the batch durable. An error that comes before the commit record
// can be on disk is [store.ErrUnavailable]; any other one is settled at once
// where that is possible.
func (w *writer) commit() error {
	err := w.conn.exec(qCommit)
	if err == nil {
		return nil
	}
	if rest := w.conn.end(); rest != nil {
		w.s.cfg.Log.Error("rollback after a failed commit failed", slog.Any("error", rest))
	}
	if harmless(err) {
		return fmt.Errorf("sqlite: commit: %w: %w", store.ErrUnavailable, err)
	}
	w.s.doubt.Store(true)
	if again := w.settle(); again != nil {
		w.s.cfg.Log.Error("commit is uncertain", slog.Any("error", err))
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
		w.s.cfg.Log.Warn("checkpoint failed", slog.Any("error", err))
	}
}
