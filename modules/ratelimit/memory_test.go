package ratelimit_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ulule/limiter/v3"
	"pgregory.net/rapid"

	"github.com/purser-pay/purser/modules/ratelimit"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock is moved by hand.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.nanos.Store(start.UnixNano())
	return c
}

func (c *clock) now() time.Time       { return time.Unix(0, c.nanos.Load()).UTC() }
func (c *clock) move(d time.Duration) { c.nanos.Add(int64(d)) }

func rate(limit int64, period time.Duration) limiter.Rate {
	return limiter.Rate{Limit: limit, Period: period}
}

func group(id string) ratelimit.Group {
	return ratelimit.Group{Kind: ratelimit.Merchants, ID: id}
}

// passes takes once, and tells whether it passed.
func passes(t testing.TB, s ratelimit.Store, g ratelimit.Group, charges ...ratelimit.Charge) bool {
	t.Helper()
	states, err := s.Take(t.Context(), g, charges, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ratelimit.Passed(states)
}

func TestTake(t *testing.T) {
	one := func(r limiter.Rate, cost int64) []ratelimit.Charge {
		return []ratelimit.Charge{{Scope: ratelimit.Key, Rate: r, Cost: cost}}
	}
	five := rate(5, time.Second)
	tests := []struct {
		name     string
		earlier  int64 // calls taken at once
		after    time.Duration
		charges  []ratelimit.Charge
		left     int64
		reset    time.Duration
		retry    time.Duration
		leftNext int64 // 100 ms later
	}{
		{"the first", 0, 0, one(five, 1), 4, 200 * time.Millisecond, 0, 4},
		{"the last", 4, 0, one(five, 1), 0, time.Second, 0, 0},
		{"one too many", 5, 0, one(five, 1), 0, time.Second, 200 * time.Millisecond, 0},
		{"a part has drained", 5, 150 * time.Millisecond, one(five, 1), 0, 850 * time.Millisecond, 50 * time.Millisecond, 1},
		{"a call has drained", 5, 200 * time.Millisecond, one(five, 1), 0, time.Second, 0, 0},
		{"all has drained", 5, time.Second, one(five, 1), 4, 200 * time.Millisecond, 0, 4},
		{"dear", 2, 0, one(five, 3), 0, time.Second, 0, 0},
		{"too dear", 3, 0, one(five, 3), 2, 600 * time.Millisecond, 200 * time.Millisecond, 2},
		{"dearer than the limit counts as all of it", 0, 0, one(five, 99), 0, time.Second, 0, 0},
		{"a look", 3, 0, one(five, 0), 2, 600 * time.Millisecond, 0, 2},
		{"a clock set back", 5, -time.Hour, one(five, 1), 0, time.Second, 200 * time.Millisecond, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			m := ratelimit.NewMemory(c.now, 0)
			if tt.earlier > 0 && !passes(t, m, group("m"), one(five, tt.earlier)...) {
				t.Fatal("what came earlier did not pass")
			}
			c.move(tt.after)
			states, err := m.Take(t.Context(), group("m"), tt.charges, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := states[0]
			if got.Remaining != tt.left || got.Reset != tt.reset || got.Retry != tt.retry {
				t.Errorf("got %d left, reset %v, retry %v; want %d, %v, %v", got.Remaining, got.Reset, got.Retry, tt.left, tt.reset, tt.retry)
			}
			if tt.after < 0 {
				return
			}
			c.move(100 * time.Millisecond)
			look := []ratelimit.Charge{{Scope: ratelimit.Key, Rate: five}}
			if states, err = m.Take(t.Context(), group("m"), look, nil); err != nil || states[0].Remaining != tt.leftNext {
				t.Errorf("100 ms later %d are left (%v), want %d", states[0].Remaining, err, tt.leftNext)
			}
		})
	}
}

// envelope is what a rate promises, in its plainest form: whichever earlier call
// one begins to count at, no more than the limit and what drained since went in.
type envelope struct {
	limit, tick int64
	at, cost    []int64
}

func (e *envelope) fits(now, cost int64) bool {
	cost = min(cost, e.limit)
	sum := cost
	for i, at := range slices.Backward(e.at) {
		sum += e.cost[i]
		if sum*e.tick > e.limit*e.tick+now-at {
			return false
		}
	}
	return true
}

// TestTakeAgreesWithTheEnvelope compares decisions over several windows with a
// model that looks at all calls of the past.
func TestTakeAgreesWithTheEnvelope(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		m := ratelimit.NewMemory(c.now, 0)
		var charges []ratelimit.Charge
		var models []*envelope
		for i := range rapid.IntRange(1, 3).Draw(t, "windows") {
			limit := rapid.Int64Range(1, 12).Draw(t, "limit")
			period := time.Duration(rapid.Int64Range(20, 3000).Draw(t, "period")+int64(i)) * time.Millisecond
			charges = append(charges, ratelimit.Charge{Scope: ratelimit.Key, Name: fmt.Sprint(i), Rate: rate(limit, period)})
			models = append(models, &envelope{limit: limit, tick: (int64(period) + limit - 1) / limit})
		}
		for range rapid.IntRange(1, 60).Draw(t, "calls") {
			c.move(time.Duration(rapid.Int64Range(0, 400_000_000).Draw(t, "wait")))
			cost := rapid.Int64Range(1, 14).Draw(t, "cost")
			want := true
			for i := range charges {
				charges[i].Cost = cost
				want = models[i].fits(c.nanos.Load(), cost) && want
			}
			states, err := m.Take(context.Background(), group("m"), charges, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := ratelimit.Passed(states); got != want {
				t.Fatalf("a call that costs %d passed: %v, want %v; states %+v", cost, got, want, states)
			}
			for i, s := range states {
				if want {
					models[i].at, models[i].cost = append(models[i].at, c.nanos.Load()), append(models[i].cost, min(cost, models[i].limit))
				}
				// What is said to remain fits, and one more does not.
				now, left := c.nanos.Load(), s.Remaining
				if left > 0 && !models[i].fits(now, left) || left < models[i].limit && models[i].fits(now, left+1) {
					t.Fatalf("window %d: %d are said to remain, which the model denies", i, left)
				}
				if s.Retry > 0 && (models[i].fits(now+int64(s.Retry)-1, cost) || !models[i].fits(now+int64(s.Retry), cost)) {
					t.Fatalf("window %d: a retry after %v is not the first that passes", i, s.Retry)
				}
			}
		}
	})
}

