package ratelimit_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ulule/limiter/v3"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/ratelimit"
)

func policy(s ratelimit.Scope, l ratelimit.Limit) ratelimit.Policy {
	return ratelimit.Policy{Limits: map[ratelimit.Scope]ratelimit.Limit{s: l}}
}

func rates(r ...limiter.Rate) ratelimit.Limit { return ratelimit.Limit{Rates: r} }

var shop = ratelimit.Caller{Merchant: "mer_a", Mode: "test", Key: "key_a", Route: "POST /v1/payments"}

func with(f func(*ratelimit.Caller)) ratelimit.Caller {
	c := shop
	f(&c)
	return c
}

// TestAdmit calls once with a first caller, and then with a second.
func TestAdmit(t *testing.T) {
	otherKey := with(func(c *ratelimit.Caller) { c.Key = "key_b" })
	live := with(func(c *ratelimit.Caller) { c.Mode = "live"; c.Key = "key_l" })
	other := with(func(c *ratelimit.Caller) { c.Merchant = "mer_b"; c.Key = "key_x" })
	reader := with(func(c *ratelimit.Caller) { c.Route = "GET /v1/payments" })
	generous := with(func(c *ratelimit.Caller) { c.Rates = []access.Rate{{Limit: 2, Period: time.Minute}} })
	once := rates(rate(1, time.Minute))
	tests := []struct {
		name          string
		policy        ratelimit.Policy
		first, second ratelimit.Caller
		refused       ratelimit.Scope // of the second; "" = it passed
	}{
		{"no limit", ratelimit.Policy{}, shop, shop, ""},
		{"a key", policy(ratelimit.Key, once), shop, shop, ratelimit.Key},
		{"another key", policy(ratelimit.Key, once), shop, otherKey, ""},
		{"a merchant", policy(ratelimit.Merchant, once), shop, otherKey, ratelimit.Merchant},
		{"another merchant", policy(ratelimit.Merchant, once), shop, other, ""},
		{"a merchant in another mode", policy(ratelimit.Merchant, once), shop, live, ""},
		{"a route", policy(ratelimit.Route, once), shop, otherKey, ratelimit.Route},
		{"another route", policy(ratelimit.Route, once), shop, reader, ""},
		{"a route in another mode", policy(ratelimit.Route, once), shop, live, ""},
		{"a route of another merchant", policy(ratelimit.Route, once), shop, other, ""},
		{"a key's own rate in place of the default", policy(ratelimit.Key, once), generous, generous, ""},
		{"a key's own rate without a default", ratelimit.Policy{}, with(func(c *ratelimit.Caller) {
			c.Rates = []access.Rate{{Limit: 1, Period: time.Minute}}
		}), with(func(c *ratelimit.Caller) { c.Rates = []access.Rate{{Limit: 1, Period: time.Minute}} }), ratelimit.Key},
		{"addresses do not matter here", policy(ratelimit.Address, once), shop, shop, ""},
		{"a second window", policy(ratelimit.Key, rates(rate(9, time.Second), rate(1, time.Hour))), shop, shop, ratelimit.Key},
		{"a dear route", ratelimit.Policy{
			Limits: map[ratelimit.Scope]ratelimit.Limit{ratelimit.Key: rates(rate(5, time.Minute))},
			Costs:  map[string]int64{"POST /v1/payments": 3},
		}, shop, shop, ratelimit.Key},
		{"a cheap route", ratelimit.Policy{
			Limits: map[ratelimit.Scope]ratelimit.Limit{ratelimit.Key: rates(rate(5, time.Minute))},
			Costs:  map[string]int64{"POST /v1/payments": 3},
		}, shop, reader, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := ratelimit.New(ratelimit.NewMemory(newClock().now, 0), ratelimit.NewFlights(), tt.policy)
			first, err := l.Admit(t.Context(), tt.first)
			if err != nil || !first.Passed() {
				t.Fatalf("the first call: passed %v, %v", first.Passed(), err)
			}
			second, err := l.Admit(t.Context(), tt.second)
			if err != nil {
				t.Fatal(err)
			}
			refusal, refused := second.Refusal()
			if refusal.Scope != tt.refused || refused != (tt.refused != "") || second.Passed() == refused {
				t.Errorf("the second call was refused by %q (passed %v), want %q", refusal.Scope, second.Passed(), tt.refused)
			}
		})
	}
}

