package outbox

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// load is a stream of events to many endpoints, of which three in ten fail: one
// hangs, one refuses, one answers 500.
type load struct {
	events, endpoints int
	rate              int // events a second
	timeout           time.Duration
}

// timed is a store that measures how long leases take.
type timed struct {
	store.Store
	took []time.Duration // Run alone leases
}

func (s *timed) Lease(ctx context.Context, q store.Queue, now time.Time, limit int, hold time.Duration) ([]store.Item, error) {
	begin := time.Now()
	items, err := s.Store.Lease(ctx, q, now, limit, hold)
	s.took = append(s.took, time.Since(begin))
	return items, err
}

// arrivals are the first arrivals of events at good endpoints.
type arrivals struct {
	mu       sync.Mutex
	at       map[string]time.Time
	repeated int
	all      chan struct{} // closed when all that are expected are there
	want     int
}

func (a *arrivals) ServeHTTP(_ http.ResponseWriter, req *http.Request) {
	now, id := time.Now(), req.Header.Get("Webhook-Id")
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, there := a.at[id]; there {
		a.repeated++
		return
	}
	a.at[id] = now
	if len(a.at) == a.want {
		close(a.all)
	}
}

// TestSlowEndpointsDelayNobody measures how long after its commit an event
// arrives at a good endpoint, while three in ten endpoints fail.
// PURSER_OUTBOX_LOAD="events endpoints rate" runs it at another size, with the
// real timeout.
func TestSlowEndpointsDelayNobody(t *testing.T) {
	l := load{events: 5000, endpoints: 100, rate: 1000, timeout: 2 * time.Second}
	if testing.Short() {
		l.events = 1000
	}
	if text := os.Getenv("PURSER_OUTBOX_LOAD"); text != "" {
		if _, err := fmt.Sscan(text, &l.events, &l.endpoints, &l.rate); err != nil {
			t.Fatal(err)
		}
		l.timeout = Timeout
	}
	leases := &timed{}
	r := newRig(t, func(c *Config, cc *ClientConfig) {
		leases.Store = c.Store
		c.Store, c.Now, c.Chance, cc.Timeout = leases, time.Now, nil, l.timeout
	})
	r.ids.Now = time.Now

	got := &arrivals{at: map[string]time.Time{}, all: make(chan struct{})}
	good := r.serve(got.ServeHTTP)
	good.forget = true
	hanging := r.serve(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
	failing := r.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, refusing, _ := net.SplitHostPort(closed.Addr().String())
	closed.Close()
	ports := []string{hanging.port(), refusing, failing.port()}
	bad := func(n int) bool { return n%10 < len(ports) }
	for n := range l.endpoints {
		port := good.port()
		if bad(n) {
			port = ports[n%10]
		}
		r.add(fmt.Sprint("mer_", n), fmt.Sprintf("https://e%d.test:%s/", n, port))
	}
	for n := range l.events {
		if !bad(n % l.endpoints) {
			got.want++
		}
	}

	stop := r.run(r.Outbox)
	peak := watch(t)
	started := time.Now()
	committed := r.stream(l)
	emitted := time.Since(started)
	select {
	case <-got.all:
	case <-time.After(60 * time.Second):
		t.Fatalf("after a minute: got %d events at good endpoints, want %d", len(got.at), got.want)
	}
	took := time.Since(started)
	memory, goroutines := peak()
	stop()
	got.mu.Lock()
	defer got.mu.Unlock()
	var delays []time.Duration
	for id, at := range got.at {
		delays = append(delays, at.Sub(committed[id]))
	}
	slices.Sort(delays)
	p := func(q float64) time.Duration {
		return delays[int(q*float64(len(delays)-1))].Round(100 * time.Microsecond)
	}
	slices.Sort(leases.took)
	lease := func(q float64) time.Duration {
		return leases.took[int(q*float64(len(leases.took)-1))].Round(100 * time.Microsecond)
	}
	t.Logf("%d events to %d endpoints: committed in %v, delivered in %v (%.0f/s); p50 %v, p99 %v, max %v, of which the store's lease p50 %v, p99 %v, max %v; %d repeated; heap %d MiB, %d goroutines, with the servers; tried %v",
		l.events, l.endpoints, emitted.Round(time.Millisecond), took.Round(time.Millisecond), float64(got.want)/took.Seconds(),
		p(0.5), p(0.99), p(1), lease(0.5), lease(0.99), lease(1), got.repeated, memory>>20, goroutines, r.heard.tried)
	if got.repeated > 0 {
		t.Errorf("%d events came twice without a reason", got.repeated)
	}
	if limit := time.Second; !testing.Short() && p(0.99) > limit {
		t.Errorf("p99: got %v, want at most %v", p(0.99), limit)
	}
}

// stream commits events at the rate of the load, and returns when each was
// durable.
func (r *rig) stream(l load) map[string]time.Time {
	r.t.Helper()
	committed := make(map[string]time.Time, l.events)
	var mu sync.Mutex
	var wg sync.WaitGroup
	var n atomic.Int64
	object := []byte(`{"id":"pay_1","object":"payment","description":"` + strings.Repeat("x", 1000) + `"}`)
	begin := time.Now()
	for range 32 {
		wg.Go(func() {
			for {
				i := int(n.Add(1)) - 1
				if i >= l.events {
					return
				}
				turn := time.NewTimer(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(l.rate))))
				<-turn.C
				e := payment.Event{
					ID: r.ids.New(payment.PrefixEvent), Type: payment.EventPaymentSucceeded, Merchant: fmt.Sprint("mer_", i%l.endpoints),
					Mode: payment.Test, Payment: "pay_1", Sequence: 1, CreatedAt: time.Now(), Object: object,
				}
				if err := r.store.Update(r.t.Context(), func(tx store.Tx) error { return tx.PutEvent(e) }); err != nil {
					r.t.Error(err)
					return
				}
				now := time.Now()
				r.Wake()
				mu.Lock()
				committed[e.ID] = now
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return committed
}

// watch samples memory and goroutines until it is asked for their peak.
func watch(t *testing.T) (peak func() (heap uint64, goroutines int)) {
	t.Helper()
	done, ended := make(chan struct{}), make(chan struct{})
	var heap uint64
	var goroutines int
	go func() {
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			heap, goroutines = max(heap, m.HeapInuse), max(goroutines, runtime.NumGoroutine())
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}()
	return func() (uint64, int) { close(done); <-ended; return heap, goroutines }
}

// BenchmarkDeliver measures how many events a second go from the queue to good
// endpoints and into the log.
func BenchmarkDeliver(b *testing.B) {
	r := newRig(b, func(c *Config, _ *ClientConfig) { c.Now = time.Now })
	r.ids.Now = time.Now
	got := &arrivals{at: map[string]time.Time{}, all: make(chan struct{}), want: b.N}
	m := r.serve(got.ServeHTTP)
	m.forget = true
	const endpoints = 50
	for n := range endpoints {
		r.add(fmt.Sprint("mer_", n), fmt.Sprintf("https://e%d.test:%s/", n, m.port()))
	}
	left := b.N
	for left > 0 {
		for n := range endpoints {
			k := min(left, 20)
			if k > 0 {
				r.emit(fmt.Sprint("mer_", n), k)
				left -= k
			}
		}
	}
	b.ResetTimer()
	r.run(r.Outbox)
	<-got.all
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
