package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// tap sees what is sent: it counts round trips, and keeps the statements.
type tap struct {
	mu    sync.Mutex
	trips int
	sql   []string
}

func (p *tap) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trips++
	p.sql = append(p.sql, d.SQL)
	return ctx
}
func (*tap) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (p *tap) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trips++
	return ctx
}

func (p *tap) TraceBatchQuery(_ context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sql = append(p.sql, d.SQL)
}
func (*tap) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// take returns what was seen since the last call.
func (p *tap) take() (trips int, sql []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	trips, sql = p.trips, p.sql
	p.trips, p.sql = 0, nil
	return trips, sql
}

// TestRoundTrips counts what each kind of transaction costs.
func TestRoundTrips(t *testing.T) {
	seen := &tap{}
	s := open(t, Config{DSN: schema(t), tracer: seen, Conns: 1})
	now := time.Now()
	key := store.IdempotencyKey{KeyScope: store.KeyScope{Merchant: "mer_a", Mode: payment.Test}, Expires: now.Add(time.Hour)}
	update := func(fn func(store.Tx) error) func(int) error {
		return func(int) error { return s.Update(t.Context(), fn) }
	}
	intent := func(i int, frozen bool) error {
		id := fmt.Sprint("pay_", i, frozen)
		k := key
		k.Key = id
		return s.Update(t.Context(), func(tx store.Tx) error {
			_, _, err := tx.ClaimKey(k, now)
			if frozen {
				_, missing := tx.Setting("frozen")
				err = errors.Join(err, ignore(missing, store.ErrNotFound))
			}
			return errors.Join(err, tx.PutRef(store.Ref{Account: "a", Reference: id, Payment: id, Attempt: id}), put(id)(tx),
				tx.PutEvent(payment.Event{ID: "evt" + id}), tx.Enqueue(store.Recover, store.Item{ID: id, Due: now}))
		})
	}
	for _, test := range []struct {
		name string
		call func(i int) error
		want int
	}{
		{"an intent", func(i int) error { return intent(i, true) }, 2},
		{"an intent that reads nothing", func(i int) error { return intent(i, false) }, 2},
		{"a settlement", func(i int) error {
			id := fmt.Sprint("pay_", i, true)
			return s.Update(t.Context(), func(tx store.Tx) error {
				p, err := tx.Payment(id)
				if err != nil {
					return err
				}
				p.Version++
				k := key
				k.Key = id
				return errors.Join(tx.PutRef(store.Ref{Account: "a", Reference: "psp" + id}), tx.PutPayment(&p),
					tx.PutEvent(payment.Event{ID: "evt2" + id}), tx.PutKey(k), tx.Dequeue(store.Recover, id))
			})
		}, 2},
		{"nothing", update(func(store.Tx) error { return nil }), 0},
		{"a look", update(func(tx store.Tx) error { _, err := tx.Payment("pay_0 true"); return err }), 2}, // the second rolls back
		{"a view", func(int) error {
			return s.View(t.Context(), func(r store.Reader) error { _, err := r.Payment("pay_0 true"); return err })
		}, 2},
		{"a nonce", func(i int) error {
			return s.SpendNonce(t.Context(), store.Nonce{Value: fmt.Sprint(i), Expires: now.Add(time.Hour)}, now)
		}, 1},
		{"a counter", update(func(tx store.Tx) error {
			_, err := tx.AddToCounter(store.Addition{Counter: "c", Delta: 1, Limit: 9, Expires: now.Add(time.Hour)}, now)
			return err
		}), 2},
		{"a lease", func(int) error { _, err := s.Lease(t.Context(), store.Inbound, now, 1, 0); return err }, 1},
	} {
		for i := range 2 { // the first one prepares
			seen.take()
			if err := test.call(i); err != nil {
				t.Fatalf("%s: got error %v, want none", test.name, err)
			}
			c, err := s.pool.Acquire(t.Context()) // it is the only one, and is back when a view has ended
			if err != nil {
				t.Fatal(err)
			}
			c.Release()
		}
		if got, sql := seen.take(); got != test.want {
			t.Errorf("%s: got %d round trips, want %d: %q", test.name, got, test.want, sql)
		}
	}
}

// planner explains statements as the server runs them for any arguments.
type planner struct{ c *pgx.Conn }

func newPlanner(t *testing.T, dsn DSN) planner {
	t.Helper()
	c, err := pgx.Connect(t.Context(), string(dsn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.WithoutCancel(t.Context())) })
	p := planner{c}
	p.exec(t, "SET plan_cache_mode = force_generic_plan")
	return p
}