func TestArrive(t *testing.T) {
	tests := []struct {
		name, first, second string
		passes              bool
	}{
		{"the same", "192.0.2.1", "192.0.2.1", false},
		{"its neighbor", "192.0.2.1", "192.0.2.2", true},
		{"IPv4 in the guise of IPv6", "192.0.2.1", "::ffff:192.0.2.1", false},
		{"one network of IPv6", "2001:db8::1", "2001:db8::ffff:1", false},
		{"its neighbor network", "2001:db8::1", "2001:db8:0:1::1", true},
		{"a zone", "fe80::1%eth0", "fe80::1%eth1", false},
		{"unknown", "", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := ratelimit.New(ratelimit.NewMemory(newClock().now, 0), ratelimit.NewFlights(), policy(ratelimit.Address, rates(rate(1, time.Minute))))
			first, _ := netip.ParseAddr(tt.first)
			second, _ := netip.ParseAddr(tt.second)
			if v, err := l.Arrive(t.Context(), first); err != nil || !v.Passed() {
				t.Fatalf("the first call: passed %v, %v", v.Passed(), err)
			}
			if v, err := l.Arrive(t.Context(), second); err != nil || v.Passed() != tt.passes {
				t.Errorf("the second call passed: %v (%v), want %v", v.Passed(), err, tt.passes)
			}
		})
	}
}

