package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/ratelimit"
)

func extra(rule string, s ratelimit.Scope, r ...access.Rate) ratelimit.Extra {
	return ratelimit.Extra{Rule: rule, Scope: s, Rates: r}
}

// each is n calls in a minute.
func each(n int64) access.Rate { return access.Rate{Limit: n, Period: time.Minute} }

// refining is a limiter over memory on a clock.
func refining(p ratelimit.Policy) (*ratelimit.Limiter, *ratelimit.Memory, *clock) {
	c := newClock()
	m := ratelimit.NewMemory(c.now, 0)
	p.Now = c.now
	return ratelimit.New(m, ratelimit.NewFlights(), p), m, c
}

var here = with(func(c *ratelimit.Caller) { c.Address, c.Account = netip.MustParseAddr("192.0.2.1"), "stripe_us" })

func at(f func(*ratelimit.Caller)) ratelimit.Caller {
	c := here
	f(&c)
	return c
}

// TestRefine calls once with a first caller, and then with a second.
func TestRefine(t *testing.T) {
	otherKey := at(func(c *ratelimit.Caller) { c.Key = "key_b" })
	otherMerchant := at(func(c *ratelimit.Caller) { c.Merchant = "mer_b" })
	elsewhere := at(func(c *ratelimit.Caller) { c.Address = netip.MustParseAddr("192.0.2.2") })
	live := at(func(c *ratelimit.Caller) { c.Mode = "live" })
	reader := at(func(c *ratelimit.Caller) { c.Route = "GET /v1/payments" })
	otherAccount := at(func(c *ratelimit.Caller) { c.Account = "adyen_eu" })
	unnamed := at(func(c *ratelimit.Caller) { c.Account = "" })
	one := func(s ratelimit.Scope) []ratelimit.Extra { return []ratelimit.Extra{extra("r", s, each(1))} }
	tests := []struct {
		name    string
		rules   []ratelimit.Extra
		second  ratelimit.Caller
		then    []ratelimit.Extra // the second call's; nil = rules
		refused ratelimit.Scope
	}{
		{"a key", one(ratelimit.Key), here, nil, ratelimit.Key},
		{"another key", one(ratelimit.Key), otherKey, nil, ""},
		{"a merchant", one(ratelimit.Merchant), otherKey, nil, ratelimit.Merchant},
		{"another merchant", one(ratelimit.Merchant), otherMerchant, nil, ""},
		{"another mode", one(ratelimit.Merchant), live, nil, ""},
		{"a route", one(ratelimit.Route), otherKey, nil, ratelimit.Route},
		{"another route", one(ratelimit.Route), reader, nil, ""},
		{"a route in another mode", one(ratelimit.Route), live, nil, ""},
		{"an address", one(ratelimit.Address), otherMerchant, nil, ratelimit.Address},
		{"another address", one(ratelimit.Address), elsewhere, nil, ""},
		{"an account", one(ratelimit.Account), otherMerchant, nil, ratelimit.Account},
		{"another account", one(ratelimit.Account), otherAccount, nil, ""},
		{"no account is named", one(ratelimit.Account), unnamed, nil, ""},
		{"another rule with the same window", one(ratelimit.Key), here, []ratelimit.Extra{extra("s", ratelimit.Key, each(1))}, ""},
		{"another window of the rule", one(ratelimit.Key), here, []ratelimit.Extra{
			extra("r", ratelimit.Key, access.Rate{Limit: 1, Period: time.Hour}),
		}, ""},
		{"a raised limit forgets nothing", one(ratelimit.Key), here, []ratelimit.Extra{extra("r", ratelimit.Key, each(1))}, ratelimit.Key},
		{
			"the tightest of several", []ratelimit.Extra{
				extra("r", ratelimit.Key, each(9), access.Rate{Limit: 1, Period: time.Hour}), extra("s", ratelimit.Merchant, each(5)),
			}, here, nil, ratelimit.Key,
		},
		{"no rule", nil, here, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, _, _ := refining(ratelimit.Policy{})
			if v, err := l.Refine(t.Context(), here, tt.rules); err != nil || !v.Passed() {
				t.Fatalf("the first call: passed %v, %v", v.Passed(), err)
			}
			if tt.then == nil {
				tt.then = tt.rules
			}
			v, err := l.Refine(t.Context(), tt.second, tt.then)
			if err != nil {
				t.Fatal(err)
			}
			s, refused := v.Refusal()
			if s.Scope != tt.refused || refused != (tt.refused != "") || refused && s.Rule != tt.rules[0].Rule {
				t.Errorf("the second call was refused by %q of %q, want %q", s.Scope, s.Rule, tt.refused)
			}
		})
	}
}

