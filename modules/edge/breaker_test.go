package edge_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// circuit is how an account's circuit stands.
func (w *world) circuit(t *testing.T, account string) string {
	t.Helper()
	var list struct {
		Data []struct{ Name, Circuit string }
	}
	w.operate(t, http.StatusOK, "GET", "/payments/accounts", nil, &list)
	for _, a := range list.Data {
		if a.Name == account {
			return a.Circuit
		}
	}
	t.Fatalf("there is no account %s in %+v", account, list)
	return ""
}

// paid is what of a payment is looked at.
type paid struct {
	ID, Status string
	Error      *struct{ Code, Advice string }
	Attempts   []struct {
		Account string
		Routing struct {
			Candidates []struct{ Account, Outcome, Reason string }
		}
	}
}

// payPinned makes a payment that is pinned to an account, "" = to none, and wants
// its status.
func (w *world) payPinned(t *testing.T, account, key, status string) paid {
	t.Helper()
	in := card(1999)
	if account != "" {
		in["account"] = account
	}
	code, body, _, err := w.do("POST", w.payments(), w.key, key, in)
	var p paid
	if err != nil || code != http.StatusCreated || json.Unmarshal(body, &p) != nil || p.Status != status {
		t.Fatalf("%s: %d %s %v, want 201 and %s", key, code, body, err, status)
	}
	return p
}

// TestCircuitBreaker takes a PSP away and brings it back: payments go to another one
// meanwhile, and the plan says why; those that have no other fail at once.
func TestCircuitBreaker(t *testing.T) {
	w := newWorld(t)
	address := freePort(t)
	down := w.stripe()
	down["base_url"], down["priority"] = "http://"+address+"/stripe", -1
	down["circuit_breaker"] = object{"failures": 3, "open_for": "2s"}
	w.accounts["down"] = down
	w.start(t)
	if got := w.circuit(t, "down") + " " + w.circuit(t, "stripe"); got != "closed none" {
		t.Fatalf("the circuits are %s", got)
	}
	for _, key := range []string{"a", "b", "c"} {
		p := w.payPinned(t, "", key, "succeeded")
		if c := p.Attempts[0].Routing.Candidates; len(p.Attempts) != 2 || c[0].Account != "down" || c[0].Reason != "priority -1" {
			t.Fatalf("%s: %+v, want an attempt at each", key, p)
		}
	}
	if got := w.circuit(t, "down"); got != "open" {
		t.Fatalf("the circuit is %s after three failures", got)
	}
	if got := w.metric(t, `purser_circuit_breaker_state{account="down"}`); got != 2 {
		t.Errorf("the metric says %d, want 2", got)
	}
	p := w.payPinned(t, "", "d", "succeeded")
	c := p.Attempts[0].Routing.Candidates
	if len(p.Attempts) != 1 || p.Attempts[0].Account != "stripe" || len(c) != 2 || c[1].Account != "down" || c[1].Reason != "priority -1; circuit breaker open" {
		t.Errorf("%+v, want it at the other account alone, and why", p)
	}
	if p = w.payPinned(t, "down", "e", "failed"); p.Error == nil || p.Error.Code != "psp_unavailable" || p.Error.Advice != "retry_later" {
		t.Errorf("%+v, want psp_unavailable", p.Error)
	}

	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	back := httptest.NewUnstartedServer(w.sim)
	back.Listener = l
	back.Start()
	t.Cleanup(back.Close)
	tries := 0
	eventually(t, "a payment at the account that is back", func() bool {
		tries++
		code, body, _, err := w.do("POST", w.payments(), w.key, "back-"+strconv.Itoa(tries), card(1999))
		return err == nil && code == http.StatusCreated && strings.Contains(string(body), `"account":"down"`) && w.circuit(t, "down") == "closed"
	})
	if got := w.metric(t, `purser_circuit_breaker_state{account="down"}`); got != 0 {
		t.Errorf("the metric says %d, want 0", got)
	}
}
