package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// turnstile is a gate that lets a number of calls through.
type turnstile struct {
	mu    sync.Mutex
	left  map[string]int // accounts that are not here are not limited
	retry map[string]time.Duration
	err   error // the counters are out of reach
	asked []string
	sent  map[string]int // what was used
	open  int            // what has not ended
}

func (g *turnstile) Limits(account string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.left[account]
	return ok
}

func (g *turnstile) Admit(_ context.Context, account, who string, mode payment.Mode) (func(bool), error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, account)
	switch {
	case who != merchant || mode != payment.Test:
		return nil, fmt.Errorf("asked for %s in %s", who, mode)
	case g.err != nil:
		return nil, g.err
	case g.left[account] == 0:
		return nil, &payment.Error{Code: payment.CodeRateLimited, RetryAfter: g.retry[account]}
	}
	g.left[account]--
	g.open++
	return sync.OnceValue(func() func(bool) {
		return func(sent bool) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.open--
			if sent {
				g.sent[account]++
			} else {
				g.left[account]++
			}
		}
	})(), nil
}

func (g *turnstile) set(left map[string]int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left = left
}

// asks returns the accounts that were asked for since the last time.
func (g *turnstile) asks() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := strings.Join(g.asked, " ")
	g.asked = nil
	return s
}

// gated is a world with a turnstile, and a planner that keeps to a pinned account.
func gated(t *testing.T, left map[string]int) (*world, *turnstile) {
	t.Helper()
	w := newWorld(t, 1)
	g := &turnstile{left: left, retry: map[string]time.Duration{"keyed": 7 * time.Second, "second": 3 * time.Second}, sent: map[string]int{}}
	w.cfg.Gate, w.cfg.Plan = g, pinning{}
	w.eng = engine.New(w.cfg)
	t.Cleanup(func() {
		if g.open != 0 {
			t.Errorf("%d passes have not been given back", g.open)
		}
	})
	return w, g
}

type pinning struct{ planner }

func (p pinning) Plan(f payment.Facts) payment.Plan {
	plan := p.planner.Plan(f)
	for i := range plan.Candidates {
		c := &plan.Candidates[i]
		switch {
		case f.Account == "":
		case c.Account == f.Account:
			c.Outcome = payment.CandidateChosen
		default:
			c.Outcome, c.Reason = payment.CandidateRejected, "pinned to "+f.Account
		}
	}
	return plan
}

// planned writes a plan in one line.
func planned(p *payment.Plan) string {
	var s []string
	for _, c := range p.Candidates {
		s = append(s, strings.TrimSpace(c.Account+" "+c.Outcome+" "+c.Reason))
	}
	return strings.Join(s, ", ")
}

