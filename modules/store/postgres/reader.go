package postgres

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/purser-pay/purser/modules/store"
)

// reader is a [store.Reader] on a transaction.
type reader struct {
	l *link
	t *tx // nil in a view
	// gone tells that nobody waits for the answer any more; nil = ask nobody.
	gone func() error
}

var (
	_ store.Reader = (*reader)(nil)
	_ store.Tx     = (*tx)(nil)
)

// keeping is how a record that an update has read is kept from changing.
type keeping int

const (
	lasting   keeping = iota // it never changes
	versioned                // by its version in a bold run, by a lock in a careful one
	locked                   // by a lock
	shared                   // by a lock of its table, which readers share
)

// source is where a record is read.
type source struct {
	op, sql string
	table   string // which has to be locked where the record is absent
	keep    keeping
}

// record names one that was read.
type record struct{ table, id string }

func (r record) compare(o record) int {
	return cmp.Or(strings.Compare(r.table, o.table), strings.Compare(r.id, o.id))
}

// ask makes a round trip with a read behind what waits.
func (r *reader) ask(s statement) error {
	if r.gone != nil {
		if err := r.gone(); err != nil {
			return err
		}
	}
	if r.t != nil {
		r.t.reads++
	}
	return r.l.send(s)
}

// one reads a record, or returns [store.ErrNotFound].
func (r *reader) one(from source, scan func(pgx.Row) error, args ...any) error {
	if !storable(args...) {
		return store.ErrNotFound // the server refuses such text, so it is not there
	}
	s := statement{op: from.op, sql: from.sql, args: args}
	var none bool
	s.take = func(b pgx.BatchResults) error {
		err := scan(b.QueryRow())
		if none = errors.Is(err, pgx.ErrNoRows); none {
			return nil
		}
		return err
	}
	read := func() error {
		err := r.ask(s)
		if err == nil && none {
			err = store.ErrNotFound
		}
		return err
	}
	t := r.t
	if t == nil || t.mode == still {
		return read()
	}
	switch {
	case from.keep == shared:
		// Of two that read it and then write to it the server ends one, which runs again.
		t.lock(from.table, "SHARE")
		return read()
	case from.keep == locked, from.keep == versioned && t.mode == careful:
		s.sql += " FOR UPDATE"
		if strings.Contains(s.sql, " AS p ") { // not what p is joined with
			s.sql += " OF p"
		}
	}
	err := read()
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if t.mode == bold {
		t.loose = true
		return err
	}
	if t.lock(from.table, tableLock) {
		err = read()
	}
	return err
}

// many reads rows of one or more tables, which a space separates.
func (r *reader) many(op, tables, sql string, args []any, scan func(pgx.Rows) error) error {
	if t := r.t; t != nil {
		switch t.mode {
		case bold:
			t.loose = true
		case careful:
			for name := range strings.FieldsSeq(tables) {
				t.lock(name, tableLock)
			}
		case still:
		}
	}
	return r.ask(statement{op: op, sql: sql, args: args, take: func(b pgx.BatchResults) error { return each(b, scan) }})
}

// tableLock keeps everybody else from writing to a table, and from locking it
// in the same way.
const tableLock = "SHARE ROW EXCLUSIVE"

// lock locks a table ahead of the next statement; false where it is locked.
func (t *tx) lock(table, how string) bool {
	if t.locked[table] {
		return false
	}
	if t.locked == nil {
		t.locked = map[string]bool{}
	}
	t.locked[table] = true
	t.l.add(statement{op: "lock " + table, sql: "LOCK TABLE " + table + " IN " + how + " MODE"})
	return true
}

// saw notes the version of a record that was read.
func (r *reader) saw(table, id string, version int64) {
	if t := r.t; t != nil && t.mode == bold {
		if t.versions == nil {
			t.versions = map[record]int64{}
		}
		r := record{table, id}
		if was, ok := t.versions[r]; ok && was != version {
			t.l.failed = errLoose // it has changed under us
		}
		t.versions[r] = version
	}
}

// row reads the one row of a statement.
func row(scan func(pgx.Row) error) func(pgx.BatchResults) error {
	return func(b pgx.BatchResults) error { return scan(b.QueryRow()) }
}

// each reads the rows of a statement.
func each(b pgx.BatchResults, scan func(pgx.Rows) error) error {
	rows, err := b.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// storable tells that PostgreSQL takes each text among args: it wants UTF-8, and
// no zero byte.
func storable(args ...any) bool {
	for _, a := range args {
		if s, ok := a.(string); ok && (!utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0) {
			return false
		}
	}
	return true
}

// allStorable returns those texts that PostgreSQL takes; the others are nowhere in it.
func allStorable(all []string) []string {
	taken := make([]string, 0, len(all)) // not nil, which would be NULL
	for _, s := range all {
		if storable(s) {
			taken = append(taken, s)
		}
	}
	return taken
}

// floor rounds a time down to the millisecond.
func floor(t time.Time) time.Time { return time.UnixMilli(t.UnixMilli()).UTC() }

// instant scans a time, in UTC; NULL is the zero time.
func instant(t *time.Time) any { return (*instantScanner)(t) }

type instantScanner time.Time

// ScanTimestamptz implements [pgtype.TimestamptzScanner].
func (s *instantScanner) ScanTimestamptz(v pgtype.Timestamptz) error {
	if v.InfinityModifier != pgtype.Finite {
		return fmt.Errorf("stored time is %s", v.InfinityModifier)
	}
	if !v.Valid {
		*s = instantScanner{}
		return nil
	}
	*s = instantScanner(v.Time.UTC())
	return nil
}