// TestRefineCountsBeside fills the configured limit and a rule's, of one window.
func TestRefineCountsBeside(t *testing.T) {
	p := policy(ratelimit.Key, rates(rate(2, time.Minute)))
	p.Costs = map[string]int64{"GET /v1/payments": 3}
	l, _, _ := refining(p)
	rule := []ratelimit.Extra{extra("r", ratelimit.Key, each(3)), extra("r", ratelimit.Address, each(3))}
	for i, want := range []bool{true, true, false} {
		v, err := l.Admit(t.Context(), here)
		if err != nil || v.Passed() != want {
			t.Errorf("call %d is admitted: %v (%v), want %v", i, v.Passed(), err, want)
		}
	}
	for i, want := range []bool{true, true, true, false} {
		v, err := l.Refine(t.Context(), here, rule)
		if err != nil || v.Passed() != want {
			t.Errorf("call %d is refined: %v (%v), want %v", i, v.Passed(), err, want)
		}
	}
	// A dear route is dear for rules as well, but not by address.
	dear := at(func(c *ratelimit.Caller) { c.Route, c.Key = "GET /v1/payments", "key_d" })
	dear.Address = netip.MustParseAddr("192.0.2.9")
	v, err := l.Refine(t.Context(), dear, rule)
	if err != nil || len(v.States) != 2 || v.States[0].Remaining != 2 || v.States[1].Remaining != 0 {
		t.Errorf("after a call that costs 3: %+v, %v; want 2 left of the address and none of the key", v.States, err)
	}
}

// TestRefineIsAllOrNothing lets each scope refuse in turn, and looks at the others.
func TestRefineIsAllOrNothing(t *testing.T) {
	for _, tight := range ratelimit.Scopes {
		t.Run(string(tight), func(t *testing.T) {
			l, _, _ := refining(ratelimit.Policy{})
			var rules, wide []ratelimit.Extra
			for _, s := range ratelimit.Scopes {
				n := int64(10)
				if s == tight {
					n = 1
				} else {
					wide = append(wide, extra("r", s, each(n)))
				}
				rules = append(rules, extra("r", s, each(n)))
			}
			for i := range 5 {
				v, err := l.Refine(t.Context(), here, rules)
				if s, _ := v.Refusal(); err != nil || v.Passed() != (i == 0) || i > 0 && s.Scope != tight {
					t.Errorf("call %d: passed %v, refused by %q, %v", i, v.Passed(), s.Scope, err)
				}
			}
			v, err := l.Refine(t.Context(), here, wide)
			if err != nil || len(v.States) != len(wide) {
				t.Fatalf("%+v, %v", v.States, err)
			}
			for _, s := range v.States {
				if s.Remaining != 8 {
					t.Errorf("%s has %d left, want 8: only two calls have passed", s.Scope, s.Remaining)
				}
			}
		})
	}
}

// TestRefineManyRules asks for more windows than a store decides over at once.
func TestRefineManyRules(t *testing.T) {
	l, m, _ := refining(ratelimit.Policy{})
	var rules []ratelimit.Extra
	for i := range ratelimit.MaxExtra / 2 {
		rules = append(rules, extra(fmt.Sprint(i), ratelimit.Key, each(10)), extra(fmt.Sprint(i), ratelimit.Address, each(10)))
	}
	rules[len(rules)-2].Rates[0].Limit = 1 // the last of the key's
	for i, want := range []bool{true, false, false} {
		v, err := l.Refine(t.Context(), here, rules)
		if s, _ := v.Refusal(); err != nil || v.Passed() != want || !want && s.Rule != rules[len(rules)-2].Rule {
			t.Fatalf("call %d: passed %v, refused by %q, %v", i, v.Passed(), s.Rule, err)
		}
	}
	if got := m.Len(); got != ratelimit.MaxExtra {
		t.Errorf("%d windows are in memory, want %d", got, ratelimit.MaxExtra)
	}
	v, err := l.Refine(t.Context(), here, slices.Delete(slices.Clone(rules), len(rules)-2, len(rules)-1))
	if err != nil || !v.Passed() || len(v.States) != ratelimit.MaxExtra-1 {
		t.Fatalf("%d states, %v", len(v.States), err)
	}
	for _, s := range v.States {
		if s.Remaining != 8 {
			t.Errorf("%s of %s has %d left, want 8", s.Scope, s.Rule, s.Remaining)
		}
	}
	if _, err := l.Refine(t.Context(), here, append(rules, extra("one more", ratelimit.Key, each(1)))); err == nil {
		t.Error("more windows than there may be were taken")
	}
	if _, err := l.Refine(t.Context(), here, []ratelimit.Extra{extra("r", "moon", each(1))}); err == nil || !strings.Contains(err.Error(), "moon") {
		t.Errorf("a scope that there is not: %v", err)
	}
}

