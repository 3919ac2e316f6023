package sqlite

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// plan returns how SQLite would run a statement.
func plan(t *testing.T, c *conn, text string) string {
	t.Helper()
	s, _, err := c.db.Prepare("EXPLAIN QUERY PLAN " + text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer s.Close()
	var steps []string
	for s.Step() {
		steps = append(steps, s.ColumnText(3))
	}
	return strings.Join(steps, "; ")
}

// scans tells that a plan reads a table from one end to the other, or sorts.
func scans(plan string) bool {
	for step := range strings.SplitSeq(plan, "; ") {
		if strings.Contains(step, "TEMP B-TREE") ||
			(strings.HasPrefix(step, "SCAN") && !strings.Contains(step, "INDEX") && !strings.Contains(step, "CONSTANT")) {
			return true
		}
	}
	return false
}

// TestStatementPlans keeps every statement on an index. Merchants, keys and
// endpoints are few, and listed whole; the heartbeat is one row.
func TestStatementPlans(t *testing.T) {
	whole := map[query]bool{qMerchants: true, qAllAPIKeys: true, qAllEndpoints: true, qBeat: true}
	s := open(t, Config{Path: filepath.Join(t.TempDir(), "purser.db")})
	c := <-s.views
	defer func() { s.views <- c }()
	for q, text := range texts {
		if got := plan(t, c, text); scans(got) != whole[query(q)] {
			t.Errorf("%s:\ngot plan %q, want an index %v", text, got, !whole[query(q)])
		}
	}
}

// TestListPlans keeps the lists on the index that is meant for them: what a
// merchant can ask, and what operators ask for all merchants.
func TestListPlans(t *testing.T) {
	now := time.Now()
	one := store.Paging{Merchant: "mer_a", Mode: payment.Test, Limit: 10}
	ranged := one
	ranged.CreatedAfter, ranged.CreatedBefore = now.Add(-time.Hour), now
	ranged.Cursor = place{now.UnixMilli(), 7}.cursor(paymentList)
	everybody := store.Paging{Limit: 10}
	payments := func(q store.PaymentQuery) func(store.Reader) error {
		return func(r store.Reader) error { _, err := r.Payments(q); return err }
	}
	refunds := func(q store.RefundQuery) func(store.Reader) error {
		return func(r store.Reader) error { _, err := r.Refunds(q); return err }
	}
	events := func(q store.EventQuery) func(store.Reader) error {
		return func(r store.Reader) error { _, err := r.Events(q); return err }
	}
	deliveries := func(q store.DeliveryQuery) func(store.Reader) error {
		return func(r store.Reader) error { _, err := r.Deliveries(q); return err }
	}
	for name, test := range map[string]struct {
		list  func(store.Reader) error
		index string
	}{
		"payments":         {payments(store.PaymentQuery{Paging: one}), "payments_merchant (merchant=? AND mode=?)"},
		"payments, range":  {payments(store.PaymentQuery{Paging: ranged}), "payments_merchant (merchant=? AND mode=? AND created"},
		"payments, status": {payments(store.PaymentQuery{Paging: one, Status: payment.Failed}), "payments_status (merchant=? AND mode=? AND status=?)"},
		"payments, status range": {
			payments(store.PaymentQuery{Paging: ranged, Status: payment.Failed}), "payments_status (merchant=? AND mode=? AND status=? AND created",
		},
		"payments, unknown":     {payments(store.PaymentQuery{Paging: one, Outcome: payment.Unknown}), "payments_doubt (outcome=?"},
		"payments, known":       {payments(store.PaymentQuery{Paging: one, Outcome: payment.Known}), "payments_merchant (merchant=? AND mode=?)"},
		"payments, reference":   {payments(store.PaymentQuery{Paging: one, Reference: "r"}), "payments_reference (merchant=? AND mode=? AND reference=?"},
		"all payments":          {payments(store.PaymentQuery{Paging: everybody}), "payments_created"},
		"all payments, unknown": {payments(store.PaymentQuery{Paging: everybody, Outcome: payment.Unknown}), "payments_doubt (outcome=?"},
		"refunds":               {refunds(store.RefundQuery{Paging: one}), "refunds_merchant (merchant=? AND mode=?)"},
		"refunds, status":       {refunds(store.RefundQuery{Paging: one, Status: payment.RefundFailed}), "refunds_status (merchant=? AND mode=? AND status=?)"},
		"refunds, unknown":      {refunds(store.RefundQuery{Paging: one, Outcome: payment.Unknown}), "refunds_doubt (outcome=?"},
		"refunds, payment":      {refunds(store.RefundQuery{Paging: one, Payment: "p"}), "refunds_payment (payment=?"},
		"all refunds":           {refunds(store.RefundQuery{Paging: everybody}), "refunds_created"},
		"events":                {events(store.EventQuery{Paging: one}), "events_merchant (merchant=? AND mode=?)"},
		"events, type":          {events(store.EventQuery{Paging: one, Type: payment.EventRefundFailed}), "events_type (merchant=? AND mode=? AND type=?)"},
		"events, payment":       {events(store.EventQuery{Paging: one, Payment: "p"}), "events_payment (payment=?"},
		"all events":            {events(store.EventQuery{Paging: everybody}), "events_created"},
		"deliveries, endpoint":  {deliveries(store.DeliveryQuery{Paging: one, Endpoint: "w"}), "deliveries_endpoint (endpoint=?"},
		"deliveries, event":     {deliveries(store.DeliveryQuery{Paging: one, Event: "e"}), "deliveries_event (event=?"},
		"all deliveries":        {deliveries(store.DeliveryQuery{Paging: everybody}), "deliveries_created"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Config{Path: filepath.Join(t.TempDir(), "purser.db")})
			c := <-s.views
			defer func() { s.views <- c }()
			if err := test.list(&reader{c}); err != nil {
				t.Fatal(err)
			}
			for text := range c.lists {
				if got := plan(t, c, text); scans(got) || !strings.Contains(got, test.index) {
					t.Errorf("%s:\ngot plan %q, want %s", text, got, test.index)
				}
			}
		})
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("", byte(paymentList))
	f.Add(place{1772366400000, 1}.cursor(paymentList), byte(paymentList))
	f.Add(place{-1, 1 << 62}.cursor(eventList), byte(eventList))
	f.Fuzz(func(t *testing.T, s string, list byte) {
		p, err := parseCursor(list, s)
		if err != nil {
			return
		}
		if got := p.cursor(list); got != s {
			t.Errorf("got cursor %q again, want %q", got, s)
		}
	})
}
