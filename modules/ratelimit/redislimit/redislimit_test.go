package redislimit_test

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/ulule/limiter/v3"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/ratelimit"
	"github.com/purser-pay/purser/modules/ratelimit/redislimit"
)

// redisURL is where the tests find Redis: PURSER_REDIS, which then must answer,
// or this machine's.
func redisURL(t testing.TB) string {
	t.Helper()
	address, required := os.LookupEnv("PURSER_REDIS")
	if !required {
		address = "redis://127.0.0.1:6379"
	}
	o, err := redis.ParseURL(address)
	if err != nil {
		t.Fatalf("PURSER_REDIS: %v", err)
	}
	c := redis.NewClient(o)
	defer c.Close()
	switch err := c.Ping(t.Context()).Err(); {
	case err != nil && required:
		t.Fatalf("PURSER_REDIS is set, and Redis does not answer: %v", err)
	case err != nil:
		t.Skipf("no Redis at %s; PURSER_REDIS names another: %v", address, err)
	}
	return address
}

// open returns a store. What it writes expires by itself.
func open(t testing.TB, address, prefix string) *redislimit.Store {
	t.Helper()
	s, err := redislimit.Open(address, prefix, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newPrefix(t testing.TB) string {
	t.Helper()
	return "purser:test:" + rand.Text() + ":"
}

func rate(limit int64, period time.Duration) limiter.Rate {
	return limiter.Rate{Limit: limit, Period: period}
}

var shop = ratelimit.Group{Kind: ratelimit.Merchants, ID: "mer_a"}

func take(t testing.TB, s ratelimit.Store, charges ...ratelimit.Charge) []ratelimit.State {
	t.Helper()
	states, err := s.Take(context.Background(), shop, charges, nil)
	if err != nil {
		t.Error(err)
		return nil
	}
	return states
}

func key(limit int64, period time.Duration) ratelimit.Charge {
	return ratelimit.Charge{Scope: ratelimit.Key, Name: "key_a", Rate: rate(limit, period), Cost: 1}
}

func TestTake(t *testing.T) {
	s := open(t, redisURL(t), newPrefix(t))
	wide := ratelimit.Charge{Scope: ratelimit.Merchant, Mode: "test", Rate: rate(10, time.Hour), Cost: 2}
	narrow := key(2, 30*24*time.Hour)
	for i, want := range []struct {
		passed       bool
		wide, narrow int64
	}{{true, 8, 1}, {true, 6, 0}, {false, 6, 0}} {
		states := take(t, s, wide, narrow)
		if states == nil {
			t.FailNow()
		}
		if ratelimit.Passed(states) != want.passed || states[0].Remaining != want.wide || states[1].Remaining != want.narrow {
			t.Errorf("call %d: %+v; want passed %v, %d and %d left", i, states, want.passed, want.wide, want.narrow)
		}
		if !want.passed && (states[0].Retry != 0 || states[1].Retry < 14*24*time.Hour || states[1].Retry > 15*24*time.Hour) {
			t.Errorf("call %d: retry after %v and %v, want 0 and a little under 15 days", i, states[0].Retry, states[1].Retry)
		}
	}
	look := wide
	look.Cost = 0
	if states := take(t, s, look); states[0].Remaining != 6 {
		t.Errorf("%d are left after a call that was refused, want 6", states[0].Remaining)
	}
	if got, err := s.Take(t.Context(), shop, nil, nil); err != nil || len(got) != 0 {
		t.Errorf("no charges: %v, %v", got, err)
	}
}

// TestDrains waits for Redis' own clock, by asking.
func TestDrains(t *testing.T) {
	s := open(t, redisURL(t), newPrefix(t))
	fast := key(20, time.Second)
	began := time.Now()
	passed := int64(0)
	for time.Since(began) < 500*time.Millisecond {
		states, err := s.Take(t.Context(), shop, []ratelimit.Charge{fast}, nil)
		if err == nil && ratelimit.Passed(states) { // an error is a busy machine
			passed++
		}
	}
	if most := 20 + int64(time.Since(began)/(50*time.Millisecond)) + 1; passed < 28 || passed > most {
		t.Errorf("%d calls passed in half a second at 20 a second, want 28 … %d", passed, most)
	}
}

func TestKeysExpire(t *testing.T) {
	address, prefix := redisURL(t), newPrefix(t)
	s := open(t, address, prefix)
	take(t, s, key(10, time.Minute), ratelimit.Charge{Scope: ratelimit.Merchant, Mode: "test", Rate: rate(1_000_000, time.Second), Cost: 1})
	o, err := redis.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	defer c.Close()
	name := prefix + "{merchant:mer_a}:key:1m0s:0:::key_a"
	if ttl, err := c.PTTL(t.Context(), name).Result(); err != nil || ttl <= 0 || ttl > 6*time.Second {
		t.Errorf("%s lives for %v (%v), want 6 s at most: then the window is empty", name, ttl, err)
	}
}

// TestManyNodes lets two nodes share a limit.
func TestManyNodes(t *testing.T) {
	address, prefix := redisURL(t), newPrefix(t)
	nodes := []*redislimit.Store{open(t, address, prefix), open(t, address, prefix)}
	hundred := []ratelimit.Charge{key(100, time.Hour)}
	var passed, failed atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 100 {
				states, err := nodes[i%2].Take(context.Background(), shop, hundred, nil)
				switch {
				case err != nil: // a busy machine: the answer took more than 50 ms
					failed.Add(1)
				case ratelimit.Passed(states):
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	lost := failed.Load() // each may have counted
	if got := passed.Load(); got > 100 || got+lost < 100 || lost > 80 {
		t.Errorf("%d of 800 calls at two nodes passed, and %d failed; want 100 in all", got, lost)
	}
}

// TestGive returns charges, and at most what is there.
func TestGive(t *testing.T) {
	address, prefix := redisURL(t), newPrefix(t)
	s := open(t, address, prefix)
	ten := key(10, 24*time.Hour)
	ruled := ten
	ruled.Rule = "cards"
	for range 10 {
		take(t, s, ten, ruled)
	}
	look := ten
	look.Cost = 0
	give := func(ago time.Duration, cost, want int64) {
		t.Helper()
		back := ten
		back.Cost = cost
		if err := s.Give(t.Context(), shop, []ratelimit.Charge{back}, ago); err != nil {
			t.Fatal(err)
		}
		if states := take(t, s, look); states == nil || states[0].Remaining != want {
			t.Errorf("%d given back after %v: %+v, want %d left", cost, ago, states, want)
		}
	}
	give(0, 3, 3)
	give(24*time.Hour, 3, 3) // they have drained by themselves
	give(0, 99, 10)
	give(0, 1, 10)
	ruled.Cost = 0
	if states := take(t, s, ruled); states == nil || states[0].Remaining != 0 || states[0].Rule != "cards" {
		t.Errorf("the rule's window: %+v, want nothing given back", states)
	}
	o, err := redis.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	defer c.Close()
	if n, err := c.Exists(t.Context(), prefix+"{merchant:mer_a}:key:24h0m0s:0:::key_a").Result(); err != nil || n != 0 {
		t.Errorf("a window that is empty is kept: %d, %v", n, err)
	}
	if err := s.Give(t.Context(), shop, nil, 0); err != nil {
		t.Errorf("no charges: %v", err)
	}
	if err := s.Give(t.Context(), shop, []ratelimit.Charge{{}}, 0); err == nil {
		t.Error("a rate without a limit was given back")
	}
}

// TestNamesStayApart tries names of rules and callers that look like each other.
func TestNamesStayApart(t *testing.T) {
	s := open(t, redisURL(t), newPrefix(t))
	for _, c := range []ratelimit.Charge{
		{Name: "a"},
		{Name: ":a"},
		{Name: "a", Mode: "test"},
		{Name: "test:a"},
		{Name: "a", Rule: "r"},
		{Name: "r::a"},
		{Name: "a", Rule: "r:"},
		{Name: "a", Rule: "1:r"},
		{Rule: "r::a"},
		{Rule: "r", Mode: "test", Name: "a"},
	} {
		c.Scope, c.Rate, c.Cost = ratelimit.Key, rate(1, time.Hour), 1
		if !ratelimit.Passed(take(t, s, c)) || ratelimit.Passed(take(t, s, c)) {
			t.Errorf("%+v shares its window with another", c)
		}
	}
}

// TestManyNodesRefine lets two nodes share the rates of a rule: those by address
// and by account are decided apart from the key's, and still all count or none.
func TestManyNodesRefine(t *testing.T) {
	address, prefix := redisURL(t), newPrefix(t)
	nodes := []*ratelimit.Limiter{}
	for range 2 {
		nodes = append(nodes, ratelimit.New(open(t, address, prefix), ratelimit.NewFlights(), ratelimit.Policy{Now: time.Now}))
	}
	hour := func(n int64) []access.Rate { return []access.Rate{{Limit: n, Period: time.Hour}} }
	wide := []ratelimit.Extra{
		{Rule: "r", Scope: ratelimit.Address, Rates: hour(500)}, {Rule: "r", Scope: ratelimit.Merchant, Rates: hour(500)},
	}
	rules := append(slices.Clone(wide), ratelimit.Extra{Rule: "r", Scope: ratelimit.Account, Rates: hour(100)})
	caller := ratelimit.Caller{
		Merchant: "mer_a", Mode: "live", Key: "key_a", Route: "POST /v1/payments",
		Address: netip.MustParseAddr("192.0.2.1"), Account: "stripe_us",
	}
	var passed, failed atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 75 {
				v, err := nodes[i%2].Refine(context.Background(), caller, rules)
				switch {
				case err != nil: // a busy machine: the answer took more than 50 ms
					failed.Add(1)
				case v.Passed():
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	lost := failed.Load()
	if got := passed.Load(); got > 100 || got+lost < 100 || lost > 30 {
		t.Errorf("%d of 300 calls at two nodes passed, and %d failed; want 100 in all", got, lost)
	}
	v, err := nodes[0].Refine(t.Context(), caller, wide)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range v.States {
		// What the 200 refused calls took was given back but for the moments that it
		// was gone; one call is 7.2 s of this window.
		if s.Remaining < 395-lost || s.Remaining > 399 {
			t.Errorf("%s has %d left, want 399: what was refused is given back", s.Scope, s.Remaining)
		}
	}
}

// TestManyNodesAccount lets two nodes share an account's limit, each with calls in
// flight of its own.
func TestManyNodesAccount(t *testing.T) {
	address, prefix := redisURL(t), newPrefix(t)
	policy := ratelimit.Policy{Now: time.Now, Limits: map[ratelimit.Scope]ratelimit.Limit{
		ratelimit.Account: {Rates: []limiter.Rate{rate(5, time.Hour)}, InFlight: 2},
	}}
	nodes := []*ratelimit.Limiter{
		ratelimit.New(open(t, address, prefix), ratelimit.NewFlights(), policy),
		ratelimit.New(open(t, address, prefix), ratelimit.NewFlights(), policy),
	}
	var verdicts []ratelimit.Verdict
	for i, want := range []bool{true, true, true, true, false, false} {
		v, err := nodes[i%2].Account(t.Context(), "stripe_us")
		if err != nil || v.Passed() != want {
			t.Errorf("call %d: passed %v (%v), want %v", i, v.Passed(), err, want)
		}
		if v.Passed() {
			verdicts = append(verdicts, v)
		}
	}
	verdicts[0].Done()
	verdicts[2].Cancel(t.Context())
	passes := 0
	for i := range 6 {
		v, err := nodes[i%2].Account(t.Context(), "stripe_us")
		if err != nil {
			t.Fatal(err)
		}
		if v.Passed() {
			passes++
			v.Done()
		}
	}
	if passes != 2 {
		t.Errorf("%d more calls passed, want 2: one was left, and one was given back", passes)
	}
}

func TestContract(t *testing.T) {
	s := open(t, redisURL(t), newPrefix(t))
	l := limiter.New(s, rate(3, time.Hour))
	for i, want := range []limiter.Context{{Limit: 3, Remaining: 2}, {Limit: 3, Remaining: 1}, {Limit: 3}, {Limit: 3, Reached: true}} {
		got, err := l.Get(t.Context(), "k")
		got.Reset = 0
		if err != nil || got != want {
			t.Errorf("call %d: %+v, %v; want %+v", i, got, err, want)
		}
	}
	if got, err := l.Peek(t.Context(), "k"); err != nil || !got.Reached {
		t.Errorf("a look at a full window: %+v, %v", got, err)
	}
	if got, err := l.Reset(t.Context(), "k"); err != nil || got.Remaining != 3 {
		t.Errorf("a reset: %+v, %v; want 3 left", got, err)
	}
	if got, err := l.Increment(t.Context(), "k", 3); err != nil || got.Remaining != 0 || got.Reached {
		t.Errorf("three at once: %+v, %v; want none left", got, err)
	}
}

// TestLostAndFound cuts Redis off while two nodes share a limit.
func TestLostAndFound(t *testing.T) {
	address, prefix := redisURL(t), newPrefix(t)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	wire := newWire(t, u.Host)
	u.Host = wire.address()
	changes := make(chan error, 10)
	node := func() *ratelimit.Fallback {
		f := ratelimit.NewFallback(t.Context(), ratelimit.FallbackConfig{
			Shared: open(t, u.String(), prefix), Local: ratelimit.NewMemory(time.Now, 0), Nodes: 2, Now: time.Now,
			Changed: func(lost error) { changes <- lost }, ProbeEvery: 5 * time.Millisecond,
		})
		t.Cleanup(f.Close)
		return f
	}
	nodes := []*ratelimit.Fallback{node(), node()}
	ten := key(10, time.Hour)
	count := func(calls int) (passed int) {
		for i := range calls {
			if ratelimit.Passed(take(t, nodes[i%2], ten)) {
				passed++
			}
		}
		return passed
	}
	if got := count(4); got != 4 || !nodes[0].Shared() || !nodes[1].Shared() {
		t.Fatalf("%d of 4 calls passed; shared %v and %v", got, nodes[0].Shared(), nodes[1].Shared())
	}
	wire.cut()
	if got := count(40); got != 10 {
		t.Errorf("alone, %d calls passed at two nodes, want 10: half of ten at each", got)
	}
	for range nodes {
		if lost := <-changes; lost == nil {
			t.Error("told that Redis is back, want that it is lost")
		}
	}
	wire.mend()
	for range nodes {
		if lost := <-changes; lost != nil {
			t.Errorf("told of %v, want that Redis is back", lost)
		}
	}
	if got := count(40); got != 6 {
		t.Errorf("together again, %d calls passed, want the 6 that were left", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, address := range []string{"", "127.0.0.1:6379", "http://127.0.0.1", "redis://:canary@host:port:1/x"} {
		s, err := redislimit.Open(address, "", time.Now)
		if err == nil {
			_ = s.Close() // it should not have been opened
			t.Errorf("%q was taken", address)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	s := open(b, redisURL(b), newPrefix(b))
	charges := []ratelimit.Charge{
		{Scope: ratelimit.Key, Name: "key_a", Rate: rate(1000, time.Second), Cost: 1},
		{Scope: ratelimit.Merchant, Mode: "live", Rate: rate(5000, time.Second), Cost: 1},
	}
	var states []ratelimit.State
	var err error
	b.ReportAllocs()
	for b.Loop() {
		if states, err = s.Take(context.Background(), shop, charges, states[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

// wire is a TCP proxy on loopback that can be cut.
type wire struct {
	listener net.Listener
	to       string
	mu       sync.Mutex
	down     bool
	open     map[net.Conn]bool
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, to: to, open: map[net.Conn]bool{}}
	var accepting sync.WaitGroup
	accepting.Go(w.accept)
	t.Cleanup(func() {
		_ = l.Close() // it ends accept
		w.cut()
		accepting.Wait()
	})
	return w
}

func (w *wire) address() string { return w.listener.Addr().String() }

func (w *wire) accept() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return
		}
		go w.carry(c)
	}
}

func (w *wire) carry(near net.Conn) {
	far, err := new(net.Dialer).DialContext(context.Background(), "tcp", w.to)
	if err != nil {
		_ = near.Close() // there is nobody to talk to
		return
	}
	w.mu.Lock()
	down := w.down
	w.open[near], w.open[far] = true, true
	w.mu.Unlock()
	if down {
		w.hangUp(near, far)
		return
	}
	go func() {
		_, _ = io.Copy(far, near) // it ends when either side does
		w.hangUp(near, far)
	}()
	_, _ = io.Copy(near, far) // as above
	w.hangUp(near, far)
}

func (w *wire) hangUp(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // twice is fine
		delete(w.open, c)
	}
}

// cut ends all connections, and every new one at once.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = true
	for c := range w.open {
		_ = c.Close() // its copies end
	}
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = false
}
