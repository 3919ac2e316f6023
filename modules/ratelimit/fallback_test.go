package ratelimit_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/ratelimit"
)

// flaky is a shared store that can be cut off.
type flaky struct {
	mu    sync.Mutex
	err   error
	hang  bool // until the context ends
	calls int
	takes *ratelimit.Memory
}

func (f *flaky) set(err error, hang bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.hang = err, hang
}

func (f *flaky) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func (f *flaky) Take(ctx context.Context, g ratelimit.Group, c []ratelimit.Charge, s []ratelimit.State) ([]ratelimit.State, error) {
	f.mu.Lock()
	f.calls++
	err, hang := f.err, f.hang
	f.mu.Unlock()
	if hang {
		<-ctx.Done()
		return s, ctx.Err()
	}
	if err != nil {
		return s, err
	}
	return f.takes.Take(ctx, g, c, s)
}

func (f *flaky) Give(ctx context.Context, g ratelimit.Group, c []ratelimit.Charge, ago time.Duration) error {
	f.mu.Lock()
	f.calls++
	err := f.err
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return f.takes.Give(ctx, g, c, ago)
}

func (f *flaky) Forget(ctx context.Context, g ratelimit.Group, c ratelimit.Charge) error {
	return f.takes.Forget(ctx, g, c)
}

func (f *flaky) Ping(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// fallback is one on a flaky store, whose changes arrive in a channel.
func fallback(t *testing.T, cfg ratelimit.FallbackConfig) (*ratelimit.Fallback, *flaky, chan error) {
	t.Helper()
	c := newClock()
	shared := &flaky{takes: ratelimit.NewMemory(c.now, 0)}
	changes := make(chan error, 10)
	cfg.Shared, cfg.Local, cfg.Now = shared, ratelimit.NewMemory(c.now, 0), c.now
	cfg.Changed = func(lost error) { changes <- lost }
	f := ratelimit.NewFallback(t.Context(), cfg)
	t.Cleanup(f.Close)
	return f, shared, changes
}

func count(t *testing.T, s ratelimit.Store, calls int, c ratelimit.Charge) (passed int) {
	t.Helper()
	for range calls {
		if passes(t, s, group("m"), c) {
			passed++
		}
	}
	return passed
}

var ten = ratelimit.Charge{Scope: ratelimit.Key, Rate: rate(10, time.Hour), Cost: 1}

func TestFallback(t *testing.T) {
	f, shared, changes := fallback(t, ratelimit.FallbackConfig{Nodes: 3, ProbeEvery: time.Millisecond})
	if got := count(t, f, 4, ten); got != 4 || !f.Shared() {
		t.Fatalf("%d of 4 calls passed, shared %v", got, f.Shared())
	}
	away := errors.New("connection refused")
	shared.set(away, false)
	if got := count(t, f, 20, ten); got != 3 {
		t.Errorf("alone, %d calls passed, want 3: a third of ten", got)
	}
	if got := <-changes; !errors.Is(got, away) || f.Shared() {
		t.Errorf("told of %v, want %v; shared %v", got, away, f.Shared())
	}
	// 4 before, and 1 that failed.
	if got := shared.asked(); got != 5 {
		t.Errorf("the shared store was asked %d times, want 5: nobody waits for it twice", got)
	}
	shared.set(nil, false)
	if got := <-changes; got != nil || !f.Shared() {
		t.Errorf("told of %v, want that it is back; shared %v", got, f.Shared())
	}
	if got := count(t, f, 20, ten); got != 6 {
		t.Errorf("together again, %d calls passed, want the 6 that were left", got)
	}
}

func TestFallbackFromTheStart(t *testing.T) {
	c := newClock()
	shared := &flaky{err: errors.New("away"), takes: ratelimit.NewMemory(c.now, 0)}
	f := ratelimit.NewFallback(t.Context(), ratelimit.FallbackConfig{Shared: shared, Local: ratelimit.NewMemory(c.now, 0), Now: c.now, ProbeEvery: time.Hour})
	defer f.Close()
	if f.Shared() || count(t, f, 20, ten) != 10 || shared.asked() != 0 {
		t.Errorf("shared %v, asked %d times; want a node that counts alone from its start", f.Shared(), shared.asked())
	}
}

func TestFallbackNeverToNothing(t *testing.T) {
	f, shared, _ := fallback(t, ratelimit.FallbackConfig{Nodes: 30, ProbeEvery: time.Hour})
	shared.set(errors.New("away"), false)
	if got := count(t, f, 20, ten); got != 1 {
		t.Errorf("%d calls passed, want 1: no share is nothing", got)
	}
}

func TestFallbackRefuses(t *testing.T) {
	f, shared, changes := fallback(t, ratelimit.FallbackConfig{Refuse: true, ProbeEvery: time.Millisecond})
	shared.set(errors.New("away"), false)
	for range 2 {
		if _, err := f.Take(t.Context(), group("m"), []ratelimit.Charge{ten}, nil); !errors.Is(err, ratelimit.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
	}
	<-changes
	shared.set(nil, false)
	<-changes
	if got := count(t, f, 1, ten); got != 1 {
		t.Error("the store is back, and nobody passes")
	}
}

func TestFallbackIsQuick(t *testing.T) {
	f, shared, changes := fallback(t, ratelimit.FallbackConfig{ProbeEvery: time.Hour})
	shared.set(nil, true)
	began := time.Now()
	if !passes(t, f, group("m"), ten) {
		t.Error("a store that hangs keeps calls out")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("a store that hangs was waited for %v, want 50 ms", took)
	}
	if got := <-changes; !errors.Is(got, context.DeadlineExceeded) {
		t.Errorf("told of %v, want a deadline", got)
	}
}

func TestFallbackBlamesNobodyForACaller(t *testing.T) {
	f, shared, _ := fallback(t, ratelimit.FallbackConfig{ProbeEvery: time.Hour})
	shared.set(nil, true)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Take(gone, group("m"), []ratelimit.Charge{ten}, nil); err != nil {
		t.Error(err)
	}
	if !f.Shared() {
		t.Error("a caller who hung up cost the node its shared counters")
	}
}

func TestFallbackCloses(t *testing.T) {
	f, shared, changes := fallback(t, ratelimit.FallbackConfig{ProbeEvery: time.Hour})
	shared.set(errors.New("away"), false)
	passes(t, f, group("m"), ten)
	<-changes
	f.Close() // does not wait for the hour
	f.Close()
	passes(t, f, group("m"), ten)
}
