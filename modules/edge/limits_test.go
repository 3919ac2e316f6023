package edge_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRateLimits walks from the options to the metric, over a reload.
func TestRateLimits(t *testing.T) {
	w := newWorld(t)
	w.options = object{
		"rate_limits": object{"key": object{"rates": []string{"6/1h"}}, "ip": object{"rates": []string{"1000/1s"}}},
		"rate_costs":  object{"POST /v1/payments": 2},
	}
	w.start(t)
	before := w.metric(t, `purser_rate_limited_total{scope="key"}`)
	good := w.options
	w.options = object{"rate_costs": object{"POST /v1/paymints": 2}}
	w.mustFail(t, "POST /v1/paymints")
	w.options = object{"rate_limits": object{"moon": object{"rates": []string{"4/1h"}}}}
	w.mustFail(t, "moon")
	w.options = good
	account := func(key string, want int, remaining string) {
		t.Helper()
		status, body, h, err := w.do("GET", "http://"+w.public+"/v1/account", key, "", nil)
		if err != nil || status != want || !strings.HasPrefix(h.Get("RateLimit"), remaining) {
			t.Errorf("%d %s, RateLimit %s, %v; want %d and %s", status, body, h.Get("RateLimit"), err, want, remaining)
		}
		if want == 429 && h.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	account(w.key, 200, `"key-1h";r=3;`)
	w.pay(t, "a")
	account(w.key, 200, `"key-1h";r=0;`)
	account(w.key, 429, `"key-1h";r=0;`)

	// A reload forgets nothing: what was used stays used under a higher limit.
	w.options["rate_limits"] = object{"key": object{"rates": []string{"12/1h"}}}
	w.reload(t)
	account(w.key, 429, `"key-1h";r=0;`)
	if got := w.metric(t, `purser_rate_limited_total{scope="key"}`) - before; got != 2 {
		t.Errorf("%d refusals are counted, want 2", got)
	}

	// A key has its own limit, and its successor has it as well.
	var key, next struct {
		ID, Key string
		Rates   []string `json:"rate_limits"`
	}
	w.operate(t, http.StatusCreated, "POST", "/payments/keys", object{"merchant": w.merchant, "mode": "test", "rate_limits": []string{"1/1h"}}, &key)
	account(key.Key, 200, `"key-1h";r=0;`)
	account(key.Key, 429, `"key-1h";r=0;`)
	w.operate(t, http.StatusCreated, "POST", "/payments/keys/"+key.ID+"/rotate", nil, &next)
	if len(next.Rates) != 1 || next.Rates[0] != "1/1h" {
		t.Errorf("the successor has the limits %q, want 1/1h", next.Rates)
	}
	var problem json.RawMessage
	w.operate(t, http.StatusBadRequest, "POST", "/payments/keys", object{"merchant": w.merchant, "mode": "test", "rate_limits": []string{"1/1ms"}}, &problem)
}

// TestRateLimitsWithoutRedis starts while Redis is away: by default each node
// counts its part, and where the operator prefers that nobody is served.
func TestRateLimitsWithoutRedis(t *testing.T) {
	t.Setenv("PURSER_TEST_REDIS", "redis://:canary@127.0.0.1:1")
	shared := object{"driver": "redis", "url": "{env.PURSER_TEST_REDIS}", "nodes": 2}
	w := newWorld(t)
	w.options = object{"shared": shared, "rate_limits": object{"key": object{"rates": []string{"4/1h"}}}}
	w.start(t)
	if got := w.metric(t, "purser_rate_limit_shared"); got != 0 {
		t.Errorf("purser_rate_limit_shared is %d, want 0", got)
	}
	call := func() int {
		t.Helper()
		status, _, _, err := w.call("GET", "/v1/account", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	if got := []int{call(), call(), call()}; got[0] != 200 || got[1] != 200 || got[2] != 429 {
		t.Errorf("three calls at a node of two: %v, want half of the four", got)
	}
	shared["fail_closed"] = true
	w.reload(t)
	if got := call(); got != 503 {
		t.Errorf("fail_closed answers %d, want 503", got)
	}
	b, err := os.ReadFile(filepath.Join(w.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	if log := string(b); !strings.Contains(log, "rate limits are not shared") || strings.Contains(log, "canary") {
		t.Error("the log does not say that Redis is away, or shows its password")
	}
}
