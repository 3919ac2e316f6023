package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ulule/limiter/v3"

	"github.com/purser-pay/purser/modules/ratelimit"
)

// limit lets the door count calls.
func (d *door) limit(p ratelimit.Policy) {
	d.guarding.Limiter = ratelimit.New(ratelimit.NewMemory(func() time.Time { return d.now }, 0), ratelimit.NewFlights(), p)
	d.reopen()
}

func limits(s ratelimit.Scope, calls int64, period time.Duration) ratelimit.Policy {
	return ratelimit.Policy{Limits: map[ratelimit.Scope]ratelimit.Limit{
		s: {Rates: []limiter.Rate{{Limit: calls, Period: period}}},
	}}
}

const brief = `{"amount":1999,"currency":"EUR","confirm":false}`

// TestLimits makes one call, and then another, where one is allowed in a minute.
func TestLimits(t *testing.T) {
	tests := []struct {
		name  string
		scope ratelimit.Scope
		first func(*door)
		then  func(*door) *httptest.ResponseRecorder
		want  int
	}{
		{"a key", ratelimit.Key, nil, func(d *door) *httptest.ResponseRecorder { return d.do("GET", "/v1/account", "") }, 429},
		{"another key", ratelimit.Key, nil, func(d *door) *httptest.ResponseRecorder {
			return d.do("GET", "/v1/account", "", "Authorization", "Bearer "+d.keys["live"])
		}, 200},
		{"a merchant", ratelimit.Merchant, nil, func(d *door) *httptest.ResponseRecorder {
			return d.do("GET", "/v1/payments", "", "Authorization", "Bearer "+d.keys["read"])
		}, 429},
		{"a merchant in mode live", ratelimit.Merchant, nil, func(d *door) *httptest.ResponseRecorder {
			return d.do("GET", "/v1/payments", "", "Authorization", "Bearer "+d.keys["live"])
		}, 200},
		{"a route", ratelimit.Route, nil, func(d *door) *httptest.ResponseRecorder { return d.do("GET", "/v1/payments", "") }, 200},
		{"HEAD is GET", ratelimit.Route, nil, func(d *door) *httptest.ResponseRecorder { return d.do("HEAD", "/v1/account", "") }, 429},
		{"an address", ratelimit.Address, nil, func(d *door) *httptest.ResponseRecorder {
			return d.do("GET", "/v1/payments", "", "Authorization", "Bearer "+d.keys["other"])
		}, 429},
		// Its limit comes before authentication, and before what is not there.
		{"an address without a key", ratelimit.Address, nil, func(d *door) *httptest.ResponseRecorder {
			return d.do("GET", "/v1/payments", "", "Authorization", "-")
		}, 429},
		{"an address that guesses paths", ratelimit.Address, nil, func(d *door) *httptest.ResponseRecorder { return d.do("GET", "/wp-admin", "") }, 429},
		{"an address that reads the reference", ratelimit.Address, nil, func(d *door) *httptest.ResponseRecorder { return d.do("GET", "/docs", "") }, 429},
		{"guesses count", ratelimit.Address, func(d *door) { d.do("GET", "/wp-admin", "") }, func(d *door) *httptest.ResponseRecorder {
			return d.do("GET", "/v1/account", "")
		}, 429},
		{"wrong keys count", ratelimit.Address, func(d *door) { d.do("GET", "/v1/account", "", "Authorization", "Bearer x") }, func(d *door) *httptest.ResponseRecorder {
			return d.do("GET", "/v1/account", "")
		}, 429},
		{"probes do not count", ratelimit.Address, nil, func(d *door) *httptest.ResponseRecorder { return d.do("GET", "/healthz", "") }, 200},
		// Size comes before everything, and the key before validation.
		{"a body that is too large", ratelimit.Address, nil, func(d *door) *httptest.ResponseRecorder {
			return d.do("POST", "/v1/payments", `{"description":"`+strings.Repeat("x", 70_000)+`"}`)
		}, 413},
		{"an invalid body", ratelimit.Key, nil, func(d *door) *httptest.ResponseRecorder { return d.do("POST", "/v1/payments", `{"amount":-1}`) }, 429},
		{"a key without the scope", ratelimit.Merchant, nil, func(d *door) *httptest.ResponseRecorder {
			return d.do("POST", "/v1/payments", brief, "Authorization", "Bearer "+d.keys["read"])
		}, 429},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDoor(t)
			d.limit(limits(tt.scope, 1, time.Minute))
			if tt.first != nil {
				tt.first(d)
			} else if w := d.do("GET", "/v1/account", ""); w.Code != 200 {
				t.Fatalf("the first call: %d %s", w.Code, w.Body)
			}
			w := tt.then(d)
			if w.Code != tt.want {
				t.Errorf("the second call: %d %s, want %d", w.Code, w.Body, tt.want)
			}
			if len(d.engine.calls) != 0 {
				t.Errorf("the engine was called: %+v", d.engine.calls)
			}
		})
	}
}