// TestEdgeOfWindow is the case in which a fixed window of 100 lets 199 through
// within a moment: one call opens it, 99 come at its end and 100 after it.
func TestEdgeOfWindow(t *testing.T) {
	c := newClock()
	m := ratelimit.NewMemory(c.now, 0)
	hundred := ratelimit.Charge{Scope: ratelimit.Key, Rate: rate(100, time.Second), Cost: 1}
	try := func(n int) (passed int) {
		for range n {
			if passes(t, m, group("m"), hundred) {
				passed++
			}
		}
		return passed
	}
	if got := try(1); got != 1 {
		t.Fatal("the first call did not pass")
	}
	c.move(970 * time.Millisecond)
	got := try(150)
	c.move(60 * time.Millisecond)
	got += try(150)
	// The limit, and what drains in 60 ms: 6.
	if want := 106; got != want {
		t.Errorf("%d calls passed within 60 ms at the edge of a second, want %d", got, want)
	}
}

// TestNeverMoreAtOnce lets a crowd come at every part of a second after a call that
// a fixed window would begin with, and after a pause: never more than the limit
// passes in an instant.
func TestNeverMoreAtOnce(t *testing.T) {
	for offset := time.Duration(0); offset < 3*time.Second; offset += 7 * time.Millisecond {
		l, _, c := refining(policy(ratelimit.Key, rates(rate(100, time.Second))))
		for _, wait := range []time.Duration{0, offset, time.Millisecond} {
			c.move(wait)
			crowd, passed := 300, 0
			if wait == 0 {
				crowd = 1
			}
			for range crowd {
				v, err := l.Admit(t.Context(), shop)
				if err != nil {
					t.Fatal(err)
				}
				if v.Passed() {
					passed++
				}
			}
			if most := 100; passed > most {
				t.Fatalf("%d calls passed at once, %v after the first, want %d at most", passed, offset, most)
			}
		}
	}
}