// TestRefineOutOfReach gives back what it can, and says that it cannot decide.
func TestRefineOutOfReach(t *testing.T) {
	f, shared, _ := fallback(t, ratelimit.FallbackConfig{Refuse: true})
	l := ratelimit.New(f, ratelimit.NewFlights(), ratelimit.Policy{Now: time.Now})
	shared.set(errors.New("away"), false)
	if _, err := l.Refine(t.Context(), here, []ratelimit.Extra{extra("r", ratelimit.Key, each(1))}); !errors.Is(err, ratelimit.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

func TestRefineFields(t *testing.T) {
	l, _, c := refining(policy(ratelimit.Key, rates(rate(100, time.Second))))
	admitted, err := l.Admit(t.Context(), here)
	if err != nil {
		t.Fatal(err)
	}
	rules := []ratelimit.Extra{extra(`slow "cards" \ é`, ratelimit.Key, each(2)), extra("ip", ratelimit.Address, each(10))}
	const declared = `"key-1s";q=100;w=1, "ip:ip-1m";q=10;w=60, "slow _cards_ _ __:key-1m";q=2;w=60`
	for i, want := range []string{`"slow _cards_ _ __:key-1m";r=1;t=30`, `"slow _cards_ _ __:key-1m";r=0;t=60`, `"slow _cards_ _ __:key-1m";r=0;t=30`} {
		v, err := l.Refine(t.Context(), here, rules)
		if err != nil {
			t.Fatal(err)
		}
		policy, limit := ratelimit.Fields(slices.Concat(admitted.States, v.States))
		if diff := cmp.Diff([]string{declared, want}, []string{policy, limit}); diff != "" {
			t.Errorf("call %d (-want +got):\n%s", i, diff)
		}
		if s, refused := v.Refusal(); refused {
			c.move(time.Duration(ratelimit.Seconds(s.Retry)) * time.Second)
			if v, err := l.Refine(t.Context(), here, rules); err != nil || !v.Passed() {
				t.Errorf("after Retry-After: passed %v, %v", v.Passed(), err)
			}
		}
	}
}

// TestFieldsAfter holds t to a Retry-After that is about something else.
func TestFieldsAfter(t *testing.T) {
	state := ratelimit.State{Scope: ratelimit.Key, Rate: rate(10, time.Minute), Remaining: 4, Reset: 36 * time.Second}
	refused := state
	refused.Retry = 5500 * time.Millisecond
	flying := ratelimit.State{Scope: ratelimit.Key, Rate: rate(3, 0), Retry: time.Second, Concurrent: true}
	for _, tt := range []struct {
		name  string
		state ratelimit.State
		retry time.Duration
		want  string
	}{
		{"no Retry-After", state, 0, `"key-1m";r=4;t=36`},
		{"an earlier one", state, time.Second, `"key-1m";r=4`},
		{"the same", state, 36 * time.Second, `"key-1m";r=4;t=36`},
		{"a later one", state, time.Minute, `"key-1m";r=4;t=36`},
		{"the refusal's own", refused, 5500 * time.Millisecond, `"key-1m";r=4;t=6`},
		{"earlier than the refusal", refused, 5 * time.Second, `"key-1m";r=4`},
		{"calls in flight", flying, time.Second, `"key-in-flight";r=0;t=1`},
	} {
		if _, got := ratelimit.FieldsAfter([]ratelimit.State{tt.state}, tt.retry); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	var many []ratelimit.State
	for i := range 40 {
		s := state
		s.Rule = fmt.Sprint(i)
		many = append(many, s)
	}
	for _, tightest := range []int{3, 15, 16, 39} {
		states := slices.Clone(many)
		states[tightest].Remaining = 1
		policy, limit := ratelimit.Fields(states)
		name := fmt.Sprintf(`"%d:key-1m"`, tightest)
		if n := strings.Count(policy, ";q="); n != 16 || !strings.Contains(policy, name) || !strings.HasPrefix(limit, name) {
			t.Errorf("the tightest of 40 is the one at %d: %d windows are told, %s\n%s", tightest, n, limit, policy)
		}
	}
}

// TestAccount counts by the account alone, whoever calls.
func TestAccount(t *testing.T) {
	l, _, c := refining(policy(ratelimit.Account, ratelimit.Limit{Rates: rates(rate(2, time.Minute)).Rates, InFlight: 2}))
	take := func(account, refused string) ratelimit.Verdict {
		t.Helper()
		v, err := l.Account(t.Context(), account)
		s, _ := v.Refusal()
		got := ""
		if s.Retry > 0 {
			got = fmt.Sprintf("%s %v", s.Scope, s.Concurrent)
		}
		if err != nil || got != refused {
			t.Errorf("%s: refused by %q (%v), want %q", account, got, err, refused)
		}
		return v
	}
	first := take("stripe_us", "")
	second := take("stripe_us", "")
	take("stripe_us", "account true")
	take("adyen_eu", "")
	first.Done()
	take("stripe_us", "account false")
	second.Cancel(t.Context()) // it was not sent
	third := take("stripe_us", "")
	take("stripe_us", "account false")
	third.Done()
	third.Cancel(t.Context()) // it was, but this is how one asks twice
	c.move(time.Minute)
	for range 2 {
		v := take("stripe_us", "")
		v.Done()
	}
	take("stripe_us", "account false")

	free, _, _ := refining(ratelimit.Policy{})
	if v, err := free.Account(t.Context(), "stripe_us"); err != nil || !v.Passed() || v.States != nil {
		t.Errorf("without a limit: %+v, %v", v.States, err)
	}
	if l.Limits(ratelimit.Key) || !l.Limits(ratelimit.Account) || free.Limits(ratelimit.Account) {
		t.Error("what is limited, and what is not, is told wrongly")
	}
}

// TestGiveIsNeverTooMuch compares a window whose charges are given back with one
// from which they were never taken: it never has more room.
func TestGiveIsNeverTooMuch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		given, never := ratelimit.NewMemory(c.now, 0), ratelimit.NewMemory(c.now, 0)
		one := ratelimit.Charge{Scope: ratelimit.Key, Rate: rate(rapid.Int64Range(1, 6).Draw(t, "limit"), time.Second), Cost: 1}
		level := func(m *ratelimit.Memory) time.Duration {
			look := one
			look.Cost = 0
			states, err := m.Take(context.Background(), group("m"), []ratelimit.Charge{look}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return states[0].Reset
		}
		var taken []time.Time
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			c.move(time.Duration(rapid.Int64Range(0, 600).Draw(t, "wait")) * time.Millisecond)
			switch {
			case len(taken) > 0 && rapid.Bool().Draw(t, "give"):
				if err := given.Give(context.Background(), group("m"), []ratelimit.Charge{one}, c.now().Sub(taken[0])); err != nil {
					t.Fatal(err)
				}
				taken = taken[1:]
			default:
				states, err := given.Take(context.Background(), group("m"), []ratelimit.Charge{one}, nil)
				if err != nil || !ratelimit.Passed(states) {
					continue
				}
				if rapid.Bool().Draw(t, "regret") {
					taken = append(taken, c.now())
				} else if states, err := never.Take(context.Background(), group("m"), []ratelimit.Charge{one}, nil); err != nil || !ratelimit.Passed(states) {
					t.Fatalf("what was given back let a call pass that never would have: %+v, %v", states, err)
				}
			}
			if a, b := level(given), level(never); a < b {
				t.Fatalf("the window is filled by %v, and would be by %v", a, b)
			}
		}
	})
}

