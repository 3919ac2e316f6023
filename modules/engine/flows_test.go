package engine_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
	"github.com/purser-pay/purser/modules/store"
)

// control calls the simulator's control API, as the payer's browser or a test
// would.
func (r *rig) control(method, path, body string) {
	r.t.Helper()
	req := httptest.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
	req.RemoteAddr = "127.0.0.1:1"
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	r.sim.ServeHTTP(w, req)
	if w.Code >= http.StatusBadRequest {
		r.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
}

func card(number string, m payment.CaptureMethod) engine.Create {
	return engine.Create{
		Amount: payment.Money{Minor: 1000, Currency: "USD"}, CaptureMethod: m, Confirm: true, ReturnURL: "https://shop.example/back?order=7",
		Method: &payment.Method{Type: payment.MethodCard, Card: &payment.Card{
			Number: payment.NewSensitive(number), ExpMonth: 12, ExpYear: 2030, CVC: payment.NewSensitive("123"),
		}},
	}
}

// The payer authenticates at the bank, comes back through the gateway, and is
// sent on to the merchant with the truth.
func TestPayerComesBack(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		result string
		want   payment.Status
	}{{"succeed", payment.Succeeded}, {"fail", payment.Failed}} {
		t.Run(tt.result, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			o := r.create(card("4000000000003220", payment.CaptureAutomatic))
			p := r.payment(o.ID)
			if p.Status != payment.RequiresAction || p.NextAction == nil || p.NextAction.Type != payment.ActionRedirect {
				t.Fatalf("got %s, %+v", p.Status, p.NextAction)
			}
			c := r.sim.Books().Challenges(true)
			if len(c) != 1 {
				t.Fatalf("%d challenges", len(c))
			}
			back, err := url.Parse(c[0].ReturnURL)
			if err != nil || !strings.HasPrefix(back.Path, "/return/") || back.Host != "pay.example.com" {
				t.Fatalf("the PSP was given %q", c[0].ReturnURL)
			}
			r.control(http.MethodPost, "/_sim/challenges/"+c[0].ID, `{"result":"`+tt.result+`"}`)
			token := strings.TrimPrefix(back.Path, "/return/")
			asked := r.payment(o.ID).Attempts[0].PSP
			location, psp, err := r.eng.Return(t.Context(), token, map[string][]string{"redirect_status": {"succeeded"}})
			if err != nil {
				t.Fatal(err)
			}
			if want := r.payment(o.ID).Attempts[0].PSP - asked; psp != want || psp == 0 {
				t.Errorf("waited %v for the PSP, want %v and more than nothing", psp, want)
			}
			if _, again, err := r.eng.Return(t.Context(), token, nil); err != nil || again != 0 {
				t.Errorf("once more: waited %v for the PSP, %v; want not at all", again, err)
			}
			want := "https://shop.example/back?order=7&payment=" + o.ID + "&status=" + string(tt.want)
			if location != want {
				t.Errorf("sent to %s, want %s", location, want)
			}
			forged := token[:len(token)-1] + "x"
			if forged == token {
				forged = token[:len(token)-1] + "y"
			}
			if _, _, err := r.eng.Return(t.Context(), forged, nil); refusal(t, err) != payment.CodeNotFound {
				t.Errorf("a forged way back: %v", err)
			}
			r.reconcile("stripe", r.payment(o.ID))
		})
	}
}

// Webhooks may be lost: what waits for the payer is asked after all the same.
func TestPayerNeverComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	o := r.create(card("4000000000003220", payment.CaptureAutomatic))
	r.control(http.MethodPost, "/_sim/challenges/"+r.sim.Books().Challenges(true)[0].ID, `{"result":"succeed"}`)
	for range 30 {
		r.pass(time.Second)
		if _, err := r.eng.Work(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if p := r.payment(o.ID); p.Status != payment.Succeeded {
		t.Errorf("got %s", p.Status)
	}
}

func TestConfirmLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	in := cardPayment(1000, payment.CaptureAutomatic)
	method := in.Method
	in.Confirm, in.Method = false, nil
	a, err := w.eng.Create(t.Context(), claim("k"), in)
	if err != nil || read(t, a).Status != "requires_payment_method" {
		t.Fatalf("%v %s", err, a.Body)
	}
	id := read(t, a).ID
	if _, err := w.eng.Confirm(t.Context(), claim("c0"), id, engine.Confirm{}); refusal(t, err) != payment.CodeInvalidRequest {
		t.Errorf("without a method: %v", err)
	}
	if _, err := w.eng.Confirm(t.Context(), claim("c1"), id, engine.Confirm{Method: method, Account: "nobodys"}); refusal(t, err) != payment.CodeNotFound {
		t.Errorf("with a stranger's account: %v", err)
	}
	first, err := w.eng.Confirm(t.Context(), claim("c2"), id, engine.Confirm{Method: method})
	if err != nil || first.Status != http.StatusOK || read(t, first).Status != "succeeded" {
		t.Fatalf("%v %s", err, first.Body)
	}
	again, err := w.eng.Confirm(t.Context(), claim("c2"), id, engine.Confirm{Method: method})
	if err != nil || !again.Replayed || string(again.Body) != string(first.Body) {
		t.Errorf("replay: %v %s", err, again.Body)
	}
	if _, err := w.eng.Confirm(t.Context(), claim("c3"), id, engine.Confirm{Method: method}); refusal(t, err) != payment.CodeInvalidState {
		t.Errorf("twice: %v", err)
	}
	w.reconcile()
}

func TestPatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a, err := create2(w, "k")
	if err != nil {
		t.Fatal(err)
	}
	id, text := read(t, a).ID, "new"
	before := w.payment(id)
	p, err := w.eng.Patch(t.Context(), scope, id, engine.Patch{Description: &text, Metadata: map[string]string{"a": "1", "b": "2"}})
	if err != nil || p.Description != "new" || p.Version != before.Version+1 || p.Sequence != before.Sequence {
		t.Errorf("%v %+v", err, p)
	}
	p, err = w.eng.Patch(t.Context(), scope, id, engine.Patch{Metadata: map[string]string{"a": "", "c": "3"}})
	if err != nil || len(p.Metadata) != 2 || p.Metadata["b"] != "2" || p.Metadata["c"] != "3" {
		t.Errorf("%v %v", err, p.Metadata)
	}
	w.psps["keyed"].fault = []string{"", "lost before"}
	a, err = create2(w, "k2")
	if err != nil {
		t.Fatal(err)
	}
	// A repeat under the PSP's key must be the same request.
	if _, err := w.eng.Patch(t.Context(), scope, read(t, a).ID, engine.Patch{Description: &text}); refusal(t, err) != payment.CodeOperationInProgress {
		t.Errorf("while the PSP has not answered: %v", err)
	}
}

func TestFrozen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a, err := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureManual))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting(engine.SettingFrozen, "yes") }); err != nil {
		t.Fatal(err)
	}
	if _, err := create2(w, "k2"); refusal(t, err) != payment.CodeFrozen {
		t.Errorf("a new payment: %v", err)
	}
	if _, err := w.eng.Capture(t.Context(), claim("c"), read(t, a).ID, engine.Capture{Final: true}); err != nil {
		t.Errorf("what is under way must go on: %v", err)
	}
	if b, err := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureManual)); err != nil || !b.Replayed {
		t.Errorf("a replay: %v", err)
	}
}

// An amount that the PSP cannot express is refused before anything is written.
func TestNotRepresentable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := card("4242424242424242", payment.CaptureAutomatic)
	in.Amount = payment.Money{Minor: 5123, Currency: "KWD"} // Stripe takes steps of ten fils
	_, err := r.eng.Create(t.Context(), claim("k"), in)
	if refusal(t, err) != payment.CodeNotRepresentable {
		t.Fatalf("got %v", err)
	}
	if n := len(r.sim.Books().All()); n != 0 {
		t.Errorf("%d charges", n)
	}
	in.Amount.Minor = 5120
	if a, err := r.eng.Create(t.Context(), claim("k"), in); err != nil || read(t, a).Status != "succeeded" {
		t.Errorf("the key was consumed, or the amount refused: %v %s", err, a.Body)
	}
}

// TestNotSupported holds that a refusal names the field that asks for what a PSP
// cannot do, and consumes no key.
func TestNotSupported(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tests := []struct {
		name, param, why string
		change           func(*engine.Create)
	}{
		{"in person", "channel", "Terminal", func(c *engine.Create) { c.Channel = payment.ChannelInPerson }},
		{"by telephone", "channel", "telephone", func(c *engine.Create) { c.Channel = payment.ChannelMOTO }},
		{"kept, payer there", "setup_future_usage", "customer", func(c *engine.Create) { c.SetupFutureUsage = "on_session" }},
		{"kept, payer away", "setup_future_usage", "customer", func(c *engine.Create) { c.SetupFutureUsage = "off_session" }},
	}
	for _, tt := range tests {
		in := card("4242424242424242", payment.CaptureAutomatic)
		tt.change(&in)
		_, err := r.eng.Create(t.Context(), claim("k"), in)
		refused, ok := errors.AsType[*payment.Error](err)
		if !ok || refused.Code != payment.CodeNotSupported || refused.Param != tt.param || !strings.Contains(refused.Detail, tt.why) {
			t.Errorf("%s: got %+v, want not_supported of %s, with %q", tt.name, err, tt.param, tt.why)
		}
	}
	if a, err := r.eng.Create(t.Context(), claim("k"), card("4242424242424242", payment.CaptureAutomatic)); err != nil {
		t.Errorf("the key was consumed: %v %s", err, a.Body)
	}
}

