package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/purser-pay/purser/modules/store"
)

const (
	// maxRuns bounds how often fn is run for one update.
	maxRuns = 12
	// pause is the longest wait before the second run; it doubles with each.
	pause = 4 * time.Millisecond
	// decision is for how long beyond the patience for a first answer we ask what
	// became of a commit.
	decision = 300 * time.Millisecond
	// slowCommit is how long we go on asking where the server answers that it is
	// still at it.
	slowCommit = 5 * time.Second
	// askAgain is the pause between two questions.
	askAgain = 10 * time.Millisecond

	opCommit = "commit"
)

// mode is how an update is run.
type mode int

const (
	// bold: writes wait, and are assumed to succeed; what was read is checked at
	// the end.
	bold mode = iota
	// still: of a run that wrote nothing and read several things, the reads are
	// done again on one snapshot.
	still
	// careful: each write is answered in its place, and what is read is locked.
	careful
)

// tx is a [store.Tx].
type tx struct {
	reader
	mode mode
	// wrote: something is to be committed.
	wrote bool
	// reads counts the records and lists that were read.
	reads int
	// loose: something was read that nothing holds in place.
	loose bool
	// versions are those of the records that were read and not written, by the
	// statement that checks them and the record's ID.
	versions map[record]int64
	// locked are the tables that are.
	locked map[string]bool
	// settles: a setting is written, in this run or one before.
	settles *bool
	// xid is the transaction's ID; "" = not known yet.
	xid string
}

// Update implements [store.Store]. Once fn runs, the end of ctx no longer
// interrupts it: it is looked at again before COMMIT leaves, and after that not
// at all. fn may not call a method of the store itself: it holds one of few
// connections.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	ending, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	how, settles := bold, false
	for runs := 1; ; runs++ {
		err := s.run(ctx, how, &settles, fn)
		if err == nil || !again(err) {
			return err
		}
		// Nothing is committed.
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if runs == maxRuns || ending.Err() != nil {
			return fmt.Errorf("postgres: given up after %d runs: %w: %w", runs, store.ErrUnavailable, err)
		}
		switch {
		case errors.Is(err, errLost): // as before, on another connection
		case errors.Is(err, errTorn):
			how = still
		default:
			if how == careful {
				wait(ending, rand.N(pause<<min(runs, 8))) //nolint:gosec // spreads the runs
			}
			how = careful
		}
	}
}

// wait lets time pass, or ctx end.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// run runs fn once, and commits. The connection is given back however fn ends,
// by a panic or the end of its goroutine too. settles tells whether a run before has
// written a setting, and then whether this one has.
func (s *Store) run(ctx context.Context, how mode, settles *bool, fn func(store.Tx) error) error {
	l, done, err := s.link(ctx)
	if err != nil {
		return err
	}
	defer done()
	t := &tx{mode: how, settles: settles}
	level := "READ COMMITTED"
	if how == still {
		level = "REPEATABLE READ"
	}
	l.opening = []statement{
		{op: "begin", sql: "BEGIN ISOLATION LEVEL " + level + " READ WRITE"},
		{op: "begin", sql: "SELECT pg_current_xact_id()::text", take: row(func(r pgx.Row) error { return r.Scan(&t.xid) })},
	}
	t.reader = reader{l: l, t: t}
	if how == careful && *settles {
		// Who reads settings and writes payments, as every create does, has the settings
		// first. So they come first here as well: else each would wait for the other.
		t.lock("settings", tableLock)
	}
	defer func() {
		t.l = nil // a transaction that outlives its update fails loudly
		l.release()
	}()
	err = fn(t)
	switch {
	case l.failed != nil && again(l.failed):
		return l.failed // what fn made of it is ours to settle
	case err != nil && l.failed == nil && t.wrote && how == bold:
		return errDoubted
	case err != nil:
		return err
	case l.failed != nil:
		return l.failed // fn must not talk a failed statement away
	case ctx.Err() != nil:
		return ctx.Err()
	case t.wrote && (t.loose || how == still):
		return errLoose
	case t.wrote:
		return t.commit(ctx)
	case t.reads > 1 && how == bold:
		return errTorn
	}
	return nil
}

// again tells that fn may be run again: nothing is committed.
func again(err error) bool {
	return errors.Is(err, errAgain) || errors.Is(err, errMissed) || errors.Is(err, errLost)
}

var (
	// errLoose: an update builds on a read that nothing holds in place.
	errLoose = fmt.Errorf("%w: a read was not locked", errAgain)
	// errDoubted: fn has failed after writes that it was told had succeeded, and that
	// nobody has tried.
	errDoubted = fmt.Errorf("%w: an error rests on writes that were not tried", errAgain)
	// errTorn: what was read is of several moments.
	errTorn = fmt.Errorf("%w: reads of several moments", errAgain)
)

