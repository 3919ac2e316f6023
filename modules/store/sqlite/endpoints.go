package sqlite

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// Endpoint implements [store.Reader].
func (r *reader) Endpoint(id string) (e payment.Endpoint, err error) {
	b := r.c.bind(qEndpoint)
	b.text(id)
	if err := one("read endpoint", &b); err != nil {
		return e, err
	}
	defer b.reset()
	return scanEndpoint(b.s)
}

// Endpoints implements [store.Reader].
func (r *reader) Endpoints(merchant string, mode payment.Mode) ([]payment.Endpoint, error) {
	if merchant == "" {
		b := r.c.bind(qAllEndpoints)
		rows, err := all("list endpoints", &b, scanEndpoint)
		return ofMode(rows, mode), err
	}
	var rows []payment.Endpoint
	for _, m := range []payment.Mode{payment.Test, payment.Live} {
		if mode != "" && mode != m {
			continue
		}
		b := r.c.bind(qEndpoints)
		b.text(merchant)
		b.text(string(m))
		more, err := all("list endpoints", &b, scanEndpoint)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// ofMode keeps the endpoints of a mode; "" = both.
func ofMode(rows []payment.Endpoint, mode payment.Mode) []payment.Endpoint {
	if mode == "" {
		return rows
	}
	var kept []payment.Endpoint
	for i := range rows {
		if rows[i].Mode == mode {
			kept = append(kept, rows[i])
		}
	}
	return kept
}

func scanEndpoint(s *sqlite3.Stmt) (e payment.Endpoint, err error) {
	if err := json.Unmarshal(s.ColumnRawText(0), &e); err != nil {
		return e, fmt.Errorf("sqlite: stored endpoint: %w", err)
	}
	e.Version = s.ColumnInt64(1)
	return e, nil
}

// PutEndpoint implements [store.Tx].
func (t *tx) PutEndpoint(e *payment.Endpoint) error {
	data, err := t.c.encode(e)
	if err != nil {
		return fmt.Errorf("sqlite: encode endpoint: %w", err)
	}
	var types strings.Builder
	for _, name := range e.Types {
		types.WriteString(" " + string(name) + " ")
	}
	query := qUpdateEndpoint
	if e.Version == 1 {
		query = qInsertEndpoint
	}
	b := t.c.bind(query)
	b.int(e.Version)
	b.bool(e.Status == payment.EndpointEnabled)
	b.text(types.String())
	b.json(data)
	b.text(e.ID)
	if e.Version == 1 {
		b.text(e.Merchant)
		b.text(string(e.Mode))
		b.time(e.CreatedAt)
	} else {
		b.int(e.Version - 1)
	}
	return t.once("put endpoint", &b, store.ErrConflict)
}

// DeleteEndpoint implements [store.Tx].
func (t *tx) DeleteEndpoint(id string) error {
	b := t.c.bind(qDeleteEndpoint)
	b.text(id)
	return t.once("delete endpoint", &b, store.ErrNotFound)
}

// PutDelivery implements [store.Tx].
func (t *tx) PutDelivery(d payment.Delivery) error {
	b := t.c.bind(qPutDelivery)
	b.text(d.ID)
	b.text(d.Merchant)
	b.text(string(d.Mode))
	b.text(d.Endpoint)
	b.text(d.Event)
	b.text(string(d.Type))
	b.int(int64(d.Try))
	b.bool(d.Delivered)
	b.int(int64(d.Status))
	b.text(d.Error)
	b.int(d.Took.Milliseconds())
	b.maybe(d.Next)
	b.time(d.CreatedAt)
	return t.once("put delivery", &b, store.ErrConflict)
}

// scanDelivery reads a row of the delivery log, the first column of which stands
// at n.
func scanDelivery(s *sqlite3.Stmt, n int) (payment.Delivery, error) {
	d := payment.Delivery{
		ID: s.ColumnText(n), Merchant: s.ColumnText(n + 1), Mode: payment.Mode(s.ColumnText(n + 2)),
		Endpoint: s.ColumnText(n + 3), Event: s.ColumnText(n + 4), Type: payment.EventType(s.ColumnText(n + 5)),
		Try: s.ColumnInt(n + 6), Delivered: s.ColumnBool(n + 7), Status: s.ColumnInt(n + 8), Error: s.ColumnText(n + 9),
		Took: time.Duration(s.ColumnInt64(n+10)) * time.Millisecond, CreatedAt: column(s, n+12),
	}
	if s.ColumnType(n+11) != sqlite3.NULL {
		d.Next = column(s, n+11)
	}
	return d, nil
}