// One query per payment in two seconds, however often a merchant asks.
func TestSyncIsThrottled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a, err := w.eng.Create(t.Context(), claim("k"), walletPayment(1000, payment.FlowQR))
	if err != nil {
		t.Fatal(err)
	}
	id := read(t, a).ID
	ask := func() int {
		for range 5 {
			if _, err := w.eng.Payment(t.Context(), scope, id, true); err != nil {
				t.Fatal(err)
			}
		}
		return len(w.psps["named"].calls) - 1
	}
	if n := ask(); n != 1 {
		t.Errorf("%d queries, want 1", n)
	}
	w.pass(2 * time.Second)
	if n := ask(); n != 2 {
		t.Errorf("%d queries, want 2", n)
	}
	w.payQRs()
	w.pass(2 * time.Second)
	if p, err := w.eng.Payment(t.Context(), scope, id, true); err != nil || p.Status != payment.Succeeded {
		t.Errorf("%v %s", err, p.Status)
	}
}

// A queue whose PSP does not answer holds up no other queue.
func TestQueuesDoNotWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.psps["named"].fault = []string{"lost before"}
	a, err := w.eng.Create(t.Context(), claim("k"), walletPayment(1000, payment.FlowBarcode))
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.eng.Create(t.Context(), claim("k2"), cardPayment(1000, payment.CaptureManual))
	if err != nil {
		t.Fatal(err)
	}
	stuck, free := make(chan struct{}), make(chan struct{})
	w.psps["named"].during = func(ctx context.Context) {
		select {
		case <-stuck:
		default:
			close(stuck)
		}
		select {
		case <-free:
		case <-ctx.Done():
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan struct{})
	w.pass(time.Minute)
	go func() { defer close(over); w.eng.Run(ctx) }()
	<-stuck // the recovery of the barcode waits for its PSP
	id := read(t, b).ID
	ch := w.psps["keyed"].charges[w.payment(id).Attempts[0].Reference]
	ch.captured, ch.released = 1000, true
	w.webhook("keyed", ch)
	for w.payment(id).Status != payment.Succeeded {
		if t.Context().Err() != nil {
			t.Fatal("the webhook waits for the other PSP")
		}
		runtime.Gosched()
	}
	if p := w.payment(read(t, a).ID); p.Status != payment.Processing {
		t.Errorf("the barcode is %s", p.Status)
	}
	close(free)
	stop()
	<-over
}

// Stripe may replay a 500 for as long as it knows the key. What it has done all
// the same is found by search, and then asked for by name.
func TestReplayedErrorIsSearchedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	err := r.sim.Books().Faults.Add(books.Fault{Connector: "stripe", Operation: "authorize", Kind: books.E500After, Times: 1, Replay: true})
	if err != nil {
		t.Fatal(err)
	}
	o := r.create(tokenPayment(payment.CaptureAutomatic))
	if o.Status != "processing" || o.Outcome != "unknown" {
		t.Fatalf("got %+v", o)
	}
	p := r.settle(o.ID, 5*time.Minute)
	if p.Status != payment.Succeeded || p.Outcome != payment.Known || p.Current().PSPReference == "" {
		t.Errorf("got %s, %s, %q\n%s", p.Status, p.Outcome, p.Current().PSPReference, tail(r.log.String(), 20))
	}
	r.reconcile("stripe", p)
}

// blindStore cannot read its settings.
type blindStore struct{ store.Store }

type blindTx struct{ store.Tx }

func (s blindStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.Store.Update(ctx, func(tx store.Tx) error { return fn(blindTx{tx}) })
}

func (blindTx) Setting(string) (string, error) { return "", store.ErrUnavailable }

// A freeze that cannot be read stops new payments as well.
func TestUnreadableFreeze(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.store.Store = blindStore{w.store.Store}
	if _, err := create2(w, "k"); refusal(t, err) != payment.CodeStoreUnavailable {
		t.Errorf("got %v", err)
	}
	if n := len(w.psps["keyed"].calls); n != 0 {
		t.Errorf("the PSP was called %d times", n)
	}
}
