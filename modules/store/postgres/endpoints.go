package postgres

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// Endpoint implements [store.Reader].
func (r *reader) Endpoint(id string) (e payment.Endpoint, err error) {
	err = r.one(source{"read endpoint", qEndpoint, "endpoints", versioned}, func(row pgx.Row) (err error) {
		e, err = scanEndpoint(row)
		return err
	}, id)
	if err != nil {
		return payment.Endpoint{}, err
	}
	r.saw("endpoints", e.ID, e.Version)
	return e, nil
}

// Endpoints implements [store.Reader].
func (r *reader) Endpoints(merchant string, mode payment.Mode) (all []payment.Endpoint, err error) {
	modes := []string{string(mode)}
	if mode == "" {
		modes = []string{string(payment.Test), string(payment.Live)}
	}
	sql, args := qAllEndpoints, []any{modes}
	if merchant != "" {
		sql, args = qEndpoints, []any{merchant, modes}
	}
	if !storable(merchant, string(mode)) {
		return nil, nil
	}
	err = r.many("list endpoints", "endpoints", sql, args, func(row pgx.Rows) error {
		e, err := scanEndpoint(row)
		all = append(all, e)
		return err
	})
	return all, err
}

func scanEndpoint(row pgx.Row) (e payment.Endpoint, err error) {
	var (
		data    []byte
		version int64
	)
	if err := row.Scan(&data, &version); err != nil {
		return e, err
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fmt.Errorf("stored endpoint: %w", err)
	}
	e.Version = version
	return e, nil
}

// PutEndpoint implements [store.Tx].
func (t *tx) PutEndpoint(e *payment.Endpoint) error {
	data, err := encode("endpoint", e)
	if err != nil {
		return err
	}
	types := make([]string, 0, len(e.Types))
	for _, name := range e.Types {
		types = append(types, string(name))
	}
	w := wUpdateEndpoint
	args := []any{e.ID, e.Version, e.Status == payment.EndpointEnabled, types, data}
	if e.Version == 1 {
		w = wInsertEndpoint
		args = append(args, e.Merchant, string(e.Mode), floor(e.CreatedAt))
	}
	if err := t.put("put endpoint", w, store.ErrConflict, args...); err != nil {
		return err
	}
	t.wroteOver("endpoints", e.ID, e.Version)
	return nil
}

// DeleteEndpoint implements [store.Tx].
func (t *tx) DeleteEndpoint(id string) error {
	return t.put("delete endpoint", wDeleteEndpoint, store.ErrNotFound, id)
}

// PutDelivery implements [store.Tx].
func (t *tx) PutDelivery(d payment.Delivery) error {
	var next any // NULL
	if !d.Next.IsZero() {
		next = floor(d.Next)
	}
	return t.put("put delivery", wPutDelivery, store.ErrConflict,
		d.ID, d.Merchant, string(d.Mode), d.Endpoint, d.Event, string(d.Type), d.Try, d.Delivered, d.Status, d.Error,
		d.Took.Milliseconds(), next, floor(d.CreatedAt))
}

// scanDelivery reads what more there is, and a line of the delivery log.
func scanDelivery(row pgx.Row, more ...any) (d payment.Delivery, err error) {
	var took int64
	err = row.Scan(append(more, &d.ID, &d.Merchant, &d.Mode, &d.Endpoint, &d.Event, &d.Type, &d.Try, &d.Delivered,
		&d.Status, &d.Error, &took, instant(&d.Next), instant(&d.CreatedAt))...)
	d.Took = time.Duration(took) * time.Millisecond
	return d, err
}
