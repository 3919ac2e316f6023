package api

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

const (
	defaultLimit = 20
	maxQuery     = 4 << 10 // bytes
	maxCursor    = 512     // characters
	maxEventType = 64
)

var (
	paging          = []string{"limit", "cursor", "created_after", "created_before"}
	outcomes        = []payment.Outcome{payment.Known, payment.Unknown, payment.Conflicted}
	refundStatuses  = []payment.RefundStatus{payment.RefundPending, payment.RefundSucceeded, payment.RefundFailed}
	paymentsFilters = append(slices.Clone(paging), "status", "outcome", "reference")
	refundsFilters  = append(slices.Clone(paging), "status", "outcome", "payment")
	eventsFilters   = append(slices.Clone(paging), "type", "payment")
)

// query reads the query: the parameters that are allowed, each at most once.
func (rq *request) query(allowed ...string) (map[string]string, error) {
	raw := rq.http.URL.RawQuery
	if raw == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil || len(raw) > maxQuery {
		return nil, payment.Invalid("query", "The query cannot be read, or is over %d bytes.", maxQuery)
	}
	out := make(map[string]string, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(allowed, name) {
			return nil, payment.Invalid(name, "There is no query parameter of this name here.")
		}
		if len(values[name]) > 1 {
			return nil, payment.Invalid(name, "The parameter is there twice.")
		}
		out[name] = values[name][0]
	}
	return out, nil
}

// paging reads what all lists share. A list shows what belongs to the caller in
// the mode of the key, whatever else is asked.
func (c *checker) paging(rq *request, q map[string]string) store.Paging {
	p := store.Paging{Merchant: rq.principal.Merchant, Mode: rq.principal.Mode, Limit: defaultLimit, Cursor: q["cursor"]}
	if v, given := q["limit"]; given {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > store.MaxPage || v != strconv.Itoa(n) {
			c.fail("limit", "The limit is 1 to %d.", store.MaxPage)
		}
		p.Limit = n
	}
	if _, given := q["cursor"]; given && (p.Cursor == "" || len(p.Cursor) > maxCursor) {
		c.fail("cursor", "The cursor is not one that this list gave.")
	}
	for _, bound := range []struct {
		name string
		to   *time.Time
	}{{"created_after", &p.CreatedAfter}, {"created_before", &p.CreatedBefore}} {
		if v, given := q[bound.name]; given {
			*bound.to = c.instant(bound.name, v)
		}
	}
	return p
}

// pick reads a parameter that is one of a list.
func pick[T ~string](c *checker, q map[string]string, name string, list []T) T {
	v, given := q[name]
	if !given {
		return ""
	}
	t := T(v)
	return choice(c, name, &t, list, "")
}

// filter reads a parameter that is one line of text. An empty one would find
// everything, and who sends it means something else.
func (c *checker) filter(q map[string]string, name string, n int) string {
	v, given := q[name]
	if given && v == "" {
		c.fail(name, "The parameter is empty: leave it out.")
	}
	return c.text(name, v, n)
}

func (c *checker) paymentID(q map[string]string) string {
	v, given := q["payment"]
	if given && !payment.IsID(payment.PrefixPayment, v) {
		c.fail("payment", "The parameter is a payment's ID.")
	}
	return v
}

func (a *API) listPayments(rq *request) (response, error) {
	q, err := rq.query(paymentsFilters...)
	if err != nil {
		return response{}, err
	}
	c := &checker{now: rq.start}
	query := store.PaymentQuery{
		Paging: c.paging(rq, q), Status: pick(c, q, "status", payment.Statuses),
		Outcome: pick(c, q, "outcome", outcomes), Reference: c.filter(q, "reference", maxReference),
	}
	if c.err != nil {
		return response{}, c.err
	}
	var page store.Page[payment.Payment]
	err = a.cfg.Store.View(rq.http.Context(), func(r store.Reader) (err error) {
		page, err = r.Payments(query)
		return err
	})
	return list(page, err, func(p *payment.Payment) ([]byte, error) { return p.Object() })
}

func (a *API) listRefunds(rq *request) (response, error) {
	q, err := rq.query(refundsFilters...)
	if err != nil {
		return response{}, err
	}
	c := &checker{now: rq.start}
	query := store.RefundQuery{
		Paging: c.paging(rq, q), Payment: c.paymentID(q),
		Status: pick(c, q, "status", refundStatuses), Outcome: pick(c, q, "outcome", outcomes),
	}
	if c.err != nil {
		return response{}, c.err
	}
	var page store.Page[store.RefundRow]
	err = a.cfg.Store.View(rq.http.Context(), func(r store.Reader) (err error) {
		page, err = r.Refunds(query)
		return err
	})
	return list(page, err, func(row *store.RefundRow) ([]byte, error) {
		refund := row.Payment.Refund(row.Refund)
		if refund == nil {
			return nil, payment.Errorf(payment.CodeInternal, internalDetail)
		}
		return row.Payment.RefundObject(refund)
	})
}

func (a *API) listEvents(rq *request) (response, error) {
	q, err := rq.query(eventsFilters...)
	if err != nil {
		return response{}, err
	}
	c := &checker{now: rq.start}
	query := store.EventQuery{
		Paging: c.paging(rq, q), Payment: c.paymentID(q),
		Type: payment.EventType(c.filter(q, "type", maxEventType)),
	}
	if c.err != nil {
		return response{}, c.err
	}
	var page store.Page[payment.Event]
	err = a.cfg.Store.View(rq.http.Context(), func(r store.Reader) (err error) {
		page, err = r.Events(query)
		return err
	})
	return list(page, err, (*payment.Event).Body)
}

func (a *API) getEvent(rq *request) (response, error) {
	if _, err := rq.query(); err != nil {
		return response{}, err
	}
	var e payment.Event
	err := a.cfg.Store.View(rq.http.Context(), func(r store.Reader) (err error) {
		e, err = r.Event(rq.id)
		return err
	})
	if err != nil {
		return response{}, err
	}
	if e.Merchant != rq.principal.Merchant || e.Mode != rq.principal.Mode {
		return response{}, payment.Errorf(payment.CodeNotFound, notFoundDetail)
	}
	body, err := e.Body()
	return response{status: 200, body: body}, err
}

// list writes a page.
func list[T any](page store.Page[T], err error, object func(*T) ([]byte, error)) (response, error) {
	if err != nil {
		return response{}, err
	}
	body := []byte(`{"object":"list","data":[`)
	for i := range page.Data {
		one, err := object(&page.Data[i])
		if err != nil {
			return response{}, err
		}
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, one...)
	}
	if page.Cursor == "" {
		return response{status: 200, body: append(body, `],"has_more":false,"next_cursor":null}`...)}, nil
	}
	body, err = jsontext.AppendQuote(append(body, `],"has_more":true,"next_cursor":`...), page.Cursor)
	return response{status: 200, body: append(body, '}')}, err
}