func TestAllOrNothing(t *testing.T) {
	c := newClock()
	m := ratelimit.NewMemory(c.now, 0)
	wide := ratelimit.Charge{Scope: ratelimit.Merchant, Rate: rate(10, time.Minute), Cost: 1}
	narrow := ratelimit.Charge{Scope: ratelimit.Key, Rate: rate(1, time.Minute), Cost: 1}
	for i, want := range []bool{true, false, false} {
		if got := passes(t, m, group("m"), wide, narrow); got != want {
			t.Errorf("call %d passed: %v, want %v", i, got, want)
		}
	}
	look := wide
	look.Cost = 0
	states, err := m.Take(t.Context(), group("m"), []ratelimit.Charge{look}, nil)
	if err != nil || states[0].Remaining != 9 {
		t.Errorf("the wide window has %d left (%v), want 9: calls that the narrow one refused do not count", states[0].Remaining, err)
	}
}

func TestNothingIsShared(t *testing.T) {
	c := newClock()
	m := ratelimit.NewMemory(c.now, 0)
	base := ratelimit.Charge{Scope: ratelimit.Key, Name: "a", Rate: rate(1, time.Minute), Cost: 1}
	change := func(f func(*ratelimit.Group, *ratelimit.Charge)) (ratelimit.Group, ratelimit.Charge) {
		g, ch := group("m"), base
		f(&g, &ch)
		return g, ch
	}
	if !passes(t, m, group("m"), base) || passes(t, m, group("m"), base) {
		t.Fatal("a limit of one does not let one call through")
	}
	for name, f := range map[string]func(*ratelimit.Group, *ratelimit.Charge){
		"another group":  func(g *ratelimit.Group, _ *ratelimit.Charge) { g.ID = "n" },
		"another kind":   func(g *ratelimit.Group, _ *ratelimit.Charge) { g.Kind = ratelimit.Addresses },
		"another scope":  func(_ *ratelimit.Group, c *ratelimit.Charge) { c.Scope = ratelimit.Merchant },
		"another name":   func(_ *ratelimit.Group, c *ratelimit.Charge) { c.Name = "b" },
		"another window": func(_ *ratelimit.Group, c *ratelimit.Charge) { c.Rate.Period = time.Hour },
	} {
		if g, ch := change(f); !passes(t, m, g, ch) {
			t.Errorf("%s shares the count", name)
		}
	}
	// The limit itself is no part of who is counted: a reload that raises it
	// forgets nothing.
	if g, ch := change(func(_ *ratelimit.Group, c *ratelimit.Charge) { c.Rate.Limit = 2 }); passes(t, m, g, ch) {
		t.Error("a full window is empty under another limit")
	}
}

