// Package outbox tells merchants of events: it takes what the store has queued
// for webhook endpoints, signs it, sends it, and keeps the delivery log. Each
// event is delivered at least once, or tried for [Lifetime]. Any number of
// processes may share the work: items are leased.
//
// A slow or dead endpoint delays nobody else. Three things see to that: an
// endpoint that is new or failing gets one connection, a failing one is held
// back in memory and what waits for it is put off in bulk, and a try that lasts
// leaves its place to others.
package outbox

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/seal"
	"github.com/purser-pay/purser/modules/store"
)

const (
	// hold is how long an item is leased: no try ends later than that, and what a
	// dead process had leased waits no longer for another.
	hold = 30 * time.Second
	// startBy is how long after its lease an item may still be tried.
	startBy = hold - Timeout - 5*time.Second
	// idle is the longest sleep: other processes cannot wake us.
	idle = time.Second
	// leastRest is the shortest.
	leastRest = 5 * time.Millisecond
	// grace is how long tries under way may go on after the end of Run's context.
	grace = 5 * time.Second
	// batch bounds the items that are leased at once, or put off at once.
	batch = 256
	// maxHeld bounds the items in memory.
	maxHeld = 4096
	// slowAfter is how long a try counts among the quick ones, of which there are
	// Concurrency; slowShare is how many times as many slow ones there may be.
	slowAfter, slowShare = 250 * time.Millisecond, 4
	// maxTests bounds the tests that run at one time; more wait.
	maxTests = 16
)

// The defaults of [Config].
const (
	DefaultConcurrency = 256
	DefaultPerEndpoint = 8
)

// Observer hears how the deliveries go, for metrics and the audit log. It must
// be safe for concurrent use and quick.
type Observer interface {
	// Tried: a try has ended, and is in the log. Tests are not among them.
	Tried(r Result, took time.Duration)
	// Backlog tells for how long the oldest item has been due and not taken; it
	// is told about once a second.
	Backlog(age time.Duration)
	// Dropped: that many items will not be tried any more, and were not delivered.
	Dropped(items int)
	// Stopped: the gateway has paused an endpoint, or disabled it; Status and
	// Reason say which and why.
	Stopped(e payment.Endpoint)
}

// Config is what an [Outbox] stands on. Store, Box, Client and IDs are required.
type Config struct {
	Store store.Store
	// Box opens the endpoints' secrets; their context is the endpoint's ID.
	Box    *seal.Box
	Client *Client
	IDs    *payment.IDs
	// Now tells the time; nil is time.Now.
	Now func() time.Time
	// Chance returns numbers in [0, 1), for jitter; nil is math/rand/v2.
	Chance func() float64
	// Log hears of what no merchant can mend; nil discards it.
	Log *slog.Logger
	// Observer may be nil.
	Observer Observer
	// Concurrency bounds the quick tries at one time; 0 = [DefaultConcurrency].
	// Four times as many may be slow.
	Concurrency int
	// PerEndpoint bounds the tries at one time at one endpoint; 0 =
	// [DefaultPerEndpoint].
	PerEndpoint int
}

// Outbox delivers. It is safe for concurrent use.
type Outbox struct {
	cfg   Config
	wake  chan struct{} // something may be due
	off   chan struct{} // something is to be put off
	tests chan struct{}

	mu          sync.Mutex
	lines       map[string]*line
	ready       []*line // in the order of their turns
	held        map[string]bool
	late        []job // to be put off
	quick, slow int   // tries under way
	stuck       bool  // Run waits for memory
	looked      time.Time
	swept       time.Time
	wg          sync.WaitGroup
}

// New returns an outbox that does nothing until [Outbox.Run].
func New(cfg Config) *Outbox {
	if cfg.Now == nil {
		cfg.Now = time.Now //nolint:forbidigo // the default of the clock that is handed in
	}
	if cfg.Chance == nil {
		cfg.Chance = rand.Float64
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Observer == nil {
		cfg.Observer = nobody{}
	}
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = DefaultConcurrency
	}
	if cfg.PerEndpoint <= 0 {
		cfg.PerEndpoint = DefaultPerEndpoint
	}
	return &Outbox{
		cfg: cfg, wake: make(chan struct{}, 1), off: make(chan struct{}, 1), tests: make(chan struct{}, maxTests),
		lines: map[string]*line{}, held: map[string]bool{},
	}
}

// Wake tells that events were committed. It does not block, and may be called
// from anywhere, as often as one likes.
func (o *Outbox) Wake() { nudge(o.wake) }

func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run delivers until ctx ends. Tries under way are then given a few seconds;
// what waits goes back to the queue.
func (o *Outbox) Run(ctx context.Context) {
	// What is under way outlives ctx, but not for long.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var puts sync.WaitGroup
	puts.Go(func() { o.putOffAlways(ctx) })
	for ctx.Err() == nil {
		n := o.room()
		var items []store.Item
		if n > 0 {
			var err error
			if items, err = o.cfg.Store.Lease(ctx, store.Outbound, o.cfg.Now(), n, hold); err != nil && ctx.Err() == nil {
				o.cfg.Log.Error("webhooks cannot be leased", slog.String("error", err.Error()))
			}
			o.admit(work, items)
		}
		o.sweep(work)
		if n == 0 || len(items) < n {
			o.rest(ctx, n > 0)
		}
	}
	timer := time.AfterFunc(grace, stop)
	defer timer.Stop()
	o.giveBack()
	puts.Wait()
	o.putOff(context.WithoutCancel(ctx))
	o.wg.Wait()
	o.putOff(context.WithoutCancel(ctx))
}

// room tells how many items may be leased.
func (o *Outbox) room() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(batch, maxHeld-len(o.held))
	o.stuck = n == 0
	return n
}

// rest waits until something may be due or, without room, until there is some.
func (o *Outbox) rest(ctx context.Context, room bool) {
	wait := idle
	if room && len(o.wake) == 0 {
		due, ok, err := o.cfg.Store.Due(ctx, store.Outbound)
		if err == nil && ok {
			wait = min(wait, max(due.Sub(o.cfg.Now()), leastRest))
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-o.wake:
	case <-timer.C:
	}
}

// sweep forgets endpoints that are idle, and tells of the backlog, now and then.
func (o *Outbox) sweep(ctx context.Context) {
	now := o.cfg.Now()
	o.mu.Lock()
	look := now.Sub(o.looked) >= idle
	if look {
		o.looked = now
	}
	if now.Sub(o.swept) >= time.Minute {
		o.swept = now
		for id, l := range o.lines {
			if l.idle(now) {
				delete(o.lines, id)
			}
		}
	}
	o.mu.Unlock()
	if !look {
		return
	}
	due, ok, err := o.cfg.Store.Due(ctx, store.Outbound)
	switch {
	case err != nil:
	case ok:
		o.cfg.Observer.Backlog(max(now.Sub(due), 0))
	default:
		o.cfg.Observer.Backlog(0)
	}
}

// ended tells an error that the end of a context explains from one that is to be
// logged.
func ended(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, ctx.Err())
}

// nobody is the observer that is not there.
type nobody struct{}

// Tried implements [Observer], as do the others.
func (nobody) Tried(Result, time.Duration) {}

// Backlog hears nothing.
func (nobody) Backlog(time.Duration) {}

// Dropped hears nothing.
func (nobody) Dropped(int) {}

// Stopped hears nothing.
func (nobody) Stopped(payment.Endpoint) {}
