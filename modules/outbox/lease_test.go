package outbox

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// What the gateway cannot sign is its own fault: it counts neither as a try nor
// against the endpoint.
func TestUnreadableSecret(t *testing.T) {
	r := newRig(t)
	m := r.serve(nil)
	e, _ := r.add("mer_a", m.URL, func(e *payment.Endpoint) { e.Secrets[0].Sealed[20] ^= 1 })
	r.emit("mer_a", 1)
	o := r.Outbox
	items, err := r.store.Lease(t.Context(), store.Outbound, started, 1, hold)
	if err != nil {
		t.Fatal(err)
	}
	j := job{item: items[0], endpoint: e.ID, leased: started}
	j.event, _, _ = store.CutOutboundID(items[0].ID)
	if tried := o.attempt(t.Context(), j); tried != nil {
		t.Error("it was tried")
	}
	if due, _ := r.due(); !due.Equal(started.Add(retryOwn)) {
		t.Errorf("queue: got %v, want %v", due, started.Add(retryOwn))
	}
	items, err = r.store.Lease(t.Context(), store.Outbound, started.Add(retryOwn), 1, hold)
	if err != nil || len(items) != 1 || items[0].Tries != 1 {
		t.Errorf("got %+v, %v; want the item, handed out for the first time", items, err)
	}
	if len(m.all()) != 0 || len(r.log(e.ID)) != 0 || !r.endpoint(e.ID).FailingSince.IsZero() {
		t.Error("the endpoint was blamed")
	}
	if !strings.Contains(r.logs.String(), "cannot be tried") {
		t.Errorf("log: got %s", r.logs)
	}
}

// Another process takes over what a dead one had leased, once the lease is over.
func TestLeaseTakeover(t *testing.T) {
	r := newRig(t)
	m := r.serve(nil)
	r.add("mer_a", m.URL)
	event := r.emit("mer_a", 1)[0]
	// The one that dies leases and does no more.
	if items, err := r.store.Lease(t.Context(), store.Outbound, started, 1, hold); err != nil || len(items) != 1 {
		t.Fatalf("lease: got %v, %v", items, err)
	}
	r.run(r.Outbox)
	r.clock.add(hold - time.Millisecond)
	other := r.emit("mer_a", 1)[0]
	r.Wake()
	r.heard.until(t, "the other event", func() bool { return r.heard.tried[Delivered] == 1 })
	if got := m.all()[0].header.Get("Webhook-Id"); got != other.ID {
		t.Errorf("before the end of the lease: got %s, want %s", got, other.ID)
	}
	r.clock.add(time.Millisecond)
	r.Wake()
	r.heard.until(t, "the first event", func() bool { return r.heard.tried[Delivered] == 2 })
	if got := m.all()[1].header.Get("Webhook-Id"); got != event.ID {
		t.Errorf("after the lease: got %s, want %s", got, event.ID)
	}
}

// A process that is stopped in the middle of a delivery leaves the event in the
// queue; another one delivers it. The merchant may see it twice, and never not
// at all.
func TestStoppedInMidDelivery(t *testing.T) {
	r := newRig(t)
	arrived := make(chan struct{}, 8)
	var m *merchant
	m = r.serve(func(_ http.ResponseWriter, req *http.Request) {
		arrived <- struct{}{}
		if len(m.all()) == 1 {
			<-req.Context().Done()
		}
	})
	e, _ := r.add("mer_a", m.URL)
	event := r.emit("mer_a", 1)[0]
	work, kill := context.WithCancel(t.Context())
	items, err := r.store.Lease(t.Context(), store.Outbound, started, 1, hold)
	if err != nil {
		t.Fatal(err)
	}
	r.admit(work, items)
	<-arrived
	kill()
	r.wg.Wait()
	if got := len(r.log(e.ID)); got != 0 {
		t.Errorf("log: got %d lines of a try without an end, want none", got)
	}
	r.run(r.another())
	r.heard.until(t, "delivered", func() bool { return r.heard.tried[Delivered] == 1 })
	got := m.all()
	if len(got) != 2 || got[0].header.Get("Webhook-Id") != event.ID || got[1].header.Get("Webhook-Id") != event.ID {
		t.Errorf("got %d requests, want the same event twice", len(got))
	}
	if d := r.log(e.ID); len(d) != 1 || d[0].Try != 1 {
		t.Errorf("log: got %+v, want one first try", d)
	}
}