// commit sends the last writes, the checks of what was read, and COMMIT.
func (t *tx) commit(ctx context.Context) error {
	l := t.l
	l.waiting = append(t.verify(), l.waiting...)
	if t.xid == "" {
		if err := l.send(); err != nil {
			return err
		}
	}
	var tag pgconn.CommandTag
	err := l.send(statement{op: opCommit, sql: "COMMIT", take: func(r pgx.BatchResults) (err error) {
		tag, err = r.Exec()
		return err
	}})
	switch {
	case tag.String() == "COMMIT": // whatever became of the connection after it
		l.begun = false
		l.s.cfg.Committed(1)
		return nil
	case err == nil:
		l.begun = false
		return fmt.Errorf("postgres: commit: %w: the server has rolled back", store.ErrUnavailable)
	case !uncertain(err) || !l.conn.Conn().IsClosed():
		return err
	}
	timeline, _ := l.conn.Conn().PgConn().CustomData()[timelineKey].(string)
	committed, why := l.decide(context.WithoutCancel(ctx), t.xid, timeline)
	switch {
	case why != nil:
		l.s.cfg.Log.Error("commit is uncertain", slog.Any("error", err), slog.Any("reason", why))
		return fmt.Errorf("postgres: %w: %w: after: %v", store.ErrUncertain, why, err) //nolint:errorlint // which claims that nothing was written
	case committed:
		l.s.cfg.Committed(1)
		return nil
	}
	return err
}

// verify returns the statements that lock what was read and not written, as long as it is
// what was read. They go ahead of the writes that wait: who writes a payment locks it
// first and its places in the queues after it, and so do they.
func (t *tx) verify() []statement {
	all := make([]statement, 0, len(t.versions)+len(t.l.waiting))
	for _, r := range slices.SortedFunc(maps.Keys(t.versions), record.compare) {
		all = append(all, statement{op: "check " + r.table, sql: checks[r.table], args: []any{r.id, t.versions[r]}})
	}
	return all
}

// uncertain tells that the server may have committed, by the error that came
// instead of the answers.
func uncertain(err error) bool {
	if _, ok := errors.AsType[pgx.ErrPreprocessingBatch](err); ok {
		return false // nothing has left
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return true
	}
	// Answers come in order: what fails before COMMIT keeps it from being done.
	at, ok := errors.AsType[*opError](err)
	return !ok || at.op == opCommit && e.SeverityUnlocalized != "ERROR"
}

// decide asks what became of a transaction whose COMMIT was not answered.
func (l *link) decide(ctx context.Context, xid, timeline string) (committed bool, why error) {
	patient, cancel := context.WithTimeout(ctx, slowCommit)
	defer cancel()
	bound, cancel := l.extra(ctx)
	defer cancel()
	for {
		status, err := l.s.ask(bound, xid, timeline)
		switch {
		case err == nil && status == "committed":
			return true, nil
		case err == nil && status == "aborted":
			return false, nil
		case err == nil:
			bound, why = patient, errors.New("it is still in progress") // the server lives
		case errors.Is(err, errOther):
			return false, err
		default:
			why = err
		}
		wait(bound, askAgain)
		if bound.Err() != nil {
			return false, fmt.Errorf("the server does not say what became of transaction %s: %v", xid, why) //nolint:errorlint // it is no error of this store's
		}
	}
}

// extra bounds what follows a commit that was not answered: by what is left for
// a first answer, and a little more.
func (l *link) extra(ctx context.Context) (context.Context, context.CancelFunc) {
	first, cancel := l.first()
	defer cancel()
	if end, ok := first.Deadline(); ok && first.Err() == nil {
		return context.WithDeadline(ctx, end.Add(decision))
	}
	return context.WithTimeout(ctx, decision)
}

// errOther tells that a transaction's ID may mean another transaction.
var errOther = errors.New("another server has taken over")

// ask returns the status of a transaction, on a connection of its own: those of
// the pool may have died together.
func (s *Store) ask(ctx context.Context, xid, timeline string) (string, error) {
	c, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close(ctx) }() // it was good for one question
	now, _, err := identify(ctx, c)
	if err != nil {
		return "", err
	}
	if now != timeline {
		return "", fmt.Errorf("%w: its timeline is %s and was %s", errOther, now, timeline)
	}
	// A session that never got its COMMIT would wait for it, and hold its locks,
	// until the server finds the connection dead.
	var status *string
	err = c.QueryRow(ctx, `SELECT pg_xact_status($1::text::xid8), (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE usename = current_user AND state = 'idle in transaction' AND backend_xid::text = ($1::text::numeric % 4294967296)::text)`, xid).
		Scan(&status, nil)
	if err != nil {
		return "", err
	}
	if status == nil {
		return "", errors.New("it is too long ago")
	}
	return *status, nil
}