func TestConcurrentTakes(t *testing.T) {
	m := ratelimit.NewMemory(newClock().now, 0)
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if passes(t, m, group("m"), ratelimit.Charge{Scope: ratelimit.Key, Rate: rate(1000, time.Second), Cost: 1}) {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := passed.Load(); got != 1000 {
		t.Errorf("%d of 4000 calls passed, want 1000", got)
	}
}

// TestMemoryIsBounded floods the store with addresses.
func TestMemoryIsBounded(t *testing.T) {
	c := newClock()
	const slots = 1600
	m := ratelimit.NewMemory(c.now, slots)
	key := ratelimit.Charge{Scope: ratelimit.Key, Rate: rate(1, time.Hour), Cost: 1}
	passes(t, m, group("m"), key)
	// One who is nearly at the limit, among many who called once.
	busy := ratelimit.Group{Kind: ratelimit.Addresses, ID: "busy"}
	address := ratelimit.Charge{Scope: ratelimit.Address, Rate: rate(10, time.Minute), Cost: 1}
	full := address
	full.Cost = 10
	passes(t, m, busy, full)
	for i := range 20 * slots {
		passes(t, m, ratelimit.Group{Kind: ratelimit.Addresses, ID: fmt.Sprint(i)}, address)
	}
	if got := m.Len(); got > slots+1 {
		t.Errorf("%d windows are in memory, want at most %d", got, slots+1)
	}
	if passes(t, m, group("m"), key) {
		t.Error("a flood of addresses displaced a merchant's window")
	}
	if passes(t, m, busy, address) {
		t.Error("the fullest window was forgotten, and emptier ones were kept")
	}
	c.move(time.Hour)
	before := m.Len()
	for i := range 40 {
		passes(t, m, ratelimit.Group{Kind: ratelimit.Addresses, ID: fmt.Sprint("late ", i)}, address)
	}
	if got := m.Len(); got >= before {
		t.Errorf("%d windows are in memory, want fewer than %d: those that drained go first", got, before)
	}
}

func TestTakeRefuses(t *testing.T) {
	m := ratelimit.NewMemory(newClock().now, 0)
	var many []ratelimit.Charge
	for i := range ratelimit.MaxCharges + 1 {
		many = append(many, ratelimit.Charge{Name: fmt.Sprint(i), Rate: rate(1, time.Second), Cost: 1})
	}
	for name, charges := range map[string][]ratelimit.Charge{
		"too many windows":       many,
		"no limit":               {{Rate: rate(0, time.Second)}},
		"no period":              {{Rate: rate(1, 0)}},
		"more than nanoseconds":  {{Rate: rate(2_000_000_000, time.Second)}},
		"a period of a lifetime": {{Rate: rate(1, 80*365*24*time.Hour)}},
	} {
		if _, err := m.Take(t.Context(), group("m"), charges, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func BenchmarkMemoryHotKey(b *testing.B) {
	m := ratelimit.NewMemory(time.Now, 0)
	charges := []ratelimit.Charge{{Scope: ratelimit.Key, Name: "key_01h455vb4pex5vsknk084sn02q", Rate: rate(1000, time.Second), Cost: 1}}
	benchmark(b, m, func(int) ratelimit.Group { return group("mer_01h455vb4pex5vsknk084sn02q") }, charges)
}

func BenchmarkMemoryFourWindows(b *testing.B) {
	m := ratelimit.NewMemory(time.Now, 0)
	charges := []ratelimit.Charge{
		{Scope: ratelimit.Key, Name: "key_01h455vb4pex5vsknk084sn02q", Rate: rate(1000, time.Second), Cost: 1},
		{Scope: ratelimit.Key, Name: "key_01h455vb4pex5vsknk084sn02q", Rate: rate(100_000, time.Hour), Cost: 1},
		{Scope: ratelimit.Merchant, Name: "live", Rate: rate(5000, time.Second), Cost: 1},
		{Scope: ratelimit.Route, Name: "live POST /v1/payments", Rate: rate(500, time.Second), Cost: 1},
	}
	benchmark(b, m, func(int) ratelimit.Group { return group("mer_01h455vb4pex5vsknk084sn02q") }, charges)
}

// The worst case of the bound: every call is a new address, and one must go.
func BenchmarkMemoryFlood(b *testing.B) {
	ids := make([]string, 1<<20)
	for i := range ids {
		ids[i] = fmt.Sprintf("198.51.%d.%d", i>>8, i&255)
	}
	m := ratelimit.NewMemory(time.Now, 1<<14)
	charges := []ratelimit.Charge{{Scope: ratelimit.Address, Rate: rate(100, time.Minute), Cost: 1}}
	benchmark(b, m, func(i int) ratelimit.Group {
		return ratelimit.Group{Kind: ratelimit.Addresses, ID: ids[i%len(ids)]}
	}, charges)
}

func BenchmarkMemoryManyMerchantsParallel(b *testing.B) {
	m := ratelimit.NewMemory(time.Now, 0)
	ids := make([]string, 10_000)
	for i := range ids {
		ids[i] = fmt.Sprintf("mer_%026d", i)
	}
	var n atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		charges := []ratelimit.Charge{{Scope: ratelimit.Key, Rate: rate(1000, time.Second), Cost: 1}}
		var states []ratelimit.State
		for i := int(n.Add(7919)); pb.Next(); i++ {
			var err error
			if states, err = m.Take(context.Background(), group(ids[i%len(ids)]), charges, states[:0]); err != nil {
				b.Error(err)
			}
		}
	})
}

func benchmark(b *testing.B, m *ratelimit.Memory, g func(int) ratelimit.Group, charges []ratelimit.Charge) {
	b.Helper()
	var states []ratelimit.State
	var err error
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if states, err = m.Take(context.Background(), g(i), charges, states[:0]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