// claimed tells whether a key was claimed.
func (w *world) claimed(key string) bool {
	w.t.Helper()
	err := w.store.View(w.t.Context(), func(r store.Reader) error {
		_, err := r.Key(store.KeyScope{Merchant: scope.Merchant, Mode: scope.Mode, Key: key})
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		w.t.Fatal(err)
	}
	return err == nil
}

func TestGate(t *testing.T) {
	t.Parallel()
	away := &payment.Error{Code: payment.CodeStoreUnavailable}
	tests := []struct {
		name   string
		left   map[string]int
		err    error
		pinned string
		code   payment.Code // of the refusal; "" = there is a payment
		retry  time.Duration
		plan   string
		asked  string
	}{
		{"room", map[string]int{"keyed": 1, "second": 1}, nil, "", "", 0, "keyed chosen, second next", "keyed"},
		{"no limit", nil, nil, "", "", 0, "keyed chosen, second next", ""},
		{"the first is at its limit", map[string]int{"keyed": 0, "second": 1}, nil, "", "", 0, "keyed rejected rate limited, second chosen", "keyed second"},
		{"the next has no limit", map[string]int{"keyed": 0}, nil, "", "", 0, "keyed rejected rate limited, second chosen", "keyed"},
		{"all are at their limits", map[string]int{"keyed": 0, "second": 0}, nil, "", payment.CodeRateLimited, 3 * time.Second, "", "keyed second"},
		{"pinned", map[string]int{"keyed": 0, "second": 1}, nil, "second", "", 0, "keyed rejected pinned to second, second chosen", "second"},
		{"pinned to one at its limit", map[string]int{"keyed": 0, "second": 1}, nil, "keyed", payment.CodeRateLimited, 7 * time.Second, "", "keyed"},
		{"nobody can tell", map[string]int{"keyed": 1}, away, "", payment.CodeStoreUnavailable, 0, "", "keyed"},
	}
	for _, tt := range tests {
		for _, confirm := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, ", confirmed later ", confirm), func(t *testing.T) {
				t.Parallel()
				w, g := gated(t, maps.Clone(tt.left))
				g.err = tt.err
				in := cardPayment(1000, payment.CaptureAutomatic)
				in.Account = tt.pinned
				call := func() (engine.Answer, error) { return w.eng.Create(t.Context(), claim("k"), in) }
				before := 0
				if confirm {
					method := in.Method
					in.Confirm, in.Method = false, nil
					a, err := w.eng.Create(t.Context(), claim("first"), in)
					if err != nil {
						t.Fatal(err)
					}
					id, ctx := read(t, a).ID, t.Context()
					call = func() (engine.Answer, error) {
						return w.eng.Confirm(ctx, claim("k"), id, engine.Confirm{Method: method})
					}
					before = 1
				}
				was := w.payments()
				a, err := call()
				if got := g.asks(); got != tt.asked {
					t.Errorf("asked for %q, want %q", got, tt.asked)
				}
				if tt.code != "" {
					refusal, _ := errors.AsType[*payment.Error](err)
					if refusal == nil || refusal.Code != tt.code || refusal.RetryAfter != tt.retry {
						t.Errorf("got %v, want %s after %v", err, tt.code, tt.retry)
					}
					if diff := cmp.Diff(was, w.payments(), cmp.AllowUnexported(payment.Sensitive{})); diff != "" || len(was) != before || w.claimed("k") || len(g.sent) > 0 {
						t.Errorf("a call that was refused has left something behind: key %v, sent %v\n%s", w.claimed("k"), g.sent, diff)
					}
					return
				}
				if err != nil || read(t, a).Status != "succeeded" {
					t.Fatalf("%v %s", err, a.Body)
				}
				p := w.payment(read(t, a).ID)
				if got := planned(p.Attempts[0].Routing); got != tt.plan {
					t.Errorf("the plan is %s, want %s", got, tt.plan)
				}
				w.reconcile()

				// Its replay is neither refused nor counted.
				sent := fmt.Sprint(g.sent)
				left := map[string]int{}
				for account := range tt.left {
					left[account] = 0
				}
				g.set(left)
				if again, err := call(); err != nil || !again.Replayed || string(again.Body) != string(a.Body) {
					t.Errorf("the replay: %v %s", err, again.Body)
				}
				if got := g.asks(); got != "" || fmt.Sprint(g.sent) != sent {
					t.Errorf("the replay has asked for %q, sent %v", got, g.sent)
				}
			})
		}
	}
}

