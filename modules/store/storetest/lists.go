package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

func refundIDs(rows []store.RefundRow) []string {
	var ids []string
	for _, r := range rows {
		ids = append(ids, r.Refund)
	}
	return ids
}

func paymentIDs(rows []payment.Payment) []string {
	var ids []string
	for _, p := range rows {
		ids = append(ids, p.ID)
	}
	return ids
}

func eventIDs(rows []payment.Event) []string {
	var ids []string
	for _, e := range rows {
		ids = append(ids, e.ID)
	}
	return ids
}

// walk reads a whole list, page by page, and checks the pages' sizes.
func walk[T any](t *testing.T, s store.Store, p store.Paging, read func(store.Reader, store.Paging) (store.Page[T], error)) []T {
	t.Helper()
	var rows []T
	for range 1000 {
		page := must(t, s, func(r store.Reader) (store.Page[T], error) { return read(r, p) })
		rows = append(rows, page.Data...)
		if page.Cursor == "" {
			return rows
		}
		if len(page.Data) != p.Limit {
			t.Fatalf("got a page of %d that goes on, want %d", len(page.Data), p.Limit)
		}
		p.Cursor = page.Cursor
	}
	t.Fatal("got 1000 pages, want an end")
	return nil
}

// pagings are the bounds that all lists share. The times are those of rows, so
// that it shows that bounds exclude.
func pagings() []store.Paging {
	var all []store.Paging
	for _, merchant := range []string{"", "mer_a", "mer_b", "mer_c"} {
		for _, mode := range []payment.Mode{"", payment.Test, payment.Live} {
			for _, after := range []time.Time{{}, start.Add(40 * time.Second)} {
				for _, before := range []time.Time{{}, start.Add(90 * time.Second)} {
					all = append(all, store.Paging{
						Merchant: merchant, Mode: mode, Limit: 7, CreatedAfter: after, CreatedBefore: before,
					})
				}
			}
		}
	}
	return all
}

func inside(p store.Paging, merchant string, mode payment.Mode, created time.Time) bool {
	return (p.Merchant == "" || p.Merchant == merchant) && (p.Mode == "" || p.Mode == mode) &&
		(p.CreatedAfter.IsZero() || created.After(p.CreatedAfter)) &&
		(p.CreatedBefore.IsZero() || created.Before(p.CreatedBefore))
}

// stock stores 120 payments that differ in all that lists filter by.
func stock(t *testing.T, b *bench) []payment.Payment {
	t.Helper()
	statuses := []payment.Status{payment.Succeeded, payment.Processing, payment.Failed}
	outcomes := []payment.Outcome{payment.Known, payment.Known, payment.Unknown, payment.Known, payment.Conflicted}
	references := []string{"", "order-1", "order-2", ""}
	var all []payment.Payment
	for i := range 120 {
		p := b.payment([]string{"mer_a", "mer_b"}[i/2%2], []payment.Mode{payment.Test, payment.Live}[i/7%2])
		if i%10 == 9 { // two of one millisecond
			p.CreatedAt = all[i-1].CreatedAt
		}
		p.Status, p.Outcome, p.Reference = payment.RequiresAction, payment.Unknown, "before"
		b.put(t, &p)
		p.Version, p.Status, p.Outcome = 2, statuses[i%len(statuses)], outcomes[i%len(outcomes)]
		p.Reference = references[i/3%len(references)]
		b.put(t, &p)
		all = append(all, p)
	}
	return all
}

