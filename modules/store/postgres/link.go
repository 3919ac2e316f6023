package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/purser-pay/purser/modules/store"
)

// statement is one on its way to the server.
type statement struct {
	op   string // what it does, for errors
	sql  string
	args []any
	// take reads the answer; nil takes any.
	take func(pgx.BatchResults) error
}

// link is a connection for the length of one transaction. Statements gather in
// it and travel together.
type link struct {
	s       *Store
	conn    *pgxpool.Conn
	opening []statement // what opens the transaction; none = each is its own
	waiting []statement
	// begun: the transaction is open on the server, as far as we know.
	begun bool
	// answered: this connection has proven that it lives.
	answered bool
	// failed is the first error; nothing goes on after it.
	failed error
	// first bounds everything up to the first answer.
	first func() (context.Context, context.CancelFunc)
	// later bounds each further round trip.
	later func() (context.Context, context.CancelFunc)
}

// link takes a connection from the pool. ctx ends the waiting; what comes after
// it is bounded by the store's own patience. The caller calls release, and
// then done.
func (s *Store) link(ctx context.Context) (l *link, done func(), err error) {
	lasting := context.WithoutCancel(ctx)
	first, cancel := context.WithTimeout(lasting, s.patience)
	l = &link{
		s:     s,
		first: func() (context.Context, context.CancelFunc) { return context.WithCancel(first) },
		later: func() (context.Context, context.CancelFunc) { return context.WithTimeout(lasting, s.patience) },
	}
	if err := l.acquire(ctx); err != nil {
		cancel()
		return nil, nil, err
	}
	return l, cancel, nil
}

// acquire waits for a connection until ctx ends, but no longer than for the
// first answer.
func (l *link) acquire(ctx context.Context) error {
	first, cancel := l.first()
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	conn, err := l.s.pool.Acquire(first)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("postgres: connect: %w: %w", store.ErrUnavailable, err)
	}
	l.conn = conn
	return nil
}

// add lets a statement wait for the next trip.
func (l *link) add(s statement) { l.waiting = append(l.waiting, s) }

// send makes a round trip with all that waits. A connection that turns out to
// be dead before it has answered anything is replaced: nothing of ours has
// happened on it.
func (l *link) send(more ...statement) error {
	if l.failed != nil {
		return l.failed
	}
	l.waiting = append(l.waiting, more...)
	if len(l.waiting) == 0 {
		return nil
	}
	opens := len(l.opening) > 0
	if opens && !l.begun {
		l.waiting = append(l.opening, l.waiting...)
	}
	for {
		err := l.trip()
		if err == nil {
			l.waiting, l.begun, l.answered = l.waiting[:0], opens, true
			return nil
		}
		lost := l.conn.Conn().IsClosed()
		if !lost {
			l.answered, l.begun = true, l.conn.Conn().PgConn().TxStatus() != 'I'
		}
		if !lost || l.answered || !l.replace() {
			l.failed = err
			return err
		}
	}
}

// trip sends what waits and reads the answers, up to the first error.
func (l *link) trip() error {
	bound := l.first
	if l.answered {
		bound = l.later
	}
	ctx, cancel := bound()
	defer cancel()
	b := &pgx.Batch{}
	for _, s := range l.waiting {
		b.Queue(s.sql, s.args...).Fn = func(r pgx.BatchResults) error {
			var err error
			if s.take != nil {
				err = s.take(r)
			} else {
				_, err = r.Exec()
			}
			if err != nil {
				return &opError{s.op, err}
			}
			return nil
		}
	}
	err := l.conn.SendBatch(ctx, b).Close()
	if err != nil && ctx.Err() != nil {
		// Where one connection is silent, those that idle may be as well.
		l.s.pool.Reset()
	}
	return l.fault(err, ctx.Err() != nil)
}

// opError says which statement of a batch failed.
type opError struct {
	op  string
	err error
}

func (e *opError) Error() string { return e.op + ": " + e.err.Error() }
func (e *opError) Unwrap() error { return e.err }

// replace takes another connection for one that died; false where there is
// none in time.
func (l *link) replace() bool {
	l.conn.Release()
	l.conn = nil
	ctx, cancel := l.first()
	defer cancel()
	return l.acquire(ctx) == nil
}

// release rolls back what is open, and gives the connection back.
func (l *link) release() {
	if l.conn == nil {
		return
	}
	if l.begun && !l.conn.Conn().IsClosed() {
		ctx, cancel := l.later()
		// Where it fails, the connection is not idle, and the pool ends it.
		_, _ = l.conn.Exec(ctx, "ROLLBACK") // see above
		cancel()
	}
	l.conn.Release()
	l.conn = nil
}

