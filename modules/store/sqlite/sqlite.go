// Package sqlite keeps the durable state of one process in one SQLite file. A
// single writer commits what has gathered while the last commit ran, so that
// many concurrent updates share one fsync; readers run beside it on snapshots.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver" // goose migrates through database/sql

	"github.com/purser-pay/purser/modules/store"
)

const (
	// readers bounds the views that run at one time; more wait.
	readers = 4
	// busyTimeout is how long we wait for a stranger, such as an operator's
	// sqlite3 shell, that has locked the file: all updates wait with us.
	busyTimeout = 2 * time.Second
	// writerCache and readerCache bound the page cache of a connection, in KiB.
	writerCache, readerCache = 16 << 10, 4 << 10
	// checkpointAt is the length of the log, in pages, from which it is copied
	// back into the file: SQLite's own default.
	checkpointAt = 1000
	// maxLog is what the log shrinks to after a burst, in bytes.
	maxLog = 64 << 20
)

// Config says where the store lies.
type Config struct {
	// Path is the file. Beside it lie Path-wal, Path-shm and Path.lock. The
	// folder is made if it is absent.
	Path string
	// Now tells the time; nil is time.Now. Open alone uses it.
	Now func() time.Time
	// Log hears of what no caller can be told; nil discards it.
	Log *slog.Logger
	// Committed hears of every commit that is durable, with the number of
	// updates that shared it. All updates wait for it: it must not block. Nil =
	// nobody does.
	Committed func(updates int)

	// vfs names the file system that tests put under SQLite; "" is the real one.
	vfs string
	// lax is a weaker level of synchronous, with which tests show that they
	// would notice it; "" is full.
	lax string
}

// Store is a [store.Store] in one file. It is safe for concurrent use by one
// process.
type Store struct {
	cfg   Config
	lock  *os.File
	views chan *conn // the readers that are idle
	write *writer
	doubt atomic.Bool // a commit failed in a way that is not settled yet

	closing sync.RWMutex // held for reading while something is handed to the writer
	closed  bool
}

var _ store.Store = (*Store)(nil)

// Open opens the store, makes it if it is absent, and migrates its schema. A
// file that is open already is a [*LockedError]. Holding the lock proves that
// every earlier owner is dead: what they left in the queue [store.Recover] is
// made due, and the leases of their idempotency keys end.
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
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	cfg.Path = path
	s := &Store{cfg: cfg, views: make(chan *conn, readers)}
	if err := s.open(ctx); err != nil {
		return nil, fmt.Errorf("sqlite: open %s: %w", path, errors.Join(err, s.release()))
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	if err := os.MkdirAll(filepath.Dir(s.cfg.Path), 0o700); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if s.lock, err = lock(s.cfg.Path); err != nil {
		return err
	}
	if err := private(s.cfg.Path, s.cfg.Path+"-shm"); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	// The writer opens before goose does and closes after it: the last
	// connection to close would remove the side files, and the next to open
	// would make them readable for everybody.
	w, err := connect(s.uri(writerCache, false))
	if err != nil {
		return fault("connect", err)
	}
	s.write = newWriter(s, w)
	if err := w.db.Exec("SELECT 1 FROM sqlite_schema"); err != nil { // until it has read, it holds nothing
		return fault("connect", err)
	}
	if err := migrate(ctx, s.uri(readerCache, false)); err != nil {
		return fault("migrate", err)
	}
	if err := w.prepare(); err != nil {
		return fault("prepare", err)
	}
	if err := w.takeOver(s.cfg.Now()); err != nil {
		return fault("take over", err)
	}
	for range readers {
		c, err := connect(s.uri(readerCache, true))
		if err == nil {
			err = c.prepare()
		}
		if err != nil {
			return fault("connect", errors.Join(err, c.close()))
		}
		s.views <- c
	}
	go s.write.run()
	s.write.running = true
	return nil
}

// private makes files that are absent, for the owner alone.
func private(paths ...string) error {
	for _, p := range paths {
		f, err := os.OpenFile(p, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator's own path
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// uri tells SQLite what every connection has in common.
func (s *Store) uri(cache int, readOnly bool) string {
	synchronous := "full" // in WAL mode, anything less loses the last commits with the power
	if s.cfg.lax != "" {
		synchronous = s.cfg.lax
	}
	q := url.Values{"_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"journal_mode(wal)",
		"synchronous(" + synchronous + ")",
		"foreign_keys(on)",
		"temp_store(memory)", // else each savepoint of a large batch costs a file
		fmt.Sprintf("cache_size(-%d)", cache),
		fmt.Sprintf("journal_size_limit(%d)", maxLog),
		"wal_autocheckpoint(0)", // the writer does it, after it has answered
	}}
	if readOnly {
		q.Add("_pragma", "query_only(on)")
	}
	q.Set("modeof", s.cfg.Path) // the log gets the mode of the file: 0600
	if s.cfg.vfs != "" {
		q.Set("vfs", s.cfg.vfs)
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(s.cfg.Path), OmitHost: true}
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20") // SQLite takes a plus for a plus
	return u.String()
}

// Close waits for the updates that are queued and the views that run, then
// closes the file. Whatever comes later is [store.ErrUnavailable]. A second
// call does nothing.
func (s *Store) Close() error {
	s.closing.Lock()
	if s.closed {
		s.closing.Unlock()
		return nil
	}
	s.closed = true
	s.closing.Unlock()
	if err := s.release(); err != nil {
		return fmt.Errorf("sqlite: close: %w", err)
	}
	return nil
}

func (s *Store) release() (err error) {
	if s.write != nil && s.write.running {
		close(s.write.queue)
		<-s.write.done
		for range readers { // each view gives its connection back
			err = errors.Join(err, (<-s.views).close())
		}
	} else {
		for len(s.views) > 0 {
			err = errors.Join(err, (<-s.views).close())
		}
	}
	if s.write != nil {
		err = errors.Join(err, s.write.conn.close())
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// Ping writes one row, so that it fails where the disk is full or read-only.
func (s *Store) Ping(ctx context.Context) error {
	return s.Update(ctx, func(t store.Tx) error { return t.(*tx).beat() })
}
