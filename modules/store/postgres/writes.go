package postgres

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// put lets a write wait for the next trip, or, in a careful run, makes it now
// and returns none where it touched no row.
func (t *tx) put(op string, w write, none error, args ...any) error {
	n, err := t.write(op, w, args...)
	if err == nil && n == 0 {
		err = none
	}
	return err
}

// write is put that tells how many rows were touched: in a bold run as many as
// are hoped for.
func (t *tx) write(op string, w write, args ...any) (rows int64, err error) {
	if t.l.failed != nil {
		return 0, t.l.failed
	}
	t.wrote = true
	if t.mode != careful {
		t.l.add(statement{op: op, sql: w.bold, args: args})
		return 1, nil
	}
	err = t.l.send(statement{op: op, sql: w.careful, args: args, take: func(b pgx.BatchResults) error {
		tag, err := b.Exec()
		rows = tag.RowsAffected()
		return err
	}})
	return rows, err
}

// wrote forgets that a record was read: its write has compared the version.
func (t *tx) wroteOver(table, id string, version int64) {
	r := record{table, id}
	if seen, ok := t.versions[r]; ok && seen == version-1 {
		delete(t.versions, r)
	}
}

// encode returns v as JSON, as a merchant would write it.
func encode(what string, v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("postgres: encode %s: %w", what, err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