// TestGateOperations refuses each operation on a payment, and lets it through under
// the same key.
func TestGateOperations(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		mode payment.CaptureMethod
		call func(e *engine.Engine, id string) (engine.Answer, error)
	}{
		{"capture", payment.CaptureManual, func(e *engine.Engine, id string) (engine.Answer, error) {
			return e.Capture(context.Background(), claim("op"), id, engine.Capture{Final: true})
		}},
		{"cancel", payment.CaptureManual, func(e *engine.Engine, id string) (engine.Answer, error) {
			return e.Cancel(context.Background(), claim("op"), id, engine.Cancel{})
		}},
		{"refund", payment.CaptureAutomatic, func(e *engine.Engine, id string) (engine.Answer, error) {
			return e.Refund(context.Background(), claim("op"), engine.Refund{Payment: id, Amount: 400})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, g := gated(t, nil)
			a, err := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, tt.mode))
			if err != nil {
				t.Fatal(err)
			}
			id := read(t, a).ID
			calls := len(w.psps["keyed"].calls)
			before := w.payment(id)
			g.set(map[string]int{"keyed": 0, "second": 9})
			_, err = tt.call(w.eng, id)
			if refusal, _ := errors.AsType[*payment.Error](err); refusal == nil || refusal.Code != payment.CodeRateLimited || refusal.RetryAfter != 7*time.Second {
				t.Errorf("got %v, want rate_limited after 7 s", err)
			}
			if diff := cmp.Diff(before, w.payment(id), cmp.AllowUnexported(payment.Sensitive{})); diff != "" || w.claimed("op") || len(w.psps["keyed"].calls) != calls {
				t.Errorf("what was refused has left something behind: key %v\n%s", w.claimed("op"), diff)
			}
			if got := g.asks(); got != "keyed" {
				t.Errorf("asked for %q, want the account of the charge", got)
			}
			g.err = &payment.Error{Code: payment.CodeStoreUnavailable}
			if _, err := tt.call(w.eng, id); refusal(t, err) != payment.CodeStoreUnavailable {
				t.Errorf("where nobody can tell: %v", err)
			}
			g.err = nil
			g.set(map[string]int{"keyed": 1})
			inside := 0
			w.psps["keyed"].during = func(context.Context) { inside = g.open }
			first, err := tt.call(w.eng, id)
			if err != nil || inside != 1 || g.sent["keyed"] != 1 {
				t.Fatalf("with room: %v %s; %d in flight during the call, sent %v", err, first.Body, inside, g.sent)
			}
			g.asks()
			if again, err := tt.call(w.eng, id); err != nil || !again.Replayed || string(again.Body) != string(first.Body) {
				t.Errorf("the replay: %v %s", err, again.Body)
			}
			if got := g.asks(); got != "" {
				t.Errorf("the replay has asked for %q", got)
			}
			// What is refused for another reason says that one, and is not counted.
			g.set(map[string]int{"keyed": 0})
			if _, err := w.eng.Capture(t.Context(), claim("late"), id, engine.Capture{Final: true}); refusal(t, err) != payment.CodeInvalidState {
				t.Errorf("a capture too late: %v", err)
			}
			if _, err := w.eng.Refund(t.Context(), claim("too much"), engine.Refund{Payment: id, Amount: 5000}); err == nil || refusal(t, err) == payment.CodeRateLimited {
				t.Errorf("a refund of too much: %v", err)
			}
			if _, err := w.eng.Cancel(t.Context(), engine.Claim{Scope: engine.Scope{Merchant: "mer_other", Mode: payment.Test}, Key: "x"}, id, engine.Cancel{}); refusal(t, err) != payment.CodeNotFound {
				t.Errorf("somebody else's cancel: %v", err)
			}
			if got := g.asks(); got != "" {
				t.Errorf("asked for %q", got)
			}
			w.calm(time.Minute)
			w.reconcile()
		})
	}
}

// TestGateGivesBack refuses a call for another reason after leave was had.
func TestGateGivesBack(t *testing.T) {
	t.Parallel()
	w, g := gated(t, map[string]int{"keyed": 1})
	if err := w.store.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting(engine.SettingFrozen, "x") }); err != nil {
		t.Fatal(err)
	}
	if _, err := create2(w, "k"); refusal(t, err) != payment.CodeFrozen {
		t.Errorf("got %v, want frozen", err)
	}
	if g.left["keyed"] != 1 || g.open != 0 || g.asks() != "keyed" {
		t.Errorf("%d are left and %d open, want 1 and 0", g.left["keyed"], g.open)
	}
}

