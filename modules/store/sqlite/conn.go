package sqlite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/purser-pay/purser/modules/store"
)

// conn is one connection and its prepared statements. It is used by one
// goroutine at a time.
type conn struct {
	db    *sqlite3.Conn
	stmts [queries]*sqlite3.Stmt
	lists map[string]*sqlite3.Stmt // by SQL: one for each set of filters in use
	pages int                      // the length of the log after the last commit here
	buf   bytes.Buffer             // for encode
	enc   *json.Encoder            // into buf
}

func connect(uri string) (*conn, error) {
	db, err := sqlite3.Open(uri)
	if err != nil {
		return nil, err
	}
	c := &conn{db: db, lists: map[string]*sqlite3.Stmt{}}
	c.enc = json.NewEncoder(&c.buf)
	c.enc.SetEscapeHTML(false)
	db.WALHook(func(_ *sqlite3.Conn, _ string, pages int) error {
		c.pages = pages
		return nil
	})
	return c, nil
}

// prepare compiles every statement, so that none can fail to compile later.
func (c *conn) prepare() error {
	for q, text := range texts {
		s, _, err := c.db.PrepareFlags(text, sqlite3.PREPARE_PERSISTENT)
		if err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
		c.stmts[q] = s
	}
	return nil
}

// close is good on nil.
func (c *conn) close() error {
	if c == nil {
		return nil
	}
	for _, s := range c.stmts {
		_ = s.Close() // repeats the error of the statement's last run
	}
	for _, s := range c.lists {
		_ = s.Close() // as above
	}
	return c.db.Close()
}

// exec runs a statement that has no parameters.
func (c *conn) exec(q query) error { return c.stmts[q].Exec() }

// end rolls back what is open, if anything is.
func (c *conn) end() error {
	if c.db.GetAutocommit() {
		return nil
	}
	return c.exec(qRollback)
}

// encode returns v as JSON, in a buffer that is good until the next call.
func (c *conn) encode(v any) ([]byte, error) {
	c.buf.Reset()
	if err := c.enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(c.buf.Bytes(), []byte("\n")), nil
}

// binder fills the parameters of a statement from left to right and keeps the
// first error.
type binder struct {
	s   *sqlite3.Stmt
	n   int
	err error
}

func (c *conn) bind(q query) binder { return binder{s: c.stmts[q]} }

func (b *binder) keep(err error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *binder) text(v string) {
	b.n++
	b.keep(b.s.BindText(b.n, v))
}

func (b *binder) json(v []byte) {
	b.n++
	b.keep(b.s.BindRawText(b.n, v))
}

func (b *binder) blob(v []byte) {
	b.n++
	b.keep(b.s.BindBlob(b.n, v))
}

func (b *binder) int(v int64) {
	b.n++
	b.keep(b.s.BindInt64(b.n, v))
}

func (b *binder) bool(v bool) {
	b.n++
	b.keep(b.s.BindBool(b.n, v))
}

// time rounds down to milliseconds.
func (b *binder) time(v time.Time) { b.int(v.UnixMilli()) }

// maybe writes NULL for a time that is zero.
func (b *binder) maybe(v time.Time) {
	if v.IsZero() {
		b.n++
		b.keep(b.s.BindNull(b.n))
		return
	}
	b.time(v)
}

// run executes a statement that returns no rows.
func (b *binder) run() error {
	if b.err != nil {
		return b.err
	}
	return b.s.Exec()
}

// row steps to the next row. Where there is none it resets the statement; where
// there is one, the caller does.
func (b *binder) row() (bool, error) {
	if b.err != nil {
		return false, b.err
	}
	if b.s.Step() {
		return true, nil
	}
	err := b.s.Err()
	if again := b.s.Reset(); err == nil {
		err = again
	}
	return false, err
}

// reset ends a statement early, after its last row that matters. What Reset
// reports is the error of the last step, which row has reported.
func (b *binder) reset() { _ = b.s.Reset() } // see above

// column reads a time that binder.time wrote.
func column(s *sqlite3.Stmt, n int) time.Time { return time.UnixMilli(s.ColumnInt64(n)).UTC() }

// fault puts an error of SQLite under the error of package store that it means.
// It passes others through, nil among them.
func fault(op string, err error) error {
	if err == nil || errors.Is(err, store.ErrUnavailable) {
		return err
	}
	if code, ok := errors.AsType[sqlite3.ErrorCode](err); ok {
		switch code {
		case sqlite3.FULL, sqlite3.IOERR, sqlite3.BUSY, sqlite3.LOCKED, sqlite3.READONLY, sqlite3.CANTOPEN,
			sqlite3.CORRUPT, sqlite3.NOTADB, sqlite3.NOMEM, sqlite3.PERM, sqlite3.PROTOCOL, sqlite3.NOLFS:
			return fmt.Errorf("sqlite: %s: %w: %w", op, store.ErrUnavailable, err)
		default:
		}
	}
	return fmt.Errorf("sqlite: %s: %w", op, err)
}