// The answer to a try whose lease is over does not bring an item back to life
// that another process has delivered.
func TestLateFailure(t *testing.T) {
	r := newRig(t)
	var late bool
	m := r.serve(func(w http.ResponseWriter, _ *http.Request) {
		if late {
			return
		}
		late = true
		r.clock.add(hold)
		if _, err := r.store.Lease(t.Context(), store.Outbound, r.clock.Now(), 1, hold); err != nil {
			t.Error(err)
		}
		if err := r.store.Update(t.Context(), func(tx store.Tx) error {
			items, err := tx.Endpoints("mer_a", payment.Test)
			if err != nil {
				return err
			}
			events, err := tx.Events(store.EventQuery{Paging: store.Paging{Merchant: "mer_a", Mode: payment.Test, Limit: 1}})
			if err != nil {
				return err
			}
			return tx.Dequeue(store.Outbound, store.OutboundID(events.Data[0].ID, items[0].ID))
		}); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	e, _ := r.add("mer_a", m.URL)
	r.emit("mer_a", 1)
	r.run(r.Outbox)
	r.heard.until(t, "failed", func() bool { return r.heard.tried[Rejected] == 1 })
	if due, queued := r.due(); queued {
		t.Errorf("it is in the queue again, due %v", due)
	}
	if got := len(r.log(e.ID)); got != 1 {
		t.Errorf("log: got %d lines, want 1", got)
	}
}

// What is held against an endpoint ends when the merchant gives it another URL,
// or enables it again, and with it what was put off.
func TestRenewal(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(e *payment.Endpoint, good string)
	}{
		{"another URL", func(e *payment.Endpoint, good string) { e.URL = good }},
		{"enabled again", func(e *payment.Endpoint, _ string) { e.FailingSince = time.Time{} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			var healthy atomic.Bool
			m := r.serve(func(w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/" && !healthy.Load() {
					w.WriteHeader(http.StatusInternalServerError)
				}
			})
			e, _ := r.add("mer_a", m.URL+"/")
			r.run(r.Outbox)
			for n := 1; n <= holdAfter; n++ {
				r.emit("mer_a", 1)
				r.Wake()
				r.heard.until(t, "failed", func() bool { return r.heard.tried[Rejected] == n })
			}
			healthy.Store(true)
			r.change(e.ID, func(e *payment.Endpoint) { test.change(e, m.URL+"/good") })
			r.emit("mer_a", 1)
			r.Wake()
			r.heard.until(t, "delivered", func() bool { return r.heard.tried[Delivered] == 1 })
		})
	}
}

// Run gives back what waits, and ends.
func TestStop(t *testing.T) {
	r := newRig(t, func(c *Config, _ *ClientConfig) { c.Concurrency = 1 })
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	m := r.serve(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	})
	e, _ := r.add("mer_a", m.URL)
	r.emit("mer_a", 3)
	stop := r.run(r.Outbox)
	<-arrived
	go func() { close(release) }()
	stop()
	if due, queued := r.due(); !queued || due.After(started) {
		t.Errorf("queue: got %v %v, want what waited, due now", due, queued)
	}
	if got := r.log(e.ID); len(got) != 1 || !got[0].Delivered {
		t.Errorf("log: got %+v, want the one that was under way", got)
	}
	items, err := r.store.Lease(t.Context(), store.Outbound, started, 10, hold)
	if err != nil || len(items) != 2 || items[0].Tries != 1 || items[1].Tries != 1 {
		t.Errorf("got %+v, %v; want two items that were never tried", items, err)
	}
}