// TestGateFailover takes a payment to the next account, or not.
func TestGateFailover(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		amount int64
		fault  string
		second int // calls that the second account may be sent
		status string
		plan   string // of the last attempt
		sent   string
	}{
		{"room", 1000, "refused", 1, "succeeded", "keyed tried tried before: psp_unavailable, second chosen", "map[keyed:1 second:1]"},
		{"turned away", 1000, "429", 1, "succeeded", "keyed tried tried before: psp_unavailable, second chosen", "map[keyed:1 second:1]"},
		{"no room", 1000, "refused", 0, "failed", "keyed chosen, second rejected rate limited", "map[keyed:1]"},
		{"a decline asks nobody else", 1013, "", 1, "failed", "keyed chosen, second next", "map[keyed:1]"},
		{"doubt asks nobody else", 1000, "lost after", 1, "processing", "keyed chosen, second next", "map[keyed:1]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, g := gated(t, map[string]int{"keyed": 1, "second": tt.second})
			if tt.fault != "" {
				w.psps["keyed"].fault = []string{tt.fault}
			}
			a, err := w.eng.Create(t.Context(), claim("k"), cardPayment(tt.amount, payment.CaptureAutomatic))
			if err != nil || read(t, a).Status != tt.status {
				t.Fatalf("%v %s, want %s", err, a.Body, tt.status)
			}
			p := w.payment(read(t, a).ID)
			if got := planned(p.Attempts[len(p.Attempts)-1].Routing); got != tt.plan {
				t.Errorf("the plan is %s, want %s", got, tt.plan)
			}
			if got := fmt.Sprint(g.sent); got != tt.sent {
				t.Errorf("%s was counted, want %s", got, tt.sent)
			}
			w.calm(5 * time.Minute)
			w.reconcile()
		})
	}
}

// payable declines the first charge, which can still be paid: it must be closed
// before another account is tried.
type payable struct{ *world }