// alone runs one statement that is a transaction of its own. It may be sent
// again where a connection died under it, so it must bear that.
func (s *Store) alone(ctx context.Context, st statement) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	l, done, err := s.link(ctx)
	if err != nil {
		return err
	}
	defer done()
	defer l.release()
	return l.send(st)
}

// timelineKey is where a connection keeps the timeline of its server.
const timelineKey = "purser timeline"

// greet learns who the server is, and sees to it that commits are durable
// whatever the server's default.
func greet(ctx context.Context, c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	timeline, durable, err := identify(ctx, c)
	if err != nil {
		return err
	}
	if durable == "off" {
		if _, err := c.Exec(ctx, "SET synchronous_commit = on"); err != nil {
			return err
		}
	}
	c.PgConn().CustomData()[timelineKey] = timeline
	return nil
}

// identify returns the server's timeline: a standby that takes over starts a
// new one, in which the IDs of transactions may mean others.
func identify(ctx context.Context, c *pgx.Conn) (timeline, synchronousCommit string, err error) {
	err = c.QueryRow(ctx, "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8), current_setting('synchronous_commit')").
		Scan(&timeline, &synchronousCommit)
	return timeline, synchronousCommit, err
}

// Why an update is run again.
var (
	// errAgain: others were in its way.
	errAgain = errors.New("in the way of another transaction")
	// errMissed: a write did not find what it expected.
	errMissed = errors.New("a write did not meet what it expected")
	// errLost: the connection broke before anything was committed.
	errLost = errors.New("connection lost")
)

// fault puts an error of this link under the error of package store that it
// means. silent tells that the time for the answer is over: the connection is not
// lost then, and whoever waits has waited too long for another run.
func (l *link) fault(err error, silent bool) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*pgconn.PgError](err); ok || !l.conn.Conn().IsClosed() {
		return fault("", err)
	}
	if silent {
		return fmt.Errorf("postgres: %w: no answer in time: %w", store.ErrUnavailable, err)
	}
	return fmt.Errorf("postgres: %w: %w: %w", store.ErrUnavailable, errLost, err)
}

// late tells that the time that a link has for its work was over before a statement
// left: as a rule because the server was away for most of it. Nothing was done.
func late(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) && pgconn.SafeToRetry(err)
}

// codes tells what the errors of PostgreSQL mean by their code, or its class,
// the first two characters: see Appendix A of its manual.
var codes = map[string]error{
	"40001": errAgain, // serialization_failure
	"40P01": errAgain, // deadlock_detected
	"55P03": errAgain, // lock_not_available: after lock_timeout
	"0A000": errAgain, // a plan that a migration has made stale
	"22012": errMissed,
	"23505": errMissed,
	"57P01": errLost, // admin_shutdown
	"57P02": errLost, // crash_shutdown
	"57P05": errLost, // idle_session_timeout
	"25P03": errLost, // idle_in_transaction_session_timeout
	"08":    errLost,
	"25006": store.ErrUnavailable, // read_only_sql_transaction
	"25P02": store.ErrUnavailable, // in_failed_sql_transaction
	"3D000": store.ErrUnavailable, // the database is gone
	"28":    store.ErrUnavailable, // not let in
	"53":    store.ErrUnavailable, // disk full, out of memory, too many connections
	"57":    store.ErrUnavailable, // statement_timeout; starting up
	"58":    store.ErrUnavailable, // the disk
	"F0":    store.ErrUnavailable,
	"XX":    store.ErrUnavailable, // corrupted
}

// hopeless is the class of errors of a connection that no waiting mends: it is not
// believed who we are.
const hopeless = "28"

// fault puts an error of PostgreSQL under the error of package store that it
// means. It passes others through, nil among them.
func fault(op string, err error) error {
	if err == nil || errors.Is(err, store.ErrUnavailable) {
		return err
	}
	if op != "" {
		err = fmt.Errorf("%s: %w", op, err)
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		meaning, ok := codes[e.Code]
		if !ok && len(e.Code) == 5 {
			meaning = codes[e.Code[:2]]
		}
		_, connecting := errors.AsType[*pgconn.ConnectError](err)
		switch {
		case meaning == nil && connecting && !strings.HasPrefix(e.Code, hopeless):
			return fmt.Errorf("postgres: %w: %w", store.ErrUnavailable, err) // as where it lets nobody in for now
		case meaning == nil:
			return fmt.Errorf("postgres: %w", err)
		case errors.Is(meaning, errMissed), errors.Is(meaning, store.ErrUnavailable):
			return fmt.Errorf("postgres: %w: %w", meaning, err)
		}
		return fmt.Errorf("postgres: %w: %w: %w", store.ErrUnavailable, meaning, err)
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	if connecting || late(err) {
		return fmt.Errorf("postgres: %w: %w", store.ErrUnavailable, err)
	}
	return fmt.Errorf("postgres: %w", err)
}