func TestLimitsAreTold(t *testing.T) {
	d := newDoor(t)
	p := limits(ratelimit.Key, 2, time.Minute)
	p.Limits[ratelimit.Address] = ratelimit.Limit{Rates: []limiter.Rate{{Limit: 100, Period: time.Second}}}
	d.limit(p)
	fields := func(w *httptest.ResponseRecorder) []string {
		return []string{fmt.Sprint(w.Code), w.Header().Get("RateLimit-Policy"), w.Header().Get("RateLimit"), w.Header().Get("Retry-After")}
	}
	const declared = `"ip-1s";q=100;w=1, "key-1m";q=2;w=60`
	w := d.do("GET", "/v1/account", "")
	if diff := cmp.Diff([]string{"200", declared, `"key-1m";r=1;t=30`, ""}, fields(w)); diff != "" {
		t.Errorf("the first call (-want +got):\n%s", diff)
	}
	var account struct{ Limits json.RawMessage }
	if err := json.Unmarshal(w.Body.Bytes(), &account); err != nil {
		t.Fatal(err)
	}
	const want = `[{"scope":"ip","limit":100,"window":1,"remaining":99},{"scope":"key","limit":2,"window":60,"remaining":1}]`
	if string(account.Limits) != want {
		t.Errorf("the account has the limits %s, want %s", account.Limits, want)
	}
	d.now = d.now.Add(10 * time.Second)
	if diff := cmp.Diff([]string{"404", declared, `"key-1m";r=0;t=50`, ""}, fields(d.do("GET", "/v1/payments/"+aRefund, ""))); diff != "" {
		t.Errorf("a call that finds nothing (-want +got):\n%s", diff)
	}
	w = d.do("GET", "/v1/account", "")
	if diff := cmp.Diff([]string{"429", declared, `"key-1m";r=0;t=20`, "20"}, fields(w)); diff != "" {
		t.Errorf("one too many (-want +got):\n%s", diff)
	}
	for _, part := range []string{`"code":"rate_limited"`, `"retryable":true`, "of this key"} {
		if !strings.Contains(w.Body.String(), part) {
			t.Errorf("the problem is %s, want %s in it", w.Body, part)
		}
	}
	d.now = d.now.Add(20 * time.Second)
	if w := d.do("GET", "/v1/account", ""); w.Code != 200 {
		t.Errorf("after Retry-After: %d %s", w.Code, w.Body)
	}
}

// TestInFlightEnds counts calls in flight, also where one ends in a panic.
func TestInFlightEnds(t *testing.T) {
	d := newDoor(t)
	d.limit(ratelimit.Policy{Limits: map[ratelimit.Scope]ratelimit.Limit{ratelimit.Key: {InFlight: 1}}})
	d.engine.panics = "on purpose"
	if w := d.do("POST", "/v1/payments", brief); w.Code != http.StatusInternalServerError {
		t.Fatalf("a panic: %d %s", w.Code, w.Body)
	}
	for range 3 {
		w := d.do("GET", "/v1/account", "")
		if w.Code != 200 {
			t.Fatalf("calls one after another: %d %s", w.Code, w.Body)
		}
		if got := w.Header().Get("RateLimit-Policy"); got != `"key-in-flight";q=1;qu="concurrent-requests"` {
			t.Errorf("the policy is %s", got)
		}
	}
}

// closed is a limiter whose counters are out of reach.
type closed struct{}

func (closed) Arrive(context.Context, netip.Addr) (ratelimit.Verdict, error) {
	return ratelimit.Verdict{}, nil
}

func (closed) Admit(context.Context, ratelimit.Caller) (ratelimit.Verdict, error) {
	return ratelimit.Verdict{}, fmt.Errorf("%w: %w", ratelimit.ErrUnavailable, errors.New("redis://canary"))
}

func (closed) Refine(context.Context, ratelimit.Caller, []ratelimit.Extra) (ratelimit.Verdict, error) {
	return ratelimit.Verdict{}, nil
}

func TestLimitsOutOfReach(t *testing.T) {
	d := newDoor(t)
	d.guarding.Limiter = closed{}
	d.reopen()
	w := d.do("POST", "/v1/payments", brief)
	if w.Code != 503 || !strings.Contains(w.Body.String(), `"code":"store_unavailable"`) || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "canary") {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	if len(d.engine.calls) != 0 {
		t.Error("the engine was called")
	}
}