func TestGive(t *testing.T) {
	c := newClock()
	m := ratelimit.NewMemory(c.now, 0)
	five := ratelimit.Charge{Scope: ratelimit.Key, Rate: rate(5, time.Second), Cost: 1}
	left := func(want int64) {
		t.Helper()
		look := five
		look.Cost = 0
		if states, err := m.Take(t.Context(), group("m"), []ratelimit.Charge{look}, nil); err != nil || states[0].Remaining != want {
			t.Errorf("%d are left (%v), want %d", states[0].Remaining, err, want)
		}
	}
	give := func(ago time.Duration, charges ...ratelimit.Charge) {
		t.Helper()
		if err := m.Give(t.Context(), group("m"), charges, ago); err != nil {
			t.Error(err)
		}
	}
	for range 5 {
		passes(t, m, group("m"), five)
	}
	give(0, five)
	left(1)
	give(-time.Hour, five) // a clock that was set back
	left(2)
	give(time.Second, five) // it has drained by itself
	left(2)
	give(150*time.Millisecond, five) // a quarter is left of it
	left(2)
	three := five
	three.Cost = 3
	give(0, three)
	left(5)
	give(0, three) // more than there is
	left(5)
	before := m.Len()
	other := five
	other.Name = "never seen"
	give(0, other)
	if got := m.Len(); got != before {
		t.Errorf("%d windows are in memory, want %d: there was nothing to give back", got, before)
	}
	if err := m.Give(t.Context(), group("m"), []ratelimit.Charge{{}}, 0); err == nil {
		t.Error("a rate without a limit was given back")
	}
}