func (e payable) Exchange(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange {
	x := e.world.Exchange(ctx, a, c)
	if _, ok := c.Op.(payment.Authorize); ok && a.Name == "keyed" && c.Step == "money" {
		for _, ch := range e.psps["keyed"].charges {
			ch.authorized, ch.captured, ch.released, ch.waiting = 0, 0, false, true
		}
		x.Result = connector.Result{State: connector.Declined, PSPReference: x.Result.PSPReference, Payable: true, Failure: payment.Fail(payment.ProcessingError)}
	}
	return x
}

func TestGateClosesFirst(t *testing.T) {
	t.Parallel()
	for left, want := range map[int]string{0: "failed", 1: "succeeded"} {
		w, g := gated(t, map[string]int{"keyed": 1, "second": left})
		w.cfg.Exchange = payable{w}
		w.eng = engine.New(w.cfg)
		a, err := create2(w, "k")
		if err != nil || read(t, a).Status != want {
			t.Errorf("the next account has room for %d: %v %s, want %s", left, err, a.Body, want)
		}
		if g.sent["second"] != left || g.sent["keyed"] != 1 {
			t.Errorf("%v was counted, want 1 and %d; the closing is nobody's call", g.sent, left)
		}
		if calls := w.psps["keyed"].calls; !slices.Contains(calls, payment.KindVoid) {
			t.Errorf("the first account was sent %v, want a closing", calls)
		}
	}
}

// TestGateSpare cancels a payment while its first account fails: leave for the next
// was had, and is given back.
func TestGateSpare(t *testing.T) {
	t.Parallel()
	w, g := gated(t, map[string]int{"keyed": 1, "second": 1})
	w.psps["keyed"].fault = []string{"refused"}
	w.psps["keyed"].during = func(context.Context) {
		if p := w.payments()[0]; p.CancelRequestedAt.IsZero() {
			if _, err := w.eng.Cancel(t.Context(), claim("c"), p.ID, engine.Cancel{}); err != nil {
				t.Error(err)
			}
		}
	}
	if a, err := create2(w, "k"); err != nil || read(t, a).Status != "failed" {
		t.Errorf("%v %s, want failed", err, a.Body)
	}
	if got := g.asks(); got != "keyed second" || g.left["second"] != 1 || fmt.Sprint(g.sent) != "map[keyed:1]" {
		t.Errorf("asked for %q, %v was counted, and %d are left of the second; want it given back", got, g.sent, g.left["second"])
	}
}

// TestGateStopsNoSettling lets nothing through and settles everything: recovery,
// queries, expiry and reversals are not asked for.
func TestGateStopsNoSettling(t *testing.T) {
	t.Parallel()
	none := map[string]int{"keyed": 0, "second": 0, "named": 0}
	t.Run("recovery", func(t *testing.T) {
		t.Parallel()
		w, g := gated(t, nil)
		w.psps["keyed"].fault = []string{"", "lost after"}
		if _, err := create2(w, "k"); err != nil {
			t.Fatal(err)
		}
		g.set(none)
		w.calm(5 * time.Minute)
		w.reconcile()
		if got := g.asks(); got != "" || len(w.payments()) != 1 {
			t.Errorf("asked for %q", got)
		}
	})
	t.Run("a dead claimer's key is answered", func(t *testing.T) {
		t.Parallel()
		w, g := gated(t, map[string]int{"keyed": 1})
		w.psps["keyed"].fault = []string{"", "crash after"}
		if _, _, crashed := w.do(func(e *engine.Engine) (engine.Answer, error) {
			return e.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
		}); !crashed {
			t.Fatal("no crash")
		}
		if _, err := create2(w, "k"); refusal(t, err) != payment.CodeKeyInUse {
			t.Errorf("while the claimer may live: %v", err)
		}
		w.calm(5 * time.Minute)
		a, err := create2(w, "k")
		if err != nil || read(t, a).Status != "succeeded" {
			t.Errorf("after that: %v %s", err, a.Body)
		}
		if got := g.asks(); got != "keyed" {
			t.Errorf("asked for %q, want once", got)
		}
		w.reconcile()
	})
	t.Run("reversal", func(t *testing.T) {
		t.Parallel()
		w, g := gated(t, nil)
		w.psps["named"].fault = []string{"lost before"}
		a, err := w.eng.Create(t.Context(), claim("k"), walletPayment(1000, payment.FlowBarcode))
		if err != nil || read(t, a).Outcome != "unknown" {
			t.Fatalf("%v %s", err, a.Body)
		}
		g.set(none)
		// A cancel of what is processing is recovery's: it is not refused either.
		if _, err := w.eng.Cancel(t.Context(), claim("c"), read(t, a).ID, engine.Cancel{}); err != nil {
			t.Errorf("a cancel of what is in doubt: %v", err)
		}
		w.calm(10 * time.Minute)
		w.reconcile()
		if got := g.asks(); got != "" {
			t.Errorf("asked for %q", got)
		}
		if calls := w.psps["named"].calls; !slices.Contains(calls, payment.KindVoid) {
			t.Errorf("the PSP was sent %v, want a reversal", calls)
		}
	})
	t.Run("expiry", func(t *testing.T) {
		t.Parallel()
		w, g := gated(t, nil)
		in := walletPayment(1000, payment.FlowQR)
		in.ExpiresAt = w.now().Add(time.Minute)
		a, err := w.eng.Create(t.Context(), claim("k"), in)
		if err != nil || read(t, a).Status != "requires_action" {
			t.Fatalf("%v %s", err, a.Body)
		}
		g.set(none)
		w.calm(10 * time.Minute)
		if p := w.payment(read(t, a).ID); p.Status != payment.Expired {
			t.Errorf("the payment is %s, want expired", p.Status)
		}
		if got := g.asks(); got != "" {
			t.Errorf("asked for %q", got)
		}
	})
}
