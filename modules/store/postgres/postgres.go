// Package postgres keeps the durable state of any number of nodes in one
// PostgreSQL database (15 or newer).
//
// # Transactions
//
// An update runs at READ COMMITTED, and is serializable nevertheless: by strict
// two-phase locking, which costs less than SERIALIZABLE. There, payments that are
// created together share pages of an index, and their settlements abort each
// other: of 32 callers in BenchmarkPay, more than every second run. What an update has read and builds on cannot change until it has
// committed:
//
//   - Payments and endpoints have versions. Where the update writes what it has
//     read, the write itself compares the version; where it does not, a check
//     that locks the row is sent along with the commit, ahead of what else waits.
//   - References, events and deliveries never change once they are written.
//   - Idempotency keys, merchants and API keys are read FOR UPDATE.
//   - A counter is locked before it is read, and a nonce is not read at all: the
//     write itself finds out whether it was spent.
//   - Settings are read under a lock of their table that readers share: once a
//     change of a setting is committed, nothing commits that has seen the old
//     value. Of all tables they are locked first.
//   - Where something was looked for that is not there, or a list was read, there
//     is no row to lock. An update that writes after such a read is run again,
//     with the tables locked that it reads in this way.
//
// Every lock is held to the end of the transaction, so the order of commits is
// an order in which the updates could have run one by one, and what a view sees
// is a beginning of it. One read is not locked: which endpoints want an event is
// settled when the event is written.
//
// # Round trips
//
// Writes wait in the client and leave together, the last ones with COMMIT: an
// update that reads a payment and settles it takes two round trips. Such an
// update assumes that its writes succeed. Where one does not, the server stops
// before COMMIT, and fn runs again carefully: each write is then answered in its
// place. So fn sees the errors that the contract promises, at the call that
// caused them.
//
// # Certainty
//
// COMMIT leaves only once the transaction's ID is known. Where its answer is
// lost, the server is asked on another connection what became of that ID.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/purser-pay/purser/modules/store"
)

const (
	// DefaultConns bounds the connections of one node where the configuration
	// does not.
	DefaultConns = 16
	// patience bounds each of: what a call waits for a connection and its first
	// answer, together; and each further round trip. Who calls can then say
	// within two seconds that the store is away.
	patience = 1500 * time.Millisecond
	// connectPatience is how long a new connection may take to come about. Who
	// wanted it goes away sooner, and it is there for the next: a server that is
	// short of time would otherwise begin connections again and again that nobody
	// waits for.
	connectPatience = 6 * time.Second
	// sooner is by how much the server gives up before us on a statement, and
	// before that on a lock, so that the connection survives.
	sooner = 100 * time.Millisecond
	// idlePatience is after how much silence within a transaction the server ends
	// a session: the locks of a node that was frozen do not outlive it for long.
	idlePatience = 10 * time.Second
)

// DSN is a connection string: a URL (postgres://…) or a list of key=value. It
// may hold a password, so it does not print.
type DSN string

const hidden = "[dsn]"

// String returns a placeholder.
func (DSN) String() string { return hidden }

// GoString returns a placeholder.
func (DSN) GoString() string { return hidden }

// LogValue returns a placeholder.
func (DSN) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText returns a placeholder.
func (DSN) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Config says where the store is.
type Config struct {
	// DSN leads to the database. Its parameter search_path chooses the schema,
	// which must exist. A pooler between us and the server must keep sessions:
	// statements are prepared, and changes are listened for.
	DSN DSN
	// Conns bounds the connections of this node, but for one that each [Watcher]
	// has; 0 = [DefaultConns]. Two are needed where a view is open while an update
	// runs; more than PostgreSQL has CPUs and disks for makes nothing faster.
	Conns int
	// Now tells the time; nil is time.Now.
	Now func() time.Time
	// Log hears of what no caller can be told; nil discards it.
	Log *slog.Logger
	// Committed hears of every commit that is durable, with the number of updates
	// that it holds: always 1, the server itself gathers commits. Nil = nobody
	// does.
	Committed func(updates int)

	// patience is another one for tests; 0 = the constant.
	patience time.Duration
	// tracer lets tests see what is sent.
	tracer pgx.QueryTracer
}

// Store is a [store.Store] in a PostgreSQL database.
type Store struct {
	cfg      Config
	pool     *pgxpool.Pool
	patience time.Duration

	entry    sync.Mutex
	closed   bool
	busy     sync.WaitGroup // calls that have entered, and watchers
	closing  chan struct{}  // closed with the store
	released sync.Once
}

var _ store.Store = (*Store)(nil)

// errClosed is the answer of a store that was closed.
var errClosed = fmt.Errorf("postgres: closed: %w", store.ErrUnavailable)

// Open connects, and migrates the schema. A server that cannot be reached is
// [store.ErrUnavailable].
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now //nolint:forbidigo // the default of the clock that is handed in
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Committed == nil {
		cfg.Committed = func(int) {}
	}
	if cfg.Conns < 1 {
		cfg.Conns = DefaultConns
	}
	if cfg.patience == 0 {
		cfg.patience = patience
	}
	s := &Store{cfg: cfg, patience: cfg.patience, closing: make(chan struct{})}
	pool, err := s.configure()
	if err != nil {
		return nil, err
	}
	plain := pool.ConnConfig.Copy()
	plain.Tracer = nil
	for _, name := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		delete(plain.RuntimeParams, name) // a migration takes as long as it takes
	}
	if err := migrate(ctx, plain); err != nil {
		return nil, fault("migrate", err)
	}
	if s.pool, err = pgxpool.NewWithConfig(ctx, pool); err != nil {
		return nil, fault("connect", err)
	}
	return s, nil
}

// configure turns the DSN into the configuration of the pool.
func (s *Store) configure() (*pgxpool.Config, error) {
	pool, err := pgxpool.ParseConfig(string(s.cfg.DSN))
	if err != nil { // whose text may quote the password
		return nil, errors.New("postgres: the DSN is neither a URL nor key=value pairs that PostgreSQL knows")
	}
	pool.MaxConns = int32(min(s.cfg.Conns, 1000)) //nolint:gosec // in range
	pool.AfterConnect = greet
	// A connection that has died is noticed by its first use, which is repeated
	// on another: nothing was sent on it before.
	pool.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	conn := pool.ConnConfig
	conn.ConnectTimeout = max(s.patience, connectPatience)
	conn.Tracer = s.cfg.tracer
	conn.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	if conn.ValidateConnect == nil { // of several hosts, the one that takes writes
		conn.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	for name, value := range map[string]string{
		"application_name":                    "purser",
		"statement_timeout":                   milliseconds(s.patience - sooner),
		"lock_timeout":                        milliseconds(s.patience - 2*sooner),
		"idle_in_transaction_session_timeout": milliseconds(idlePatience),
	} {
		if _, set := conn.RuntimeParams[name]; !set {
			conn.RuntimeParams[name] = value
		}
	}
	return pool, nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// enter counts a call in, so that Close waits for it; the caller calls leave.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.entry.Lock()
	defer s.entry.Unlock()
	if s.closed {
		return errClosed
	}
	s.busy.Add(1)
	return nil
}

func (s *Store) leave() { s.busy.Done() }

// Close waits for the calls that are under way, then closes the connections.
// Watchers end. Whatever comes later is [store.ErrUnavailable]. A second call
// does nothing.
func (s *Store) Close() error {
	s.entry.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.entry.Unlock()
	s.busy.Wait()
	s.released.Do(s.pool.Close)
	return nil
}
