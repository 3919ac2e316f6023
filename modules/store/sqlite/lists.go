package sqlite

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// place is where a row stands in a list. Rows are listed from the greatest
// place to the least; n is the order of insertion, so a row that is added while
// somebody pages never moves another.
type place struct{ created, n int64 }

// The first byte of a cursor says which list it belongs to.
const (
	paymentList = 'p'
	refundList  = 'r'
	eventList   = 'e'
	deliverList = 'd'
)

const cursorSize = 1 + 8 + 8

func (p place) cursor(list byte) string {
	b := append(make([]byte, 0, cursorSize), list)
	b = binary.BigEndian.AppendUint64(b, uint64(p.created)) //nolint:gosec // the bits, not the number
	b = binary.BigEndian.AppendUint64(b, uint64(p.n))       //nolint:gosec // as above
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(list byte, s string) (place, error) {
	if len(s) != base64.RawURLEncoding.EncodedLen(cursorSize) {
		return place{}, fmt.Errorf("%w: it has %d characters", store.ErrCursor, len(s))
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return place{}, fmt.Errorf("%w: %w", store.ErrCursor, err)
	}
	if b[0] != list {
		return place{}, fmt.Errorf("%w: it belongs to another list", store.ErrCursor)
	}
	p := place{int64(binary.BigEndian.Uint64(b[1:])), int64(binary.BigEndian.Uint64(b[9:]))} //nolint:gosec // the bits
	if p.n < 1 {
		return place{}, fmt.Errorf("%w: it points nowhere", store.ErrCursor)
	}
	return p, nil
}

// list puts one list's statement together: the text depends on which filters
// are set, never on their values, so that each connection prepares it once.
type list struct {
	text strings.Builder
	args []any // string or int64
	// few tells that a filter's index leaves few rows. SQLite, which has no
	// statistics, is then kept from the merchant's index.
	few bool
}

// where adds a condition; arg is left out where the condition has no parameter.
func (l *list) where(condition string, arg ...any) {
	l.text.WriteString(" AND ")
	l.text.WriteString(condition)
	l.args = append(l.args, arg...)
}

func (l *list) equal(column, value string) {
	if value != "" {
		l.where("t."+column+" = ?", value)
	}
}

// payment selects what belongs to one payment.
func (l *list) payment(id string) {
	l.equal("payment", id)
	l.few = l.few || id != ""
}

// owner comes after the filters. A unary plus takes a column out of the choice
// of an index.
func (l *list) owner(merchant string, mode payment.Mode) {
	plus := ""
	if l.few {
		plus = "+"
	}
	if merchant != "" {
		l.where(plus+"t.merchant = ?", merchant)
	}
	if mode != "" {
		l.where(plus+"t.mode = ?", string(mode))
	}
}

// outcome adds a literal beside the parameter: only that lets SQLite prove that
// the partial index holds all the rows.
func (l *list) outcome(o payment.Outcome) {
	l.equal("outcome", string(o))
	if o != "" && o != payment.Known {
		l.where("t.outcome <> 'known'")
		l.few = true
	}
}

// page runs a list. selection ends in a WHERE clause and yields created and n of
// table t before what scan reads, from column 2 on.
func page[T any](
	r *reader, kind byte, p store.Paging, selection string, filters func(*list), scan func(*sqlite3.Stmt, int) (T, error),
) (store.Page[T], error) {
	limit := p.Limit
	if limit < 1 || limit > store.MaxPage {
		limit = store.MaxPage
	}
	var from *place
	if p.Cursor != "" {
		at, err := parseCursor(kind, p.Cursor)
		if err != nil {
			return store.Page[T]{}, err
		}
		from = &at
	}
	// No index serves "both modes of one merchant" in order, but two runs do.
	modes := []payment.Mode{p.Mode}
	if p.Merchant != "" && p.Mode == "" {
		modes = []payment.Mode{payment.Test, payment.Live}
	}
	var rows []T
	var places []place
	for _, mode := range modes {
		var l list
		l.text.WriteString(selection)
		filters(&l)
		l.owner(p.Merchant, mode)
		l.bounds(p, from)
		more, at, err := fetch(r.c, &l, limit+1, scan)
		if err != nil {
			return store.Page[T]{}, err
		}
		rows, places = merge(rows, places, more, at)
	}
	if len(rows) <= limit {
		return store.Page[T]{Data: rows}, nil
	}
	return store.Page[T]{Data: rows[:limit], Cursor: places[limit-1].cursor(kind)}, nil
}

func (l *list) bounds(p store.Paging, from *place) {
	if !p.CreatedAfter.IsZero() {
		l.where("t.created > ?", p.CreatedAfter.UnixMilli())
	}
	if !p.CreatedBefore.IsZero() {
		l.where("t.created < ?", p.CreatedBefore.UnixMilli())
	}
	if from != nil {
		l.where("(t.created, t.n) < (?, ?)", from.created, from.n)
	}
}

// fetch runs a list's statement and returns each row with its place.
func fetch[T any](c *conn, l *list, limit int, scan func(*sqlite3.Stmt, int) (T, error)) ([]T, []place, error) {
	l.text.WriteString(" ORDER BY t.created DESC, t.n DESC LIMIT ?")
	l.args = append(l.args, int64(limit))
	text := l.text.String()
	s, ok := c.lists[text]
	if !ok {
		var err error
		if s, _, err = c.db.PrepareFlags(text, sqlite3.PREPARE_PERSISTENT); err != nil {
			return nil, nil, fault("prepare list", err)
		}
		c.lists[text] = s
	}
	b := binder{s: s}
	for _, a := range l.args {
		switch a := a.(type) {
		case string:
			b.text(a)
		case int64:
			b.int(a)
		}
	}
	var places []place
	rows, err := all("list", &b, func(s *sqlite3.Stmt) (T, error) {
		places = append(places, place{s.ColumnInt64(0), s.ColumnInt64(1)})
		return scan(s, 2)
	})
	return rows, places, err
}

// merge joins two lists that are in order.
func merge[T any](a []T, atA []place, b []T, atB []place) ([]T, []place) {
	if len(a) == 0 {
		return b, atB
	}
	rows, places := make([]T, 0, len(a)+len(b)), make([]place, 0, len(a)+len(b))
	for len(a) > 0 || len(b) > 0 {
		if len(b) == 0 || (len(a) > 0 && atA[0].before(atB[0])) {
			rows, places = append(rows, a[0]), append(places, atA[0])
			a, atA = a[1:], atA[1:]
		} else {
			rows, places = append(rows, b[0]), append(places, atB[0])
			b, atB = b[1:], atB[1:]
		}
	}
	return rows, places
}

// before tells that p is listed before q.
func (p place) before(q place) bool {
	return p.created > q.created || (p.created == q.created && p.n > q.n)
}

// Payments implements [store.Reader].
func (r *reader) Payments(q store.PaymentQuery) (store.Page[payment.Payment], error) {
	const selection = "SELECT t.created, t.n, t.data, t.version FROM payments AS t WHERE true"
	return page(r, paymentList, q.Paging, selection, func(l *list) {
		l.equal("status", string(q.Status))
		l.outcome(q.Outcome)
		if q.Reference != "" {
			l.equal("reference", q.Reference)
			l.where("t.reference <> ''") // for the partial index
		}
	}, scanPayment)
}

// Refunds implements [store.Reader].
func (r *reader) Refunds(q store.RefundQuery) (store.Page[store.RefundRow], error) {
	const selection = "SELECT t.created, t.n, p.data, p.version, t.id" +
		" FROM refunds AS t CROSS JOIN payments AS p ON p.id = t.payment WHERE true"
	return page(r, refundList, q.Paging, selection, func(l *list) {
		l.payment(q.Payment)
		l.equal("status", string(q.Status))
		l.outcome(q.Outcome)
	}, func(s *sqlite3.Stmt, n int) (store.RefundRow, error) {
		p, err := scanPayment(s, n)
		return store.RefundRow{Refund: s.ColumnText(n + 2), Payment: p}, err
	})
}

// Events implements [store.Reader].
func (r *reader) Events(q store.EventQuery) (store.Page[payment.Event], error) {
	const selection = "SELECT t.created, t.n, t.id, t.type, t.merchant, t.mode, t.payment, t.sequence, t.created, t.object" +
		" FROM events AS t WHERE true"
	return page(r, eventList, q.Paging, selection, func(l *list) {
		l.payment(q.Payment)
		l.equal("type", string(q.Type))
	}, scanEvent)
}

// Deliveries implements [store.Reader].
func (r *reader) Deliveries(q store.DeliveryQuery) (store.Page[payment.Delivery], error) {
	const selection = "SELECT t.created, t.n, t.id, t.merchant, t.mode, t.endpoint, t.event, t.type, t.try, t.delivered," +
		" t.status, t.error, t.took, t.next, t.created FROM deliveries AS t WHERE true"
	return page(r, deliverList, q.Paging, selection, func(l *list) {
		l.equal("endpoint", q.Endpoint)
		l.equal("event", q.Event)
		l.few = q.Endpoint != "" || q.Event != ""
	}, scanDelivery)
}
