package storetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

func (b *bench) endpoint(merchant string, mode payment.Mode, types ...payment.EventType) payment.Endpoint {
	now := b.tick()
	return payment.Endpoint{
		ID: b.ids.New(payment.PrefixEndpoint), Merchant: merchant, Mode: mode, Version: 1,
		URL: "https://shop.example/hook?a=<1&2>", Types: types, Metadata: map[string]string{"team": "till"},
		Status: payment.EndpointEnabled, CreatedAt: now, UpdatedAt: now,
		Secrets: []payment.EndpointSecret{
			{Sealed: []byte{0, 1, 255}, CreatedAt: now},
			{Sealed: []byte{7}, CreatedAt: now.Add(-time.Hour), ExpiresAt: now.Add(time.Hour)},
		},
	}
}

func (b *bench) putEndpoint(e *payment.Endpoint) func(store.Tx) error {
	return func(tx store.Tx) error { return tx.PutEndpoint(e) }
}

func endpointIDs(rows []payment.Endpoint) []string {
	var ids []string
	for i := range rows {
		ids = append(ids, rows[i].ID)
	}
	return ids
}

func testEndpoints(t *testing.T, b *bench) {
	read := func(id string) func(store.Reader) (payment.Endpoint, error) {
		return func(r store.Reader) (payment.Endpoint, error) { return r.Endpoint(id) }
	}
	first := b.endpoint("mer_a", payment.Test, payment.EventPaymentFailed, payment.EventRefundFailed)
	second, live, other := b.endpoint("mer_a", payment.Test), b.endpoint("mer_a", payment.Live), b.endpoint("mer_b", payment.Test)
	for _, e := range []*payment.Endpoint{&live, &second, &other, &first} {
		b.update(t, b.putEndpoint(e))
	}
	equal(t, "endpoint", must(t, b, read(first.ID)), first)
	_, err := get(t, b, read("we_unknown"))
	wantError(t, "unknown endpoint", err, store.ErrNotFound)

	for _, q := range []struct {
		merchant string
		mode     payment.Mode
		want     []string
	}{
		{"mer_a", payment.Test, []string{first.ID, second.ID}},
		{"mer_a", payment.Live, []string{live.ID}},
		{"mer_b", payment.Live, nil},
		{"", payment.Test, []string{first.ID, second.ID, other.ID}},
		{"", "", []string{first.ID, second.ID, live.ID, other.ID}},
	} {
		rows := must(t, b, func(r store.Reader) ([]payment.Endpoint, error) { return r.Endpoints(q.merchant, q.mode) })
		equal(t, fmt.Sprintf("endpoints of %q %q", q.merchant, q.mode), endpointIDs(rows), q.want)
	}
	both := must(t, b, func(r store.Reader) ([]payment.Endpoint, error) { return r.Endpoints("mer_a", "") })
	if got, want := len(both), 3; got != want {
		t.Errorf("endpoints of mer_a in both modes: got %d, want %d", got, want)
	}

	wantError(t, "put version 1 again", b.Update(t.Context(), b.putEndpoint(&first)), store.ErrConflict)
	stale := first
	first.Version, first.Status, first.Reason, first.FailingSince = 2, payment.EndpointPaused, "it fails", start
	b.update(t, b.putEndpoint(&first))
	equal(t, "paused", must(t, b, read(first.ID)), first)
	stale.Version = 2
	wantError(t, "put a stale one", b.Update(t.Context(), b.putEndpoint(&stale)), store.ErrConflict)

	b.update(t, func(tx store.Tx) error { return tx.DeleteEndpoint(first.ID) })
	_, err = get(t, b, read(first.ID))
	wantError(t, "deleted endpoint", err, store.ErrNotFound)
	wantError(t, "delete it again", b.Update(t.Context(), func(tx store.Tx) error { return tx.DeleteEndpoint(first.ID) }), store.ErrNotFound)
}

