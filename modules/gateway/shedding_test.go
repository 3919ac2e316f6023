package gateway

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/ulule/limiter/v3"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/ratelimit"
)

// samples gathers the series of a metric by its labels.
func samples(t *testing.T, m *meter, name string) map[string]float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	if err := m.register(r); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, s := range f.GetMetric() {
			var labels []string
			for _, l := range s.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if v := s.GetCounter().GetValue() + s.GetGauge().GetValue(); v != 0 {
				got[strings.Join(labels, " ")] = v
			}
		}
	}
	return got
}

// TestShedding counts what is turned away, what would be, and what is under way.
func TestShedding(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config *LoadSheddingConfig
		want   map[string]float64
	}{
		{"none", nil, map[string]float64{}},
		{"one call", &LoadSheddingConfig{InFlight: 1}, map[string]float64{"live_money false": 1, "test false": 2}},
		{"dry run", &LoadSheddingConfig{InFlight: 1, DryRun: true}, map[string]float64{"live_money true": 1, "test true": 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMeter()
			s := tt.config.shedder(m)
			var leaves []func()
			for _, class := range []ratelimit.Class{ratelimit.LiveRead, ratelimit.TestMode, ratelimit.LiveMoney, ratelimit.TestMode, ratelimit.Always} {
				leave, ok := s.Enter(class)
				if refuses := tt.config != nil && !tt.config.DryRun && class != ratelimit.Always && len(leaves) > 0; ok == refuses {
					t.Errorf("%v is let in: %v", class, ok)
				}
				if ok {
					leaves = append(leaves, leave)
				}
			}
			under := 4.0
			if tt.name == "one call" {
				under = 1
			}
			if got := samples(t, m, "purser_in_flight"); got[""] != under {
				t.Errorf("%v calls are under way, want %v", got, under)
			}
			for _, leave := range leaves {
				leave()
			}
			if diff := cmp.Diff(tt.want, samples(t, m, "purser_shed_total")); diff != "" {
				t.Errorf("turned away (-want +got):\n%s", diff)
			}
			if got := samples(t, m, "purser_in_flight"); len(got) != 0 {
				t.Errorf("%v calls are under way, want none", got)
			}
		})
	}
	for n, want := range map[int64]bool{-1: false, 0: false, 1: true, maxInFlight: true, maxInFlight + 1: false} {
		if err := (&LoadSheddingConfig{InFlight: n}).check(); (err == nil) != want {
			t.Errorf("%d calls: %v", n, err)
		}
	}
}

// TestGate lets the engine ask for leave, and counts whom it refuses.
func TestGate(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	newLimiter := func(s ratelimit.Store, l ratelimit.Limit) (*Limiter, *meter) {
		m := newMeter()
		return &Limiter{ratelimit.New(s, ratelimit.NewFlights(), ratelimit.Policy{
			Limits: map[ratelimit.Scope]ratelimit.Limit{ratelimit.Account: l}, Now: clock,
		}), nil, m}, m
	}
	two := ratelimit.Limit{Rates: []limiter.Rate{{Limit: 2, Period: time.Minute}}}
	l, m := newLimiter(ratelimit.NewMemory(clock, 0), two)
	gate := l.Gate()
	admit := func() (func(bool), error) {
		return gate.Admit(t.Context(), "stripe_us", "mer_a", payment.Live)
	}
	first, err := admit()
	second, err2 := admit()
	if err != nil || err2 != nil || !gate.Limits("stripe_us") {
		t.Fatalf("two calls: %v, %v", err, err2)
	}
	if _, err := gate.Admit(t.Context(), "adyen_eu", "mer_a", payment.Live); err != nil {
		t.Errorf("another account: %v", err)
	}
	_, err = admit()
	if e, _ := errors.AsType[*payment.Error](err); e == nil || e.Code != payment.CodeRateLimited || e.RetryAfter != 30*time.Second {
		t.Errorf("a third call: %v, want rate_limited after 30 s", err)
	}
	first(true)
	if _, err := admit(); err == nil {
		t.Error("a call that was sent does not count")
	}
	second(false)
	if _, err := admit(); err != nil {
		t.Errorf("a call that was not sent counts: %v", err)
	}
	if diff := cmp.Diff(map[string]float64{"account": 2}, samples(t, m, "purser_rate_limited_total")); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}

	l, _ = newLimiter(nil, ratelimit.Limit{})
	if l.Gate().Limits("stripe_us") {
		t.Error("there is a limit where none is configured")
	}
	l, _ = newLimiter(away{ratelimit.NewMemory(clock, 0)}, two)
	_, err = l.Gate().Admit(t.Context(), "stripe_us", "mer_a", payment.Live)
	if e, _ := errors.AsType[*payment.Error](err); e == nil || e.Code != payment.CodeStoreUnavailable || strings.Contains(e.Detail, "canary") {
		t.Errorf("where the counters are out of reach: %v, want store_unavailable", err)
	}
}

// away is a store that is out of reach.
type away struct{ *ratelimit.Memory }

func (away) Take(context.Context, ratelimit.Group, []ratelimit.Charge, []ratelimit.State) ([]ratelimit.State, error) {
	return nil, errors.New("redis://canary")
}