func testPaymentLists(t *testing.T, b *bench) {
	all := stock(t, b)
	slices.Reverse(all)
	for _, paging := range pagings() {
		for _, status := range []payment.Status{"", payment.Succeeded, payment.Processing, payment.RequiresAction} {
			for _, outcome := range []payment.Outcome{"", payment.Known, payment.Unknown, payment.Conflicted} {
				for _, reference := range []string{"", "order-2", "before"} {
					q := store.PaymentQuery{Paging: paging, Status: status, Outcome: outcome, Reference: reference}
					var want []string
					for i := range all {
						p := &all[i]
						if inside(paging, p.Merchant, p.Mode, p.CreatedAt) && (status == "" || p.Status == status) &&
							(outcome == "" || p.Outcome == outcome) && (reference == "" || p.Reference == reference) {
							want = append(want, p.ID)
						}
					}
					got := walk(t, b, paging, func(r store.Reader, p store.Paging) (store.Page[payment.Payment], error) {
						q.Paging = p
						return r.Payments(q)
					})
					equal(t, fmt.Sprintf("%+v", q), paymentIDs(got), want)
					if t.Failed() {
						return
					}
				}
			}
		}
	}
	page := must(t, b, func(r store.Reader) (store.Page[payment.Payment], error) {
		return r.Payments(store.PaymentQuery{Paging: store.Paging{Limit: 2}})
	})
	equal(t, "payments of a list", page.Data, all[:2])
}

func testRefundLists(t *testing.T, b *bench) {
	statuses := []payment.RefundStatus{payment.RefundPending, payment.RefundSucceeded, payment.RefundFailed}
	outcomes := []payment.Outcome{payment.Known, payment.Unknown}
	var all []store.RefundRow
	for i := range 40 {
		p := b.payment([]string{"mer_a", "mer_b"}[i%2], []payment.Mode{payment.Test, payment.Live}[i/7%2])
		for range i % 4 {
			id := b.refund(&p, statuses[len(all)%3])
			p.Refunds[len(p.Refunds)-1].Outcome = outcomes[len(all)/2%2]
			all = append(all, store.RefundRow{Refund: id})
		}
		b.put(t, &p)
		for j := range p.Refunds {
			all[len(all)-1-j].Payment = p
		}
	}
	slices.Reverse(all)
	for _, paging := range pagings() {
		for _, status := range []payment.RefundStatus{"", payment.RefundPending, payment.RefundSucceeded} {
			for _, outcome := range []payment.Outcome{"", payment.Known, payment.Unknown} {
				for _, of := range []string{"", all[0].Payment.ID} {
					q := store.RefundQuery{Paging: paging, Status: status, Outcome: outcome, Payment: of}
					var want []store.RefundRow
					for _, row := range all {
						r := row.Payment.Refund(row.Refund)
						if inside(paging, row.Payment.Merchant, row.Payment.Mode, r.CreatedAt) && (of == "" || row.Payment.ID == of) &&
							(status == "" || r.Status == status) && (outcome == "" || r.Outcome == outcome) {
							want = append(want, row)
						}
					}
					got := walk(t, b, paging, func(r store.Reader, p store.Paging) (store.Page[store.RefundRow], error) {
						q.Paging = p
						return r.Refunds(q)
					})
					equal(t, fmt.Sprintf("%+v", q), got, want)
					if t.Failed() {
						return
					}
				}
			}
		}
	}
}

func testEvents(t *testing.T, b *bench) {
	p := b.payment("mer_a", payment.Live)
	e := b.event(&p, payment.EventRefundFailed)
	b.update(t, func(tx store.Tx) error { return errors.Join(tx.PutPayment(&p), tx.PutEvent(e)) })
	read := func(id string) (payment.Event, error) {
		return get(t, b, func(r store.Reader) (payment.Event, error) { return r.Event(id) })
	}
	got, err := read(e.ID)
	wantError(t, "event", err, nil)
	equal(t, "event", got, e)
	_, err = read("evt_unknown")
	wantError(t, "unknown event", err, store.ErrNotFound)
	wantError(t, "same id again", b.Update(t.Context(), func(tx store.Tx) error { return tx.PutEvent(e) }), store.ErrConflict)
}

