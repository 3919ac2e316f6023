package postgres

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// place is where a row stands in a list, from the greatest to the least: a row
// that is added while somebody pages never moves another.
type place struct {
	created int64 // milliseconds of the Unix epoch
	n       int64 // the order of insertion
}

// The first byte of a cursor says which list it belongs to.
const (
	paymentList  = 'P'
	refundList   = 'R'
	eventList    = 'E'
	deliveryList = 'D'

	cursorSize = 1 + 8 + 8
)

func (p place) cursor(list byte) string {
	b := binary.LittleEndian.AppendUint64([]byte{list}, uint64(p.n)) //nolint:gosec // the bits, not the number
	b = binary.LittleEndian.AppendUint64(b, uint64(p.created))       //nolint:gosec // as above
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(list byte, s string) (p place, err error) {
	if len(s) != base64.RawURLEncoding.EncodedLen(cursorSize) {
		return p, fmt.Errorf("%w: it has %d characters", store.ErrCursor, len(s))
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return p, fmt.Errorf("%w: %w", store.ErrCursor, err)
	}
	p.n = int64(binary.LittleEndian.Uint64(b[1:]))       //nolint:gosec // the bits, not the number
	p.created = int64(binary.LittleEndian.Uint64(b[9:])) //nolint:gosec // as above
	const last = 253402300799999                         // the year 9999
	if b[0] != list || p.n < 1 || p.created < -last || p.created > last {
		return place{}, fmt.Errorf("%w: it is not of this list", store.ErrCursor)
	}
	return p, nil
}

// list is a list's statement in the making: the text depends on which filters
// are set and on the length of a page, never on the filters' values, so that it
// is prepared once.
type list struct {
	conditions strings.Builder
	args       []any
	// none: a filter has a value that no row can have.
	none bool
}

// where adds a condition; each ? stands for the next argument.
func (l *list) where(condition string, args ...any) {
	if !storable(args...) {
		l.none = true
		return
	}
	l.conditions.WriteString(" AND ")
	for part, rest, more := strings.Cut(condition, "?"); ; part, rest, more = strings.Cut(rest, "?") {
		l.conditions.WriteString(part)
		if !more {
			return
		}
		l.args, args = append(l.args, args[0]), args[1:]
		l.conditions.WriteString("$" + strconv.Itoa(len(l.args)))
	}
}

func (l *list) equal(column, value string) {
	if value != "" {
		l.where("t."+column+" = ?", value)
	}
}

// outcome is written as a literal: the planner, which does not see arguments,
// then knows how few payments are in doubt, and that the partial index has them.
func (l *list) outcome(o payment.Outcome) {
	switch o {
	case "":
	case payment.Known:
		l.where("t.outcome = 'known'")
	case payment.Unknown, payment.Conflicted:
		l.where("t.outcome = '" + string(o) + "' AND t.outcome <> 'known'")
	default:
		l.none = true
	}
}

// sql returns the whole statement. No index has both modes of one merchant in
// order, but two have one each: the server merges them.
func (l *list) sql(selection string, p store.Paging, limit int) string {
	end := " ORDER BY t.created DESC, t.n DESC LIMIT " + strconv.Itoa(limit)
	half := func(mode payment.Mode) string {
		condition := ""
		if mode != "" { // a constant of package payment, or checked
			condition = " AND t.mode = '" + string(mode) + "'"
		}
		return selection + " WHERE true" + l.conditions.String() + condition + end
	}
	if p.Merchant == "" || p.Mode != "" {
		return half(p.Mode)
	}
	return "(" + half(payment.Test) + ") UNION ALL (" + half(payment.Live) + ") ORDER BY 1 DESC, 2 DESC LIMIT " + strconv.Itoa(limit)
}

// page runs a list. selection yields created and n of table t before what scan
// reads.
func page[T any](
	r *reader, kind byte, tables string, p store.Paging, selection string, l *list, scan func(row pgx.Row, more ...any) (T, error),
) (out store.Page[T], err error) {
	limit := p.Limit
	if limit < 1 || limit > store.MaxPage {
		limit = store.MaxPage
	}
	l.equal("merchant", p.Merchant)
	l.none = l.none || p.Mode != "" && p.Mode != payment.Test && p.Mode != payment.Live
	if !p.CreatedAfter.IsZero() {
		l.where("t.created > ?", floor(p.CreatedAfter))
	}
	if !p.CreatedBefore.IsZero() {
		l.where("t.created < ?", floor(p.CreatedBefore))
	}
	if p.Cursor != "" {
		at, err := parseCursor(kind, p.Cursor)
		if err != nil {
			return out, err
		}
		l.where("(t.created, t.n) < (?, ?)", time.UnixMilli(at.created), at.n)
	}
	if l.none {
		return out, nil
	}
	var at place
	err = r.many("list "+tables, tables, l.sql(selection, p, limit+1), l.args, func(row pgx.Rows) error {
		if len(out.Data) == limit { // there is one more
			out.Cursor = at.cursor(kind)
			return nil
		}
		var created time.Time
		one, err := scan(row, instant(&created), &at.n)
		at.created = created.UnixMilli()
		out.Data = append(out.Data, one)
		return err
	})
	if err != nil {
		return store.Page[T]{}, err
	}
	return out, nil
}

// Payments implements [store.Reader].
func (r *reader) Payments(q store.PaymentQuery) (store.Page[payment.Payment], error) {
	var l list
	l.equal("status", string(q.Status))
	l.outcome(q.Outcome)
	if q.Reference != "" {
		l.equal("reference", q.Reference)
		l.where("t.reference <> ''") // for the partial index
	}
	return page(r, paymentList, "payments", q.Paging, "SELECT t.created, t.n, t.data, t.version FROM payments AS t", &l, scanPayment)
}

// Refunds implements [store.Reader].
func (r *reader) Refunds(q store.RefundQuery) (store.Page[store.RefundRow], error) {
	var l list
	l.equal("payment", q.Payment)
	l.equal("status", string(q.Status))
	l.outcome(q.Outcome)
	return page(r, refundList, "refunds payments", q.Paging,
		"SELECT t.created, t.n, t.id, p.data, p.version FROM refunds AS t JOIN payments AS p ON p.id = t.payment", &l,
		func(row pgx.Row, more ...any) (out store.RefundRow, err error) {
			out.Payment, err = scanPayment(row, append(more, &out.Refund)...)
			return out, err
		})
}

// Events implements [store.Reader].
func (r *reader) Events(q store.EventQuery) (store.Page[payment.Event], error) {
	var l list
	l.equal("payment", q.Payment)
	l.equal("type", string(q.Type))
	return page(r, eventList, "events", q.Paging, "SELECT t.created, t.n, "+eventColumns+" FROM events AS t", &l, scanEvent)
}

// Deliveries implements [store.Reader].
func (r *reader) Deliveries(q store.DeliveryQuery) (store.Page[payment.Delivery], error) {
	var l list
	l.equal("endpoint", q.Endpoint)
	l.equal("event", q.Event)
	return page(r, deliveryList, "deliveries", q.Paging, "SELECT t.created, t.n, "+deliveryColumns+" FROM deliveries AS t", &l, scanDelivery)
}
