package ratelimit

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Shared is a store that several nodes count in.
type Shared interface {
	Taker
	// Ping tells whether the store can be reached and written to.
	Ping(ctx context.Context) error
}

const (
	// sharedTimeout bounds one decision of the shared store; who is slower counts
	// as away. A store in the same building answers in under a millisecond.
	sharedTimeout = 50 * time.Millisecond
	// probeTimeout bounds the question whether it is back; it may have to dial.
	probeTimeout = time.Second
	// probeEvery is how often that is asked.
	probeEvery = 500 * time.Millisecond
)

// FallbackConfig says what a [Fallback] stands on.
type FallbackConfig struct {
	Shared Shared
	// Local counts while Shared is away.
	Local Store
	// Nodes is by how many the limits are divided while every node counts for
	// itself; 0 = 1. No limit becomes less than one call.
	Nodes int
	// Refuse makes decisions fail with [ErrUnavailable] while Shared is away.
	Refuse bool
	// Changed hears that Shared went away, with the cause, and that it is back,
	// with nil; one call at a time. Nil hears nothing.
	Changed func(lost error)
	Now     func() time.Time
	// ProbeEvery is how often Shared is tried while it is away; 0 = half a second.
	ProbeEvery time.Duration
}

// Fallback counts in a shared store, and by itself while that is away. The
// first decision that fails waits at most 50 ms; until the store is back no
// other one waits at all. It is safe for concurrent use.
type Fallback struct {
	Contract
	cfg     FallbackConfig
	ping    func() error
	lost    atomic.Bool
	mu      sync.Mutex // one change of lost at a time, and its being told
	closed  chan struct{}
	closing sync.Once
	probes  sync.WaitGroup
}

var _ Store = (*Fallback)(nil)

// NewFallback tries the shared store once, for a second at most, and returns
// whatever comes of it. Close ends it.
func NewFallback(ctx context.Context, cfg FallbackConfig) *Fallback {
	if cfg.ProbeEvery <= 0 {
		cfg.ProbeEvery = probeEvery
	}
	f := &Fallback{cfg: cfg, closed: make(chan struct{})}
	f.Contract = Contract{Taker: f, Now: cfg.Now}
	ctx = context.WithoutCancel(ctx) // the search goes on when whoever opens this has long returned
	f.ping = func() error {
		bounded, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		return cfg.Shared.Ping(bounded)
	}
	if err := f.ping(); err != nil {
		f.lose(err)
	}
	return f
}

// Shared tells whether limits are shared with other nodes now.
func (f *Fallback) Shared() bool { return !f.lost.Load() }

// Take implements [Store].
func (f *Fallback) Take(ctx context.Context, g Group, charges []Charge, states []State) ([]State, error) {
	if err := check(charges); err != nil {
		return states, err
	}
	if f.lost.Load() {
		return f.local(ctx, g, charges, states)
	}
	bounded, cancel := context.WithTimeout(ctx, sharedTimeout)
	defer cancel()
	got, err := f.cfg.Shared.Take(bounded, g, charges, states)
	switch {
	case err == nil:
		return got, nil
	case ctx.Err() == nil: // else it is the caller who went away
		f.lose(err)
	}
	return f.local(ctx, g, charges, states)
}

// local decides over this node's share of the limits.
func (f *Fallback) local(ctx context.Context, g Group, charges []Charge, states []State) ([]State, error) {
	if f.cfg.Refuse {
		return states, ErrUnavailable
	}
	own := f.share(charges)
	return f.cfg.Local.Take(ctx, g, own[:len(charges)], states)
}

// share is what a node that counts for itself has of the windows.
func (f *Fallback) share(charges []Charge) (own [MaxCharges]Charge) {
	copy(own[:], charges)
	for i := range charges {
		own[i].Rate.Limit = max(own[i].Rate.Limit/int64(max(f.cfg.Nodes, 1)), 1)
	}
	return own
}

// Give implements [Store]. It gives to the store that counts now: where that has
// changed since the charges were taken, those few are given where they were not
// taken, just as the change itself begins with other counts.
func (f *Fallback) Give(ctx context.Context, g Group, charges []Charge, ago time.Duration) error {
	if err := check(charges); err != nil {
		return err
	}
	if f.lost.Load() {
		own := f.share(charges)
		return f.cfg.Local.Give(ctx, g, own[:len(charges)], ago)
	}
	bounded, cancel := context.WithTimeout(ctx, sharedTimeout)
	defer cancel()
	err := f.cfg.Shared.Give(bounded, g, charges, ago)
	if err == nil {
		return nil
	}
	if ctx.Err() == nil { // else it is the caller who went away
		f.lose(err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// Forget implements [Taker].
func (f *Fallback) Forget(ctx context.Context, g Group, c Charge) error {
	if forgetter, ok := f.cfg.Local.(Taker); ok {
		if err := forgetter.Forget(ctx, g, c); err != nil {
			return err
		}
	}
	if f.lost.Load() {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, sharedTimeout)
	defer cancel()
	if err := f.cfg.Shared.Forget(bounded, g, c); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// lose turns to this node's own counters, and begins to look for the shared
// ones.
func (f *Fallback) lose(cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost.Load() || f.isClosed() {
		return
	}
	f.lost.Store(true)
	f.tell(cause)
	f.probes.Go(f.probe)
}

// probe asks until the shared store answers.
func (f *Fallback) probe() {
	tick := time.NewTicker(f.cfg.ProbeEvery)
	defer tick.Stop()
	for {
		select {
		case <-f.closed:
			return
		case <-tick.C:
		}
		if f.ping() != nil {
			continue
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.lost.Store(false)
		f.tell(nil)
		return
	}
}

func (f *Fallback) tell(lost error) {
	if f.cfg.Changed != nil {
		f.cfg.Changed(lost)
	}
}

func (f *Fallback) isClosed() bool {
	select {
	case <-f.closed:
		return true
	default:
		return false
	}
}

// Close ends the search for the shared store, and waits for its end. It does not
// close the stores.
func (f *Fallback) Close() {
	f.closing.Do(func() {
		f.mu.Lock()
		close(f.closed)
		f.mu.Unlock()
	})
	f.probes.Wait()
}
