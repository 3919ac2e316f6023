package stripesim_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// TestFaults shows, for each fault, what the client sees, what the books say,
// and what a repeat under the same key tells.
func TestFaults(t *testing.T) {
	t.Parallel()
	const acted, idle = 1000, -1
	for kind, tt := range map[books.FaultKind]struct {
		fault  books.Fault
		status int // 0 = no answer that can be read
		books  int64
		amount any // of the first answer
	}{
		books.ResetBefore: {books.Fault{}, 0, idle, nil},
		books.ResetAfter:  {books.Fault{}, 0, acted, nil},
		books.E500Before:  {books.Fault{}, 500, idle, nil},
		books.E500After:   {books.Fault{}, 500, acted, nil},
		books.HTML502:     {books.Fault{}, 0, acted, nil},
		books.Truncated:   {books.Fault{}, 0, acted, nil},
		books.BadJSON:     {books.Fault{}, 0, acted, nil},
		books.WrongAmount: {books.Fault{}, 200, acted, 1001.0},
		books.E429:        {books.Fault{}, 429, idle, nil},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			x := open(t)
			tt.fault.Kind, tt.fault.Operation = kind, "authorize"
			if err := x.b.Faults.Add(tt.fault); err != nil {
				t.Fatal(err)
			}
			a, err := x.send("/v1/payment_intents", "key", payForm("pm_card_visa", "manual")...)
			if (err != nil) != (tt.status == 0) || (err == nil && a.status != tt.status) {
				t.Errorf("got status %d, error %v; want status %d", a.status, err, tt.status)
			}
			if got := a.at("amount"); got != tt.amount {
				t.Errorf("got amount %v, want %v", got, tt.amount)
			}
			if tt.books == idle {
				if n := len(x.b.All()); n != 0 {
					t.Errorf("got %d charges, want none", n)
				}
			} else {
				x.want(tt.books, 0, 0, payment.RequiresCapture)
			}
			again := x.must("/v1/payment_intents", "key", payForm("pm_card_visa", "manual")...)
			check(t, again, 200, map[string]any{"amount": 1000.0, "status": "requires_capture"})
			x.want(1000, 0, 0, payment.RequiresCapture)
			if n := len(x.b.All()); n != 1 {
				t.Errorf("got %d charges after the repeat, want 1", n)
			}
			if left := x.b.Faults.List(); len(left) != 0 {
				t.Errorf("got %v left, want none", left)
			}
		})
	}
}

func TestResetIsAReset(t *testing.T) {
	t.Parallel()
	x := open(t)
	if err := x.b.Faults.Add(books.Fault{Kind: books.ResetAfter, Operation: "authorize"}); err != nil {
		t.Fatal(err)
	}
	_, err := x.send("/v1/payment_intents", "key", payForm("pm_card_visa", "manual")...)
	if err == nil || !(strings.Contains(err.Error(), "reset") || errors.Is(err, io.EOF)) {
		t.Errorf("got %v, want a reset connection", err)
	}
}

// TestReplayed500 shows the 500 that Stripe itself stores: the repeat gets it
// again, and the truth is reached by search.
func TestReplayed500(t *testing.T) {
	t.Parallel()
	for kind, charges := range map[books.FaultKind]int{books.E500After: 1, books.E500Before: 0} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			x := open(t)
			if err := x.b.Faults.Add(books.Fault{Kind: kind, Operation: "authorize", Replay: true}); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				check(t, x.must("/v1/payment_intents", "key", payForm("pm_card_visa", "manual")...), 500, map[string]any{"error.type": "api_error"})
			}
			query := url.QueryEscape("metadata['purser_reference']:'" + reference + "'")
			found := x.must("/v1/payment_intents/search?query="+query, "").body["data"].([]any)
			listed := x.must("/v1/payment_intents?created[gte]=1", "").body["data"].([]any)
			if len(found) != charges || len(listed) != charges {
				t.Errorf("got %d by search, %d by list; want %d", len(found), len(listed), charges)
			}
		})
	}
}

func TestDelays(t *testing.T) {
	t.Parallel()
	for kind, before := range map[books.FaultKind]int{books.DelayBefore: 0, books.DelayAfter: 1} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			x := open(t)
			if err := x.b.Faults.Add(books.Fault{Kind: kind, DelayMS: 5000, Operation: "authorize", HoldKey: kind == books.DelayAfter}); err != nil {
				t.Fatal(err)
			}
			_, armed := x.clock.Armed()
			got := make(chan answer)
			go func() {
				a, _ := x.send("/v1/payment_intents", "key", payForm("pm_card_visa", "manual")...)
				got <- a
			}()
			<-armed
			if n := len(x.b.All()); n != before {
				t.Errorf("got %d charges during the delay, want %d", n, before)
			}
			if kind == books.DelayAfter { // hold_key: the key counts as in use
				check(t, x.must("/v1/payment_intents", "key", payForm("pm_card_visa", "manual")...), 409,
					map[string]any{"error.code": "idempotency_key_in_use"})
			}
			x.clock.Advance(5 * time.Second)
			check(t, <-got, 200, map[string]any{"status": "requires_capture"})
		})
	}
}

func TestDelayEndsWithTheSimulator(t *testing.T) {
	t.Parallel()
	x := open(t)
	if err := x.b.Faults.Add(books.Fault{Kind: books.DelayBefore, Operation: "authorize"}); err != nil {
		t.Fatal(err)
	}
	_, armed := x.clock.Armed()
	failed := make(chan error)
	go func() {
		_, err := x.send("/v1/payment_intents", "key", payForm("pm_card_visa", "manual")...)
		failed <- err
	}()
	<-armed
	x.b.Close()
	if err := <-failed; err == nil {
		t.Error("got an answer, want none")
	}
	if n := len(x.b.All()); n != 0 {
		t.Errorf("got %d charges, want none", n)
	}
}

// TestLateAct shows a PSP that is slow, and acts although its client has gone.
func TestLateAct(t *testing.T) {
	t.Parallel()
	x := open(t)
	if err := x.b.Faults.Add(books.Fault{Kind: books.DelayBefore, Operation: "authorize", DelayMS: 1000, Late: true}); err != nil {
		t.Fatal(err)
	}
	_, armed := x.clock.Armed()
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, x.srv.URL+"/stripe/v1/payment_intents",
			strings.NewReader("amount=1000&currency=usd&payment_method=pm_card_visa&confirm=true&payment_method_types[]=card&metadata[reference]="+reference))
		if err == nil {
			req.Header.Set("Authorization", "Bearer "+x.key)
			var res *http.Response
			if res, err = x.srv.Client().Do(req); err == nil {
				_ = res.Body.Close()
			}
		}
		gone <- err
	}()
	<-armed
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	x.clock.Advance(time.Second)
	x.srv.Close() // waits for the request
	x.want(1000, 1000, 0, payment.Succeeded)
}