func (p planner) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := p.c.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

var parameter = regexp.MustCompile(`\$\d+`)

func (p planner) plan(t *testing.T, sql string) string {
	t.Helper()
	highest := 0
	for _, name := range parameter.FindAllString(sql, -1) {
		var n int
		fmt.Sscanf(name, "$%d", &n)
		highest = max(highest, n)
	}
	p.exec(t, "PREPARE one AS "+sql)
	defer p.exec(t, "DEALLOCATE one")
	call := "EXECUTE one"
	if highest > 0 {
		call += "(NULL" + strings.Repeat(", NULL", highest-1) + ")"
	}
	rows, err := p.c.Query(t.Context(), "EXPLAIN (COSTS off) "+call, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(lines, "\n")
}

// fill makes tables so large that the planner takes an index where it can.
func (p planner) fill(t *testing.T) {
	t.Helper()
	const n = "generate_series(1, 6000) AS i"
	owner := "'mer_' || i % 20, CASE WHEN i % 2 = 0 THEN 'test' ELSE 'live' END"
	created := "timestamptz '2026-01-01' + i * interval '1 s'"
	for _, sql := range []string{
		"INSERT INTO payments (id, merchant, mode, version, status, outcome, reference, account, active, created, data) SELECT 'pay_' || i, " + owner +
			", 1, 'st' || i % 5, CASE WHEN i % 500 = 0 THEN 'unknown' ELSE 'known' END, CASE WHEN i % 2 = 0 THEN '' ELSE 'r' || i END, 'acc' || i % 3, i % 2 = 0, " + created + ", '{}' FROM " + n,
		"INSERT INTO refunds (id, payment, merchant, mode, status, outcome, created) SELECT 're_' || i, 'pay_' || i, " + owner +
			", 'st' || i % 5, CASE WHEN i % 500 = 0 THEN 'unknown' ELSE 'known' END, " + created + " FROM " + n,
		"INSERT INTO events (id, type, merchant, mode, payment, sequence, created) SELECT 'evt_' || i, 'ty' || i % 10, " + owner + ",  'pay_' || i, 1, " + created + " FROM " + n,
		"INSERT INTO deliveries (id, merchant, mode, endpoint, event, type, try, delivered, status, error, took, created) SELECT 'whd_' || i, " + owner +
			", 'we_' || i % 20, 'evt_' || i, 't', 1, true, 200, '', 0, " + created + " FROM " + n,
		"INSERT INTO queue (queue, id, due, tries) SELECT 'q' || i % 4, i::text, " + created + ", 0 FROM " + n,
		"INSERT INTO idempotency_keys SELECT " + owner + ", i::text, '', '', '', " + created + ", 0, 0, '', NULL, " + created + " FROM " + n,
		"INSERT INTO refs SELECT 'acc' || i % 3, i::text, '', '' FROM " + n,
		"INSERT INTO holdings SELECT 'pay_' || i, 'acc' || i % 100 FROM " + n,
		"INSERT INTO merchants SELECT 'mer_' || i, " + created + ", '{}' FROM " + n,
		"INSERT INTO nonces SELECT decode(md5(i::text), 'hex'), " + created + ", 0 FROM " + n,
		"INSERT INTO counters SELECT 'counter_' || i, 0, " + created + " FROM " + n,
		"INSERT INTO token_revocations SELECT 'https://idp.example', 'jti', 'token_' || i, " + created + " FROM " + n,
		"INSERT INTO api_keys SELECT 'key_' || i, 'mer_' || i, " + created + ", decode(repeat('00', 32), 'hex'), '{}' FROM " + n,
		"INSERT INTO endpoints SELECT 'we_' || i, 'mer_' || i / 4, 'test', 1, true, '{}', " + created + ", '{}' FROM " + n,
		"INSERT INTO settings SELECT i::text, '' FROM " + n,
		"ANALYZE",
	} {
		p.exec(t, sql)
	}
}

// everything runs each statement that the store has, but for lists.
func everything(t *testing.T, s *Store) {
	t.Helper()
	now := time.Now()
	p, e := a("pay_x", 1), payment.Endpoint{ID: "we_x", Version: 1, CreatedAt: now}
	p.Attempts = []payment.Attempt{{ID: "att_1", Account: "one"}, {ID: "att_2", Account: "two"}}
	p.Refunds, p.Charge = []payment.Refund{{ID: "re_x"}}, "att_2"
	second, secondE := *p, e
	second.Version, secondE.Version = 2, 2
	key := store.IdempotencyKey{KeyScope: store.KeyScope{Merchant: "m", Mode: payment.Test, Key: "k"}, Expires: now}
	read := func(r store.Reader) error {
		var errs []error
		note := func(_ any, err error) { errs = append(errs, ignore(err, store.ErrNotFound)) }
		note(r.Payment("x"))
		note(r.RefundPayment("x"))
		note(r.Ref("a", "r"))
		note(r.Key(key.KeyScope))
		note(r.Event("x"))
		note(r.Endpoint("x"))
		note(r.Endpoints("m", ""))
		note(r.Endpoints("", ""))
		note(r.Merchant("x"))
		note(r.Merchants())
		note(r.MerchantsByID([]string{"x", "y"}))
		note(r.APIKey("x"))
		note(r.APIKeysByID([]string{"x", "y"}))
		note(r.APIKeys("m"))
		note(r.APIKeys(""))
		note(r.TokenRevocation(access.TokenSelector{Issuer: "i", Claim: access.ByTokenID, Value: "x"}))
		note(r.TokenRevocations())
		note(r.Setting("x"))
		note(r.Unresolved())
		note(r.Active("a"))
		return errors.Join(errs...)
	}
	undone := errors.New("undone")
	write := func(tx store.Tx) error {
		_, _, err := tx.ClaimKey(key, now)
		_, full := tx.AddToCounter(store.Addition{Counter: "c", Delta: 1, Limit: 1, Expires: now}, now)
		err = errors.Join(err, full, tx.PutNonce(store.Nonce{Value: "x", Expires: now.Add(time.Hour)}, now), tx.UseAPIKey("k", now), tx.PutPayment(p), tx.PutPayment(&second), tx.PutRef(store.Ref{}), tx.PutKey(key),
			tx.PutEvent(payment.Event{ID: "evt_x"}), tx.PutEndpoint(&e), tx.PutEndpoint(&secondE), tx.DeleteEndpoint(e.ID),
			tx.PutDelivery(payment.Delivery{ID: "whd_x"}), tx.Enqueue(store.Recover, store.Item{ID: "x"}), tx.Dequeue(store.Recover, "x"),
			tx.Return(store.Recover, store.Item{ID: "x"}, nil), tx.Return(store.Recover, store.Item{ID: "x"}, &store.Item{ID: "x"}),
			tx.PutMerchant(access.Merchant{ID: "m"}), tx.PutAPIKey(access.Key{ID: "k"}),
			tx.PutTokenRevocation(access.TokenRevocation{RevokedAt: now}), tx.PutSetting("x", ""), tx.DeleteKey(key), read(tx))
		if err != nil {
			return err
		}
		return undone
	}
	if err := s.View(t.Context(), read); err != nil {
		t.Error(err)
	}
	for how, want := range map[mode]error{bold: errDoubted, careful: undone} {
		if err := s.run(t.Context(), how, new(bool), write); !errors.Is(err, want) {
			t.Errorf("mode %d: got error %v, want %v", how, err, want)
		}
	}
	_, _, err := s.Due(t.Context(), store.Recover)
	_, leaseErr := s.Lease(t.Context(), store.Recover, now, 1, 0)
	_, sweepErr := s.Sweep(t.Context(), time.Time{}, 10)
	spendErr := s.SpendNonce(t.Context(), store.Nonce{Value: "x", Expires: now.Add(time.Hour)}, now)
	if err := errors.Join(err, leaseErr, sweepErr, spendErr, s.Ping(t.Context())); err != nil {
		t.Error(err)
	}
}

// TestStatementPlans keeps every statement on an index. Merchants, keys and
// endpoints of all are few, and listed whole; the heartbeat is one row.
func TestStatementPlans(t *testing.T) {
	seen := &tap{}
	dsn := schema(t)
	s := open(t, Config{DSN: dsn, tracer: seen, patience: calm})
	p := newPlanner(t, dsn)
	p.fill(t)
	everything(t, s)
	whole := map[string]bool{qMerchants: true, qAllAccessKeys: true, qAllEndpoints: true, qBeat: true}
	_, sql := seen.take()
	checked := map[string]bool{}
	for _, text := range sql {
		verb, _, _ := strings.Cut(strings.TrimSpace(text), " ")
		if checked[text] || !strings.Contains("SELECT WITH INSERT UPDATE DELETE", verb) {
			continue
		}
		checked[text] = true
		got := p.plan(t, text)
		if scans := strings.Contains(got, "Seq Scan"); scans != whole[text] {
			t.Errorf("%s:\ngot plan\n%s\nwant an index %v", text, got, !whole[text])
		}
	}
	if len(checked) < 50 {
		t.Errorf("checked %d statements, want all", len(checked))
	}
}

// TestListPlans keeps the lists on the index that is meant for them, in its
// order: what a merchant can ask, and what operators ask for all merchants.
func TestListPlans(t *testing.T) {
	seen := &tap{}
	dsn := schema(t)
	s := open(t, Config{DSN: dsn, tracer: seen, patience: calm})
	p := newPlanner(t, dsn)
	p.fill(t)
	now := time.Now()
	one := store.Paging{Merchant: "mer_1", Mode: payment.Test, Limit: 10}
	ranged := one
	ranged.CreatedAfter, ranged.CreatedBefore = now.Add(-time.Hour), now
	ranged.Cursor = place{now.UnixMilli(), 7}.cursor(paymentList)
	both := store.Paging{Merchant: "mer_1", Limit: 10}
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
		"payments":               {payments(store.PaymentQuery{Paging: one}), "payments_merchant"},
		"payments, range":        {payments(store.PaymentQuery{Paging: ranged}), "payments_merchant"},
		"payments, both modes":   {payments(store.PaymentQuery{Paging: both}), "payments_merchant"},
		"payments, status":       {payments(store.PaymentQuery{Paging: one, Status: payment.Failed}), "payments_status"},
		"payments, status range": {payments(store.PaymentQuery{Paging: ranged, Status: payment.Failed}), "payments_status"},
		"payments, unknown":      {payments(store.PaymentQuery{Paging: one, Outcome: payment.Unknown}), "payments_doubt"},
		"payments, known":        {payments(store.PaymentQuery{Paging: one, Outcome: payment.Known}), "payments_merchant"},
		"payments, reference":    {payments(store.PaymentQuery{Paging: one, Reference: "r"}), "payments_reference"},
		"all payments":           {payments(store.PaymentQuery{Paging: everybody}), "payments_created"},
		"all payments, unknown":  {payments(store.PaymentQuery{Paging: everybody, Outcome: payment.Unknown}), "payments_doubt"},
		"refunds":                {refunds(store.RefundQuery{Paging: one}), "refunds_merchant"},
		"refunds, status":        {refunds(store.RefundQuery{Paging: one, Status: payment.RefundFailed}), "refunds_status"},
		"refunds, unknown":       {refunds(store.RefundQuery{Paging: one, Outcome: payment.Unknown}), "refunds_doubt"},
		"refunds, payment":       {refunds(store.RefundQuery{Paging: one, Payment: "p"}), "refunds_payment"},
		"all refunds":            {refunds(store.RefundQuery{Paging: everybody}), "refunds_created"},
		"events":                 {events(store.EventQuery{Paging: one}), "events_merchant"},
		"events, type":           {events(store.EventQuery{Paging: one, Type: payment.EventRefundFailed}), "events_type"},
		"events, payment":        {events(store.EventQuery{Paging: one, Payment: "p"}), "events_payment"},
		"all events":             {events(store.EventQuery{Paging: everybody}), "events_created"},
		"deliveries, endpoint":   {deliveries(store.DeliveryQuery{Paging: one, Endpoint: "w"}), "deliveries_endpoint"},
		"deliveries, event":      {deliveries(store.DeliveryQuery{Paging: one, Event: "e"}), "deliveries_event"},
		"all deliveries":         {deliveries(store.DeliveryQuery{Paging: everybody}), "deliveries_created"},
	} {
		t.Run(name, func(t *testing.T) {
			seen.take()
			if err := s.View(t.Context(), test.list); err != nil {
				t.Fatal(err)
			}
			_, sql := seen.take()
			checked := false
			for _, text := range sql {
				if !strings.Contains(text, " LIMIT 11") {
					continue
				}
				checked = true
				got := p.plan(t, text)
				sorts := strings.Contains(got, "Sort\n") && !strings.HasSuffix(test.index, "_doubt") // which are few
				if strings.Contains(got, "Seq Scan") || sorts || !strings.Contains(got, test.index) {
					t.Errorf("%s:\ngot plan\n%s\nwant %s in its order", text, got, test.index)
				}
			}
			if !checked {
				t.Errorf("got no list among %q", sql)
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