func TestInFlight(t *testing.T) {
	l := ratelimit.New(ratelimit.NewMemory(newClock().now, 0), ratelimit.NewFlights(), ratelimit.Policy{
		Limits: map[ratelimit.Scope]ratelimit.Limit{
			ratelimit.Merchant: {InFlight: 2},
			ratelimit.Key:      {InFlight: 1, Rates: []limiter.Rate{rate(3, time.Hour)}},
		},
	})
	admit := func(c ratelimit.Caller) ratelimit.Verdict {
		t.Helper()
		v, err := l.Admit(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	refusedBy := func(v ratelimit.Verdict) ratelimit.Scope { s, _ := v.Refusal(); return s.Scope }
	key := func(k string) ratelimit.Caller { return with(func(c *ratelimit.Caller) { c.Key = k }) }
	a := admit(key("a"))
	if got := refusedBy(admit(key("a"))); got != ratelimit.Key {
		t.Errorf("a second call of one key was refused by %q, want the key", got)
	}
	b := admit(key("b"))
	if !a.Passed() || !b.Passed() {
		t.Fatal("two calls of two keys do not pass")
	}
	if got := refusedBy(admit(key("c"))); got != ratelimit.Merchant {
		t.Errorf("a third call of one merchant was refused by %q, want the merchant", got)
	}
	if v := admit(with(func(c *ratelimit.Caller) { c.Mode = "live"; c.Key = "l" })); !v.Passed() {
		t.Error("calls in mode test count in mode live")
	}
	a.Done()
	a.Done() // a second time is the same as once
	c := admit(key("c"))
	if !c.Passed() {
		t.Error("a call that ended still counts")
	}
	if got := refusedBy(admit(key("d"))); got != ratelimit.Merchant {
		t.Errorf("refused by %q, want the merchant: one call ended, once", got)
	}
	b.Done()
	c.Done()
	// The key a has 2 of 3 left: what its calls in flight refused did not count.
	for range 2 {
		v := admit(key("a"))
		if !v.Passed() {
			t.Fatal("a call that was refused was counted")
		}
		v.Done()
	}
	// What the window refuses gives its place back.
	for range 3 {
		if v := admit(key("a")); v.Passed() || refusedBy(v) != ratelimit.Key {
			t.Error("the window let a fourth call pass")
		}
	}
	for _, k := range []string{"b", "c"} {
		if v := admit(key(k)); !v.Passed() {
			t.Error("calls that a window refused are still in flight")
		}
	}
}

func TestFields(t *testing.T) {
	c := newClock()
	l := ratelimit.New(ratelimit.NewMemory(c.now, 0), ratelimit.NewFlights(), ratelimit.Policy{
		Limits: map[ratelimit.Scope]ratelimit.Limit{
			ratelimit.Key:      rates(rate(3, time.Second), rate(4, time.Minute)),
			ratelimit.Merchant: {Rates: []limiter.Rate{rate(100, time.Second)}, InFlight: 9},
		},
	})
	const declared = `"merchant-in-flight";q=9;qu="concurrent-requests", "key-1s";q=3;w=1, "key-1m";q=4;w=60, "merchant-1s";q=100;w=1`
	for i, tt := range []struct {
		after time.Duration
		want  string
	}{
		{0, `"key-1s";r=2;t=1`},
		{0, `"key-1s";r=1;t=1`},
		{time.Second, `"key-1m";r=1;t=44`},
		{time.Second, `"key-1m";r=0;t=58`},
		{0, `"key-1m";r=0;t=13`}, // refused: 15 s a call, 2 s of which have passed
	} {
		c.move(tt.after)
		v, err := l.Admit(t.Context(), shop)
		if err != nil {
			t.Fatal(err)
		}
		v.Done()
		policy, limit := ratelimit.Fields(v.States)
		if diff := cmp.Diff([]string{declared, tt.want}, []string{policy, limit}); diff != "" {
			t.Errorf("call %d (-want +got):\n%s", i, diff)
		}
	}
	if policy, limit := ratelimit.Fields(nil); policy != "" || limit != "" {
		t.Errorf("fields of no limit are %q and %q", policy, limit)
	}
}

func TestContract(t *testing.T) {
	c := newClock()
	contract(t, ratelimit.NewMemory(c.now, 0), "k")
	if _, err := ratelimit.NewMemory(c.now, 0).Get(t.Context(), "k", limiter.Rate{}); err == nil {
		t.Error("a rate without a limit was taken")
	}
}

// contract holds a store to that of ulule/limiter.
func contract(t *testing.T, s limiter.Store, key string) {
	t.Helper()
	r := rate(3, time.Hour)
	l := limiter.New(s, r)
	look := func(name string, got limiter.Context, err error, remaining int64, reached bool) {
		t.Helper()
		if err != nil || got.Limit != 3 || got.Remaining != remaining || got.Reached != reached {
			t.Errorf("%s: %+v, %v; want %d left, reached %v", name, got, err, remaining, reached)
		}
	}
	got, err := l.Peek(t.Context(), key)
	look("a look", got, err, 3, false)
	got, err = l.Get(t.Context(), key)
	look("one call", got, err, 2, false)
	got, err = l.Increment(t.Context(), key, 3)
	look("three calls at once", got, err, 2, true)
	got, err = l.Increment(t.Context(), key, 2)
	look("two calls at once", got, err, 0, false)
	got, err = l.Get(t.Context(), key)
	look("one too many", got, err, 0, true)
	got, err = l.Peek(t.Context(), key)
	look("a look at a full window", got, err, 0, true)
	got, err = l.Reset(t.Context(), key)
	look("a reset", got, err, 3, false)
	got, err = l.Get(t.Context(), key)
	look("after the reset", got, err, 2, false)
	if got.Reset <= 0 {
		t.Errorf("the reset is at %d, want Unix seconds", got.Reset)
	}
}

func TestErrorsLeaveNothingInFlight(t *testing.T) {
	lost := &flaky{err: errors.New("away")}
	f := ratelimit.NewFallback(t.Context(), ratelimit.FallbackConfig{
		Shared: lost, Local: ratelimit.NewMemory(newClock().now, 0), Refuse: true, Now: newClock().now, ProbeEvery: time.Hour,
	})
	defer f.Close()
	l := ratelimit.New(f, ratelimit.NewFlights(), policy(ratelimit.Key, ratelimit.Limit{InFlight: 1, Rates: []limiter.Rate{rate(9, time.Second)}}))
	for range 3 {
		if _, err := l.Admit(t.Context(), shop); !errors.Is(err, ratelimit.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
	}
}

func BenchmarkAdmit(b *testing.B) {
	l := ratelimit.New(ratelimit.NewMemory(time.Now, 0), ratelimit.NewFlights(), ratelimit.Policy{
		Limits: map[ratelimit.Scope]ratelimit.Limit{
			ratelimit.Key: rates(rate(1000, time.Second)), ratelimit.Merchant: rates(rate(5000, time.Second)),
		},
	})
	b.ReportAllocs()
	for b.Loop() {
		v, err := l.Admit(b.Context(), shop)
		if err != nil {
			b.Fatal(err)
		}
		v.Done()
	}
}

func BenchmarkArrive(b *testing.B) {
	l := ratelimit.New(ratelimit.NewMemory(time.Now, 0), ratelimit.NewFlights(), policy(ratelimit.Address, rates(rate(1000, time.Second))))
	from := netip.MustParseAddr("2001:db8::1")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Arrive(b.Context(), from); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAdmitThreeScopes(b *testing.B) {
	l := ratelimit.New(ratelimit.NewMemory(time.Now, 0), ratelimit.NewFlights(), ratelimit.Policy{
		Limits: map[ratelimit.Scope]ratelimit.Limit{
			ratelimit.Key: rates(rate(1000, time.Second)), ratelimit.Merchant: rates(rate(5000, time.Second)),
			ratelimit.Route: rates(rate(2000, time.Second)),
		},
	})
	b.ReportAllocs()
	for b.Loop() {
		v, err := l.Admit(b.Context(), shop)
		if err != nil {
			b.Fatal(err)
		}
		v.Done()
	}
}
