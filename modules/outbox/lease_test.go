package outbox

import (
	"context"
	"encoding/json"
	"fmt"
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
	if err != nil || len(items) != 1 || past(items[0]) != (history{}) {
		t.Errorf("got %+v, %v; want the item, never tried", items, err)
	}
	if len(m.all()) != 0 || len(r.log(e.ID)) != 0 || !r.endpoint(e.ID).FailingSince.IsZero() {
		t.Error("the endpoint was blamed")
	}
	if !strings.Contains(r.logs.String(), "cannot be tried") {
		t.Errorf("log: got %s", r.logs)
	}
}

// That the store was away for a moment costs an event a moment, and is no try.
func TestStoreAway(t *testing.T) {
	r := newRig(t)
	m := r.serve(nil)
	e, _ := r.add("mer_a", m.URL)
	r.emit("mer_a", 1)
	away := &awayOnce{Store: r.store, back: make(chan struct{}, 8)}
	r.run(r.another(func(c *Config, _ *ClientConfig) { c.Store = away }))
	<-away.back
	if due, _ := r.due(); !due.Equal(started.Add(retryStore)) {
		t.Fatalf("queue: got %v, want %v", due, started.Add(retryStore))
	}
	if len(m.all()) != 0 || len(r.log(e.ID)) != 0 {
		t.Error("it was tried while the store was away")
	}
	r.clock.add(retryStore)
	r.heard.until(t, "delivered", func() bool { return r.heard.tried[Delivered] == 1 })
	if d := r.log(e.ID); len(d) != 1 || d[0].Try != 1 {
		t.Errorf("log: got %+v, want one first try", d)
	}
}

// awayOnce is a store whose first view fails; back hears of its updates.
type awayOnce struct {
	store.Store
	was  atomic.Bool
	back chan struct{}
}

func (s *awayOnce) Update(ctx context.Context, fn func(store.Tx) error) error {
	defer nudge(s.back)
	return s.Store.Update(ctx, fn)
}

func (s *awayOnce) View(ctx context.Context, fn func(store.Reader) error) error {
	if !s.was.Swap(true) {
		return fmt.Errorf("a test: %w", store.ErrUnavailable)
	}
	return s.Store.View(ctx, fn)
}

// Processes that die with an event in their hands do not make its next try a
// later one: the delays follow the tries that are in the log.
func TestDeathsAreNoTries(t *testing.T) {
	r := newRig(t)
	m := r.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	e, _ := r.add("mer_a", m.URL)
	r.emit("mer_a", 1)
	for try := 1; try <= 2; try++ {
		for range 3 {
			items, err := r.store.Lease(t.Context(), store.Outbound, r.clock.Now(), 1, hold)
			if err != nil || len(items) != 1 {
				t.Fatalf("lease: got %v, %v", items, err)
			}
			r.clock.add(hold)
		}
		stop := r.run(r.another())
		r.heard.until(t, "failed", func() bool { return r.heard.tried[Rejected] == try })
		stop()
		d := r.log(e.ID)
		if len(d) != try || d[try-1].Try != try || !d[try-1].Next.Equal(r.clock.Now().Add(Delays[try-1])) {
			t.Fatalf("log: got %+v, want try %d, and the next after %v", d, try, Delays[try-1])
		}
		r.clock.add(Delays[try-1])
	}
}

// A resend that comes while a try is under way is a try of its own, however that ends.
func TestResendDuringTry(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before int // tries in the log
		status int
	}{
		{"the try fails", 9, http.StatusInternalServerError},
		{"the last try fails", len(Delays), http.StatusInternalServerError},
		{"the try succeeds", 0, http.StatusOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			var event payment.Event
			var resent atomic.Bool
			m := r.serve(func(w http.ResponseWriter, _ *http.Request) {
				if resent.Swap(true) {
					return
				}
				r.update(func(tx store.Tx) error {
					_, err := store.Resend(tx, &event, "", r.clock.Now())
					return err
				})
				w.WriteHeader(tt.status)
			})
			e, _ := r.add("mer_a", m.URL)
			event = r.emit("mer_a", 1)[0]
			payload, err := json.Marshal(history{Since: started.Add(-time.Hour), Tries: tt.before})
			if err != nil {
				t.Fatal(err)
			}
			r.update(func(tx store.Tx) error {
				return tx.Enqueue(store.Outbound, store.Item{ID: store.OutboundID(event.ID, e.ID), Due: started, Payload: payload})
			})
			r.run(r.Outbox)
			r.heard.until(t, "the resend", func() bool {
				r.Wake()
				return len(m.all()) == 2 && r.heard.tried[Delivered] >= 1
			})
		})
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
	if err != nil || len(items) != 2 || past(items[0]) != (history{}) || past(items[1]) != (history{}) {
		t.Errorf("got %+v, %v; want two items that were never tried", items, err)
	}
}