func testEventLists(t *testing.T, b *bench) {
	kinds := []payment.EventType{payment.EventPaymentSucceeded, payment.EventPaymentFailed, payment.EventRefundFailed}
	var all []payment.Event
	for i := range 30 {
		p := b.payment([]string{"mer_a", "mer_b"}[i%2], []payment.Mode{payment.Test, payment.Live}[i/7%2])
		b.put(t, &p)
		for range i % 4 {
			e := b.event(&p, kinds[len(all)%3])
			p.Sequence++
			all = append(all, e)
			b.update(t, func(tx store.Tx) error { return tx.PutEvent(e) })
		}
	}
	slices.Reverse(all)
	for _, paging := range pagings() {
		for _, of := range []string{"", all[0].Payment, "pay_unknown"} {
			for _, kind := range []payment.EventType{"", payment.EventPaymentFailed, payment.EventPaymentExpired} {
				q := store.EventQuery{Paging: paging, Payment: of, Type: kind}
				var want []string
				for _, e := range all {
					if inside(paging, e.Merchant, e.Mode, e.CreatedAt) && (of == "" || e.Payment == of) &&
						(kind == "" || e.Type == kind) {
						want = append(want, e.ID)
					}
				}
				got := walk(t, b, paging, func(r store.Reader, p store.Paging) (store.Page[payment.Event], error) {
					q.Paging = p
					return r.Events(q)
				})
				equal(t, fmt.Sprintf("%+v", q), eventIDs(got), want)
			}
		}
	}
}

// testPagingWhileInserting adds a payment after every page: those that were
// there at the start come once each, and the new ones not at all.
func testPagingWhileInserting(t *testing.T, b *bench) {
	var want []string
	for range 23 {
		p := b.payment("mer_a", payment.Test)
		b.put(t, &p)
		want = append(want, p.ID)
	}
	slices.Reverse(want)
	got := walk(t, b, store.Paging{Merchant: "mer_a", Mode: payment.Test, Limit: 4},
		func(r store.Reader, p store.Paging) (store.Page[payment.Payment], error) {
			next := b.payment("mer_a", payment.Test)
			if p.Cursor != "" {
				b.put(t, &next)
			}
			return r.Payments(store.PaymentQuery{Paging: p})
		})
	equal(t, "payments", paymentIDs(got), want)
}

func testCursors(t *testing.T, b *bench) {
	for range 3 {
		p := b.payment("mer_a", payment.Test)
		b.refund(&p, payment.RefundPending)
		e := b.event(&p, payment.EventPaymentSucceeded)
		d := payment.Delivery{ID: b.ids.New(payment.PrefixDelivery), Merchant: "mer_a", Mode: payment.Test, Try: 1, CreatedAt: b.tick()}
		b.update(t, func(tx store.Tx) error { return errors.Join(tx.PutPayment(&p), tx.PutEvent(e), tx.PutDelivery(d)) })
	}
	lists := map[string]func(store.Reader, store.Paging) (string, error){
		"payments": func(r store.Reader, p store.Paging) (string, error) {
			page, err := r.Payments(store.PaymentQuery{Paging: p})
			return page.Cursor, err
		},
		"refunds": func(r store.Reader, p store.Paging) (string, error) {
			page, err := r.Refunds(store.RefundQuery{Paging: p})
			return page.Cursor, err
		},
		"events": func(r store.Reader, p store.Paging) (string, error) {
			page, err := r.Events(store.EventQuery{Paging: p})
			return page.Cursor, err
		},
		"deliveries": func(r store.Reader, p store.Paging) (string, error) {
			page, err := r.Deliveries(store.DeliveryQuery{Paging: p})
			return page.Cursor, err
		},
	}
	bad := []string{"x", "%", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAA", "pay_01", string(make([]byte, 1000))}
	for name, list := range lists {
		good := must(t, b, func(r store.Reader) (string, error) { return list(r, store.Paging{Limit: 1}) })
		if good == "" {
			t.Fatalf("%s: got no cursor, want one", name)
		}
		for other, list := range lists {
			_, err := get(t, b, func(r store.Reader) (string, error) { return list(r, store.Paging{Limit: 1, Cursor: good}) })
			if other == name {
				wantError(t, name, err, nil)
			} else {
				wantError(t, other+" with the cursor of "+name, err, store.ErrCursor)
			}
		}
		for _, cursor := range append(bad, good+"A", good[1:], good[:len(good)-1], "!"+good[1:]) {
			_, err := get(t, b, func(r store.Reader) (string, error) { return list(r, store.Paging{Limit: 1, Cursor: cursor}) })
			wantError(t, fmt.Sprintf("%s with cursor %.40q", name, cursor), err, store.ErrCursor)
		}
	}
}