// TestGiveFallsBack gives to the store that counts.
func TestGiveFallsBack(t *testing.T) {
	f, shared, changes := fallback(t, ratelimit.FallbackConfig{Nodes: 2, ProbeEvery: time.Hour})
	four := ratelimit.Charge{Scope: ratelimit.Key, Rate: rate(4, time.Hour), Cost: 1}
	give := func() error { return f.Give(t.Context(), group("m"), []ratelimit.Charge{four}, 0) }
	count := func() (n int) {
		for range 10 {
			if passes(t, f, group("m"), four) {
				n++
			}
		}
		return n
	}
	if got := count(); got != 4 {
		t.Fatalf("%d calls passed, want 4", got)
	}
	if err := give(); err != nil {
		t.Fatal(err)
	}
	if got := count(); got != 1 {
		t.Errorf("%d calls passed after one was given back, want 1", got)
	}
	shared.set(errors.New("away"), false)
	if err := give(); !errors.Is(err, ratelimit.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if lost := <-changes; lost == nil {
		t.Error("told that the store is back, want that it is lost")
	}
	if got := count(); got != 2 {
		t.Fatalf("alone %d calls passed, want half of 4", got)
	}
	if err := give(); err != nil {
		t.Fatal(err)
	}
	if got := count(); got != 1 {
		t.Errorf("alone %d calls passed after one was given back, want 1", got)
	}
	if err := f.Give(t.Context(), group("m"), make([]ratelimit.Charge, ratelimit.MaxCharges+1), 0); err == nil {
		t.Error("too many charges were given back")
	}
}

func BenchmarkRefine(b *testing.B) {
	l := ratelimit.New(ratelimit.NewMemory(time.Now, 0), ratelimit.NewFlights(), ratelimit.Policy{Now: time.Now})
	rules := []ratelimit.Extra{
		extra("cards", ratelimit.Key, access.Rate{Limit: 1_000_000, Period: time.Second}),
		extra("cards", ratelimit.Address, access.Rate{Limit: 1_000_000, Period: time.Second}),
	}
	b.ReportAllocs()
	for b.Loop() {
		v, err := l.Refine(b.Context(), here, rules)
		if err != nil {
			b.Fatal(err)
		}
		v.Done()
	}
}

func BenchmarkAccount(b *testing.B) {
	p := policy(ratelimit.Account, ratelimit.Limit{Rates: rates(rate(1_000_000, time.Second)).Rates, InFlight: 20})
	p.Now = time.Now
	l := ratelimit.New(ratelimit.NewMemory(time.Now, 0), ratelimit.NewFlights(), p)
	b.ReportAllocs()
	for b.Loop() {
		v, err := l.Account(b.Context(), "stripe_us")
		if err != nil {
			b.Fatal(err)
		}
		v.Done()
	}
}