// testFanOut: an event is queued for exactly those who want it, in its own
// transaction.
func testFanOut(t *testing.T, b *bench) {
	wanting := func(status payment.EndpointStatus, merchant string, mode payment.Mode, types ...payment.EventType) string {
		e := b.endpoint(merchant, mode, types...)
		e.Status = status
		b.update(t, b.putEndpoint(&e))
		return e.ID
	}
	all := wanting(payment.EndpointEnabled, "mer_a", payment.Test)
	some := wanting(payment.EndpointEnabled, "mer_a", payment.Test, payment.EventRefundFailed, payment.EventPaymentFailed)
	wanting(payment.EndpointEnabled, "mer_a", payment.Test, payment.EventPaymentSucceeded)
	wanting(payment.EndpointEnabled, "mer_a", payment.Live)
	wanting(payment.EndpointEnabled, "mer_b", payment.Test)
	wanting(payment.EndpointPaused, "mer_a", payment.Test)
	wanting(payment.EndpointDisabled, "mer_a", payment.Test)

	p := b.payment("mer_a", payment.Test)
	e := b.event(&p, payment.EventPaymentFailed)
	e.CreatedAt = e.CreatedAt.Add(123 * time.Millisecond)
	gone := b.event(&p, payment.EventPaymentFailed)
	wantError(t, "event that is rolled back", b.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.PutEvent(gone); err != nil {
			return err
		}
		return store.ErrNotFound
	}), store.ErrNotFound)
	b.update(t, func(tx store.Tx) error { return tx.PutEvent(e) })

	equal(t, "too early", b.lease(t, store.Outbound, e.CreatedAt.Add(-time.Millisecond), 10), []store.Item(nil))
	items := b.lease(t, store.Outbound, e.CreatedAt, 10)
	got := itemIDs(items)
	slices.Sort(got)
	want := []string{store.OutboundID(e.ID, all), store.OutboundID(e.ID, some)}
	slices.Sort(want)
	equal(t, "queued", got, want)
	for _, i := range items {
		if i.Tries != 1 || len(i.Payload) != 0 {
			t.Errorf("item %s: got %d tries and a payload of %d bytes, want 1 and none", i.ID, i.Tries, len(i.Payload))
		}
	}
	narrow := b.event(&p, payment.EventPaymentCanceled)
	b.update(t, func(tx store.Tx) error { return tx.PutEvent(narrow) })
	equal(t, "only who wants all", itemIDs(b.lease(t, store.Outbound, narrow.CreatedAt, 10)), []string{store.OutboundID(narrow.ID, all)})
}

// testEndpointRace: of writers who read the same version one wins each time.
func testEndpointRace(t *testing.T, b *bench) {
	e := b.endpoint("mer_a", payment.Test)
	b.update(t, b.putEndpoint(&e))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				err := b.Update(t.Context(), func(tx store.Tx) error {
					now, err := tx.Endpoint(e.ID)
					if err != nil {
						return err
					}
					now.Version++
					now.Description += "x"
					return tx.PutEndpoint(&now)
				})
				if err == nil {
					return
				}
				if t.Context().Err() != nil {
					t.Error("the writers do not come to an end")
					return
				}
			}
		})
	}
	wg.Wait()
	got := must(t, b, func(r store.Reader) (payment.Endpoint, error) { return r.Endpoint(e.ID) })
	if got.Version != 9 || got.Description != "xxxxxxxx" {
		t.Errorf("got version %d and %q, want 9 and 8 times x", got.Version, got.Description)
	}
}

func testDeliveries(t *testing.T, b *bench) {
	var all []payment.Delivery
	for i := range 12 {
		d := payment.Delivery{
			ID: b.ids.New(payment.PrefixDelivery), Merchant: []string{"mer_a", "mer_b"}[i%2], Mode: payment.Test,
			Endpoint: fmt.Sprint("we_", i%3), Event: fmt.Sprint("evt_", i%4), Type: payment.EventPaymentSucceeded,
			Try: i + 1, Delivered: i%2 == 0, Status: 200 + i, Error: []string{"", "timeout"}[i%2],
			CreatedAt: b.tick(), Took: time.Duration(i) * time.Millisecond,
		}
		if i%2 == 1 {
			d.Next = b.now.Add(time.Hour)
		}
		b.update(t, func(tx store.Tx) error { return tx.PutDelivery(d) })
		all = append(all, d)
	}
	again := all[0]
	wantError(t, "taken ID", b.Update(t.Context(), func(tx store.Tx) error { return tx.PutDelivery(again) }), store.ErrConflict)
	slices.Reverse(all)
	for _, q := range []store.DeliveryQuery{
		{},
		{Endpoint: "we_1"},
		{Event: "evt_2"},
		{Endpoint: "we_1", Event: "evt_0"},
		{Endpoint: "we_unknown"},
		{Paging: store.Paging{Merchant: "mer_a", Mode: payment.Test}},
		{Paging: store.Paging{Merchant: "mer_a", Mode: payment.Test}, Event: "evt_2"},
		{Paging: store.Paging{Merchant: "mer_a", Mode: payment.Live}},
	} {
		var want []payment.Delivery
		for i := range all {
			d := &all[i]
			if inside(q.Paging, d.Merchant, d.Mode, d.CreatedAt) && (q.Endpoint == "" || q.Endpoint == d.Endpoint) &&
				(q.Event == "" || q.Event == d.Event) {
				want = append(want, *d)
			}
		}
		paging := q.Paging
		paging.Limit = 2
		got := walk(t, b, paging, func(r store.Reader, p store.Paging) (store.Page[payment.Delivery], error) {
			q.Paging = p
			return r.Deliveries(q)
		})
		equal(t, fmt.Sprintf("%+v", q), got, want)
	}
}
