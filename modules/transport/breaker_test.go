package transport

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// fuse is a breaker that does as it is told, and remembers what it heard.
type fuse struct {
	blown bool
	asked int
	heard []error
}

func (f *fuse) Allow() (func(error), error) {
	f.asked++
	if f.blown {
		return nil, errors.New("blown")
	}
	return func(err error) { f.heard = append(f.heard, err) }, nil
}

func fused(t *testing.T, f connector.Connector, fuse *fuse, script ...string) (*harness, *psp) {
	t.Helper()
	psp := newPSP(t, script...)
	h := newHarness(t, f, psp.base(), psp.dial)
	h.cfg.Breaker = func(*connector.Account) Breaker { return fuse }
	return h, psp
}

// A breaker hears once of each charge that was begun: of an answer where the
// exchange has one, and of silence in every other row of the failure table.
func TestBreakerHears(t *testing.T) {
	for _, row := range failureTable {
		t.Run(strings.Join(row.script, ", then "), func(t *testing.T) {
			fuse := &fuse{}
			h, psp := fused(t, &fakeConnector{}, fuse, row.script...)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			psp.stuck = cancel
			call := authorize()
			call.BaseURL = h.account.Base()
			x := h.Exchange(ctx, h.account, call)
			want := ErrSilent
			if x.Outcome == answered {
				want = nil
			}
			if x.Outcome != row.never.outcome || len(fuse.heard) != 1 || !errors.Is(fuse.heard[0], want) {
				t.Errorf("%v: heard %v, want %v once", x.Outcome, fuse.heard, want)
			}
		})
	}
}

// What says nothing of the PSP is told as that.
func TestBreakerIsNotTold(t *testing.T) {
	noRequest := &fakeConnector{encode: func(connector.Call) (*http.Request, error) { return nil, errors.New("no such method") }}
	for name, f := range map[string]*fakeConnector{
		"not encoded": noRequest,
		"another host": {encode: func(connector.Call) (*http.Request, error) {
			return http.NewRequest(http.MethodPost, "https://elsewhere.example", nil)
		}},
		"panics": {encode: func(connector.Call) (*http.Request, error) { panic("oh") }},
	} {
		t.Run(name, func(t *testing.T) {
			fuse := &fuse{}
			h, _ := fused(t, f, fuse, "succeeded")
			if x := h.do(authorize()); x.Outcome != notSent || len(fuse.heard) != 1 || !errors.Is(fuse.heard[0], ErrUntold) {
				t.Errorf("%v %v: heard %v, want ErrUntold", x.Outcome, x.Err, fuse.heard)
			}
		})
	}
}

// An open breaker keeps new charges back, and certainly; it is not asked about
// anything else.
func TestBreakerKeepsBack(t *testing.T) {
	with := func(change func(*connector.Call)) connector.Call {
		c := authorize()
		change(&c)
		return c
	}
	tests := []struct {
		name  string
		call  connector.Call
		asked bool
	}{
		{"a charge", authorize(), true},
		{"a charge that may have been sent", with(func(c *connector.Call) { c.Sent = time.Now() }), false},
		{"the second step of a charge", with(func(c *connector.Call) { c.Done = map[string]string{"store_card": "tok_1"} }), false},
		{"a capture", with(func(c *connector.Call) { c.Op = payment.Capture{} }), false},
		{"a void", with(func(c *connector.Call) { c.Op = payment.Void{} }), false},
		{"a refund", with(func(c *connector.Call) { c.Op = payment.GiveBack{} }), false},
		{"a query", with(func(c *connector.Call) { c.Op = payment.Sync{} }), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fuse := &fuse{blown: true}
			f := &fakeConnector{promise: connector.Idempotency{By: connector.ByKey, Window: time.Hour}}
			h, psp := fused(t, f, fuse, "declined")
			x := h.do(tt.call)
			if (fuse.asked == 1) != tt.asked || len(fuse.heard) != 0 {
				t.Errorf("asked %d times, heard %v", fuse.asked, fuse.heard)
			}
			switch {
			case tt.asked && (x.Outcome != notSent || !errors.Is(x.Err, ErrOpen) || psp.reached.Load() != 0 || x.Sends != 0):
				t.Errorf("got %v %v, the PSP was reached %d times; want it kept back", x.Outcome, x.Err, psp.reached.Load())
			case !tt.asked && psp.reached.Load() == 0:
				t.Errorf("got %v %v, and the PSP was not reached", x.Outcome, x.Err)
			}
		})
	}
}
