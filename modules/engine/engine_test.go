package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// The caller hanging up changes nothing once the intent is durable.
func TestCallerHangsUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	ctx, hangUp := context.WithCancel(t.Context())
	w.psps["keyed"].during = func(context.Context) { hangUp() }
	a, err := w.eng.Create(ctx, claim("k"), cardPayment(1000, payment.CaptureAutomatic))
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if o := read(t, a); o.Status != "succeeded" || o.AmountCaptured != 1000 {
		t.Errorf("got %s, captured %d; the PSP has done it", o.Status, o.AmountCaptured)
	}
	w.reconcile()
}

// An attempt whose outcome is unknown is never tried at another account.
func TestUnknownIsNeverTriedElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.psps["keyed"].fault = []string{"", "lost after"} // the card is stored, the money's answer lost
	a, err := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
	if err != nil {
		t.Fatal(err)
	}
	if o := read(t, a); o.Status != "processing" || o.Outcome != "unknown" {
		t.Errorf("got %s, %s", o.Status, o.Outcome)
	}
	if n := len(w.psps["second"].calls); n != 0 {
		t.Errorf("the second account was called %d times", n)
	}
	w.calm(time.Minute)
	if n := len(w.psps["second"].calls); n != 0 {
		t.Errorf("recovery called the second account %d times", n)
	}
	w.reconcile()
}

// What was certainly not done may go to another account, and only that.
func TestFailover(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		faults  []string
		amount  int64
		status  string
		account string
	}{
		{"refused", []string{"refused"}, 1000, "succeeded", "second"},
		{"turned away", []string{"429"}, 1000, "succeeded", "second"},
		{"the card is stored, then refused", []string{"", "refused"}, 1000, "succeeded", "second"},
		{"the issuer says no", nil, 1013, "failed", "keyed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			w.psps["keyed"].fault = tt.faults
			a, err := w.eng.Create(t.Context(), claim("k"), cardPayment(tt.amount, payment.CaptureAutomatic))
			if err != nil {
				t.Fatal(err)
			}
			p := w.payment(read(t, a).ID)
			if string(p.Status) != tt.status || p.Current().Account != tt.account {
				t.Errorf("got %s at %s, want %s at %s", p.Status, p.Current().Account, tt.status, tt.account)
			}
			if tt.account == "second" {
				if len(p.Attempts) != 2 || p.Attempts[0].Error == nil || p.Attempts[1].Routing.Candidates[0].Outcome != payment.CandidateTried {
					t.Errorf("the second attempt does not say why: %+v", p.Attempts)
				}
			}
			w.reconcile()
		})
	}
}

// No account answers: the payment exists, failed, with advice.
func TestNobodyThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.psps["keyed"].fault, w.psps["second"].fault = []string{"refused"}, []string{"refused"}
	a, err := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
	if err != nil {
		t.Fatal(err)
	}
	o := read(t, a)
	if a.Status != 201 || o.Status != "failed" || o.Error == nil || o.Error.Code != payment.PSPUnavailable || o.Error.Advice != payment.RetryLater {
		t.Errorf("got %d %+v", a.Status, o)
	}
}

// One key at many callers at once is one charge and one answer.
func TestOneKeyOneCharge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		bodies = map[string]bool{}
		busy   int
		inside atomic.Int64
		once   sync.Once
	)
	// The first call to the PSP lasts until somebody else has come with the key: it
	// was turned away, or it stands here as well.
	met := make(chan struct{})
	meet := func() { once.Do(func() { close(met) }) }
	w.psps["keyed"].during = func(context.Context) {
		if inside.Add(1) > 1 {
			meet()
		}
		<-met
	}
	for range 40 {
		wg.Go(func() {
			for {
				a, err := w.eng.Create(context.Background(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
				var e *payment.Error
				if errors.As(err, &e) && e.Code == payment.CodeKeyInUse {
					mu.Lock()
					busy++
					mu.Unlock()
					meet()
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				bodies[string(a.Body)] = true
				mu.Unlock()
				return
			}
		})
	}
	wg.Wait()
	if len(bodies) != 1 || len(w.payments()) != 1 {
		t.Errorf("%d answers, %d payments (%d times busy)", len(bodies), len(w.payments()), busy)
	}
	w.reconcile()
}

func TestKeyRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	create := func(body string) (engine.Answer, error) {
		return w.eng.Create(t.Context(), claim("k", body), cardPayment(1000, payment.CaptureAutomatic))
	}
	first, err := create("a")
	if err != nil || first.Replayed {
		t.Fatalf("%v, replayed %v", err, first.Replayed)
	}
	if _, err := create("b"); refusal(t, err) != payment.CodeKeyReused {
		t.Errorf("another body: %v", err)
	}
	again, err := create("a")
	if err != nil || !again.Replayed || string(again.Body) != string(first.Body) || again.Status != first.Status {
		t.Errorf("replay: %v, %+v", err, again)
	}
	w.pass(29 * 24 * time.Hour)
	if again, err = create("a"); err != nil || !again.Replayed {
		t.Errorf("after 29 days: %v, replayed %v", err, again.Replayed)
	}
	w.pass(2 * 24 * time.Hour)
	fresh, err := create("a")
	if err != nil || fresh.Replayed || read(t, fresh).ID == read(t, first).ID {
		t.Errorf("after 31 days: %v, %s", err, fresh.Body)
	}
	if n := len(w.psps["keyed"].charges) / 2; n != 2 {
		t.Errorf("a key that has lapsed met the PSP's memory: %d charges, want 2", n)
	}
	if _, err := w.eng.Capture(t.Context(), claim("c"), read(t, first).ID, engine.Capture{Final: true}); refusal(t, err) != payment.CodeInvalidState {
		t.Errorf("capture of a succeeded payment: %v", err)
	}
	if a, err := create2(w, "c"); err != nil || a.Replayed {
		t.Errorf("a refusal has consumed the key: %v", err)
	}
}

func create2(w *world, key string) (engine.Answer, error) {
	return w.eng.Create(context.Background(), claim(key), cardPayment(1000, payment.CaptureAutomatic))
}

func TestCaptureAmounts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		in   engine.Capture
		code payment.Code
		want int64
	}{
		{"all", engine.Capture{Final: true}, "", 1000},
		{"part", engine.Capture{Amount: 400, Final: true}, "", 400},
		{"more than there is", engine.Capture{Amount: 1001, Final: true}, payment.CodeAmountTooLarge, 0},
		{"part, and more to come", engine.Capture{Amount: 400}, payment.CodeNotSupported, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			a, err := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureManual))
			if err != nil {
				t.Fatal(err)
			}
			id := read(t, a).ID
			if o := read(t, a); o.Status != "requires_capture" || o.AmountCapturable != 1000 {
				t.Fatalf("authorized: %+v", o)
			}
			got, err := w.eng.Capture(t.Context(), claim("c"), id, tt.in)
			if tt.code != "" {
				if refusal(t, err) != tt.code {
					t.Errorf("got %v, want %s", err, tt.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if o := read(t, got); o.Status != "succeeded" || o.AmountCaptured != tt.want || o.AmountCapturable != 0 {
				t.Errorf("got %+v", o)
			}
			w.reconcile()
		})
	}
}

// While a capture is in doubt its amount is reserved, and a second one waits.
func TestCaptureReserves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a, _ := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureManual))
	id := read(t, a).ID
	w.psps["keyed"].fault = []string{"lost after"}
	got, err := w.eng.Capture(t.Context(), claim("c1"), id, engine.Capture{Amount: 400, Final: true})
	if err != nil {
		t.Fatal(err)
	}
	if o := read(t, got); o.Status != "requires_capture" || o.Outcome != "unknown" || o.AmountCapturable != 600 {
		t.Errorf("in doubt: %+v", o)
	}
	if _, err := w.eng.Capture(t.Context(), claim("c2"), id, engine.Capture{Amount: 100, Final: true}); refusal(t, err) != payment.CodeOperationInProgress {
		t.Errorf("second capture: %v", err)
	}
	if _, err := w.eng.Cancel(t.Context(), claim("x"), id, engine.Cancel{}); refusal(t, err) != payment.CodeOperationInProgress {
		t.Errorf("cancel: %v", err)
	}
	w.calm(time.Minute)
	if p := w.payment(id); p.Status != payment.Succeeded || p.AmountCaptured() != 400 {
		t.Errorf("in the end %s, %d", p.Status, p.AmountCaptured())
	}
	w.reconcile()
}

// A failed capture leaves the authorization as it was, and says why.
func TestCaptureFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a, _ := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureManual))
	id := read(t, a).ID
	w.psps["keyed"].fault = []string{"429"}
	got, err := w.eng.Capture(t.Context(), claim("c1"), id, engine.Capture{Final: true})
	if err != nil {
		t.Fatal(err)
	}
	if o := read(t, got); got.Status != 200 || o.Status != "requires_capture" || o.Error == nil || o.AmountCapturable != 1000 {
		t.Errorf("got %d %+v", got.Status, o)
	}
	if got, err = w.eng.Capture(t.Context(), claim("c2"), id, engine.Capture{Final: true}); err != nil || read(t, got).Status != "succeeded" {
		t.Errorf("second try: %v %s", err, got.Body)
	}
}

func TestRefundAmounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a, _ := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
	id := read(t, a).ID
	refund := func(key string, amount int64) (engine.Answer, error) {
		return w.eng.Refund(t.Context(), claim(key), engine.Refund{Payment: id, Amount: amount})
	}
	if _, err := refund("r0", 1001); refusal(t, err) != payment.CodeAmountTooLarge {
		t.Errorf("too much: %v", err)
	}
	w.psps["keyed"].fault = []string{"lost before"}
	if a, err := refund("r1", 600); err != nil || a.Status != 201 || read(t, a).Status != "pending" || read(t, a).Outcome != "unknown" {
		t.Errorf("in doubt: %v %s", err, a.Body)
	}
	if _, err := refund("r2", 500); refusal(t, err) != payment.CodeOperationInProgress {
		t.Errorf("over the reservation: %v", err)
	}
	if a, err := refund("r3", 400); err != nil || read(t, a).Status != "succeeded" {
		t.Errorf("beside it: %v %s", err, a.Body)
	}
	w.calm(time.Minute)
	if p := w.payment(id); p.Status != payment.Succeeded || p.AmountRefunded() != 1000 {
		t.Errorf("in the end %s, refunded %d", p.Status, p.AmountRefunded())
	}
	if _, err := refund("r4", 1); refusal(t, err) != payment.CodeAmountTooLarge {
		t.Errorf("nothing left: %v", err)
	}
	w.reconcile()
}

// Concurrent refunds never give back more than was taken.
func TestRefundRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a, _ := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
	id := read(t, a).ID
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			_, err := w.eng.Refund(context.Background(), claim(fmt.Sprint("r", n)), engine.Refund{Payment: id, Amount: 300})
			var e *payment.Error
			if err != nil && !errors.As(err, &e) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if p := w.payment(id); p.AmountRefunded() != 900 {
		t.Errorf("refunded %d, want 900", p.AmountRefunded())
	}
	w.reconcile()
}

// A payment at the till whose answer was lost ends by itself, right.
func TestBarcodeEndsByItself(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		faults []string
		want   payment.Status
	}{
		{"the PSP never got it", []string{"lost before"}, payment.Failed},
		{"the PSP has charged", []string{"lost after"}, payment.Succeeded},
		{"charged, and queries fail for a while", []string{"lost after", "lost before", "refused", "lost after"}, payment.Succeeded},
		{"charged, and no query is ever answered", append([]string{"lost after"}, slices.Repeat([]string{"lost before"}, 40)...), payment.Failed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			w.psps["named"].fault = tt.faults
			a, err := w.eng.Create(t.Context(), claim("k"), walletPayment(1000, payment.FlowBarcode))
			if err != nil {
				t.Fatal(err)
			}
			id := read(t, a).ID
			if o := read(t, a); o.Status != "processing" || o.Outcome != "unknown" {
				t.Fatalf("got %+v", o)
			}
			for range 150 {
				w.pass(time.Second)
				w.work()
			}
			w.calm(time.Minute)
			if p := w.payment(id); p.Status != tt.want {
				t.Errorf("got %s, want %s\n%s", p.Status, tt.want, tail(w.log.String(), 20))
			}
			w.reconcile()
		})
	}
}

// Cancel on a payment in doubt is a wish; only the PSP's word makes it true.
func TestCancelInDoubt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.psps["named"].fault = []string{"lost before"}
	a, _ := w.eng.Create(t.Context(), claim("k"), walletPayment(1000, payment.FlowBarcode))
	id := read(t, a).ID
	got, err := w.eng.Cancel(t.Context(), claim("x"), id, engine.Cancel{})
	if err != nil || got.Status != 200 || read(t, got).Status != "processing" || w.payment(id).CancelRequestedAt.IsZero() {
		t.Fatalf("%v %d %s", err, got.Status, got.Body)
	}
	w.calm(time.Minute)
	if p := w.payment(id); p.Status != payment.Canceled {
		t.Errorf("got %s\n%s", p.Status, tail(w.log.String(), 20))
	}
	w.reconcile()
}

// The payer's time ends: what could still be paid is closed at the PSP first.
func TestExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	in := walletPayment(1000, payment.FlowQR)
	in.ExpiresAt = w.now().Add(10 * time.Minute)
	a, err := w.eng.Create(t.Context(), claim("k"), in)
	if err != nil || read(t, a).Status != "requires_action" {
		t.Fatalf("%v %s", err, a.Body)
	}
	later := in
	later.Confirm, later.Method = false, nil
	b, err := w.eng.Create(t.Context(), claim("k2"), later)
	if err != nil || read(t, b).Status != "requires_payment_method" {
		t.Fatalf("%v %s", err, b.Body)
	}
	w.pass(9 * time.Minute)
	w.calm(20 * time.Second)
	if p := w.payment(read(t, a).ID); p.Status != payment.RequiresAction {
		t.Fatalf("before its time: %s", p.Status)
	}
	w.calm(2 * time.Minute)
	for _, id := range []string{read(t, a).ID, read(t, b).ID} {
		if p := w.payment(id); p.Status != payment.Expired {
			t.Errorf("got %s", p.Status)
		}
	}
	if ch := w.psps["named"].find(payment.ChargeRef{Reference: w.payment(read(t, a).ID).Attempts[0].Reference}); ch.waiting {
		t.Error("the code can still be paid at the PSP")
	}
	w.reconcile()
}

// Money that is proven against our status is booked, told, and refundable.
func TestLateMoney(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a, _ := w.eng.Create(t.Context(), claim("k"), cardPayment(1013, payment.CaptureAutomatic))
	id := read(t, a).ID
	p := w.payment(id)
	if p.Status != payment.Failed {
		t.Fatalf("got %s", p.Status)
	}
	ch := w.psps["keyed"].charges[p.Attempts[0].Reference]
	ch.declined, ch.authorized, ch.captured, ch.released = false, 1013, 1013, true // the PSP thinks again
	w.webhook("keyed", ch)
	w.calm(10 * time.Second)
	p = w.payment(id)
	if p.Status != payment.Failed || p.Outcome != payment.Conflicted || p.AmountCaptured() != 1013 {
		t.Fatalf("got %s, %s, captured %d\n%s", p.Status, p.Outcome, p.AmountCaptured(), tail(w.log.String(), 10))
	}
	if !w.told(id, payment.EventPaymentConflicted) {
		t.Error("nobody was told")
	}
	if a, err := w.eng.Refund(t.Context(), claim("r"), engine.Refund{Payment: id}); err != nil || read(t, a).Status != "succeeded" {
		t.Errorf("refund: %v %s", err, a.Body)
	}
	if _, err := w.eng.Resolve(t.Context(), id, engine.ResolveFailed, "refunded by hand", "test"); err != nil {
		t.Errorf("resolve: %v", err)
	}
	if p = w.payment(id); p.Outcome != payment.Known {
		t.Errorf("after resolve: %s", p.Outcome)
	}
}

// webhook delivers the PSP's news of a charge, as a connector would decode it.
func (w *world) webhook(account string, ch *charge) {
	w.t.Helper()
	if err := w.deliver(account, ch); err != nil {
		w.t.Fatal(err)
	}
}

// deliver is [world.webhook] for times when the store may be away.
func (w *world) deliver(account string, ch *charge) error {
	r := ch.result()
	live := false
	ev := connector.Event{Of: payment.KindAuthorize, Reference: ch.ref, PSPReference: ch.psp, Result: r, Livemode: &live}
	return w.eng.Receive(context.Background(), account, []connector.Event{ev})
}

func (w *world) told(id string, typ payment.EventType) (found bool) {
	w.t.Helper()
	err := w.store.View(context.Background(), func(r store.Reader) error {
		page, err := r.Events(store.EventQuery{Paging: store.Paging{Limit: store.MaxPage}, Payment: id, Type: typ})
		found = len(page.Data) > 0
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// A webhook settles what no query can: a charge whose name was lost.
func TestWebhookSettlesDoubt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.psps["keyed"].fault = append([]string{"", "lost after"}, slices.Repeat([]string{"lost before"}, 100)...)
	a, _ := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
	id := read(t, a).ID
	w.webhook("keyed", w.psps["keyed"].charges[w.payment(id).Attempts[0].Reference])
	w.work()
	p := w.payment(id)
	if p.Status != payment.Succeeded || p.Outcome != payment.Known || p.Current().PSPReference == "" {
		t.Errorf("got %s, %s, %q\n%s", p.Status, p.Outcome, p.Current().PSPReference, tail(w.log.String(), 10))
	}
	w.reconcile()
}

// Forged news (another amount, another mode, another's charge) changes nothing.
func TestWebhookMustAgree(t *testing.T) {
	t.Parallel()
	live := true
	for _, tt := range []struct {
		name  string
		forge func(ev *connector.Event)
	}{
		{"amount", func(ev *connector.Event) { ev.Result.Charge.Amount.Minor++; ev.Result.Charge.Captured++ }},
		{"currency", func(ev *connector.Event) { ev.Result.Charge.Amount.Currency = "USD" }},
		{"mode", func(ev *connector.Event) { ev.Livemode = &live }},
		{"reference", func(ev *connector.Event) { ev.Reference = strings.Repeat("a", 32) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			a, err := w.eng.Create(t.Context(), claim("k"), walletPayment(1000, payment.FlowQR))
			if err != nil {
				t.Fatal(err)
			}
			id := read(t, a).ID
			ch := w.psps["named"].charges[w.payment(id).Attempts[0].Reference]
			paid := *ch
			paid.waiting, paid.authorized, paid.captured, paid.released = false, 1000, 1000, true
			ev := connector.Event{Of: payment.KindAuthorize, Reference: ch.ref, PSPReference: ch.psp, Result: paid.result()}
			tt.forge(&ev)
			if err := w.eng.Receive(t.Context(), "named", []connector.Event{ev}); err != nil {
				t.Fatal(err)
			}
			w.calm(5 * time.Second)
			if p := w.payment(id); p.Status != payment.RequiresAction || p.AmountCaptured() != 0 {
				t.Errorf("got %s, captured %d", p.Status, p.AmountCaptured())
			}
		})
	}
}

// Deliveries in any order, twice, early and late, leave the same end.
func TestWebhookOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		w := newWorld(t, seed)
		a, err := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureManual))
		if err != nil {
			t.Fatal(err)
		}
		id := read(t, a).ID
		ch := w.psps["keyed"].charges[w.payment(id).Attempts[0].Reference]
		news := []charge{*ch}
		if _, err := w.eng.Capture(t.Context(), claim("c"), id, engine.Capture{Amount: 700, Final: true}); err != nil {
			t.Fatal(err)
		}
		news = append(news, *ch)
		if _, err := w.eng.Refund(t.Context(), claim("r"), engine.Refund{Payment: id, Amount: 200}); err != nil {
			t.Fatal(err)
		}
		news = append(news, *ch)
		before := w.payment(id)
		for range 12 {
			n := news[w.intn(len(news))]
			w.webhook("keyed", &n)
			if w.intn(2) == 0 {
				w.work()
			}
		}
		w.calm(20 * time.Second)
		after := w.payment(id)
		if after.Status != before.Status || after.Outcome != before.Outcome || after.AmountCaptured() != 700 ||
			after.AmountRefunded() != 200 || len(after.Attempts) != len(before.Attempts) || after.Sequence != before.Sequence {
			t.Errorf("seed %d: %s %s %d %d with %d attempts, sequence %d", seed, after.Status, after.Outcome,
				after.AmountCaptured(), after.AmountRefunded(), len(after.Attempts), after.Sequence)
		}
	}
}

// What is done at the PSP's own desk is adopted.
func TestExternalOperations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a, _ := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureManual))
	id := read(t, a).ID
	ch := w.psps["keyed"].charges[w.payment(id).Attempts[0].Reference]
	ch.captured, ch.released, ch.refund = 800, true, 300
	w.webhook("keyed", ch)
	w.calm(10 * time.Second)
	p := w.payment(id)
	if p.Status != payment.Succeeded || p.AmountCaptured() != 800 || p.AmountRefunded() != 300 || p.Outcome != payment.Known {
		t.Errorf("got %s, %d, %d, %s", p.Status, p.AmountCaptured(), p.AmountRefunded(), p.Outcome)
	}
	n := 0
	for _, a := range p.Attempts {
		if a.Origin == payment.OriginExternal {
			n++
		}
	}
	if n != 2 || len(p.Refunds) != 1 || p.Refunds[0].Origin != payment.OriginExternal {
		t.Errorf("%d attempts adopted, refunds %+v", n, p.Refunds)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		as   engine.Resolution
		want payment.Status
	}{{engine.ResolveSucceeded, payment.Succeeded}, {engine.ResolveFailed, payment.Failed}, {engine.ResolveCanceled, payment.Canceled}} {
		w := newWorld(t, 1)
		w.psps["keyed"].fault = []string{"", "lost before"}
		a, _ := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
		id := read(t, a).ID
		if _, err := w.eng.Resolve(t.Context(), id, tt.as, " ", "test"); refusal(t, err) != payment.CodeInvalidRequest {
			t.Errorf("without a reason: %v", err)
		}
		p, err := w.eng.Resolve(t.Context(), id, tt.as, "the PSP's support says so", "test")
		if err != nil || p.Status != tt.want || p.Outcome != payment.Known {
			t.Errorf("%s: %v, %s, %s", tt.as, err, p.Status, p.Outcome)
		}
		if _, err := w.eng.Resolve(t.Context(), id, tt.as, "again", "test"); refusal(t, err) != payment.CodeInvalidState {
			t.Errorf("twice: %v", err)
		}
	}
}

// Another merchant's payment, or one of the other mode, does not exist.
func TestNothingCrosses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a, _ := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureManual))
	id := read(t, a).ID
	for _, s := range []engine.Scope{{Merchant: "mer_other", Mode: payment.Test}, {Merchant: merchant, Mode: payment.Live}} {
		c := engine.Claim{Scope: s, Key: "x"}
		for name, call := range map[string]func() error{
			"get":     func() error { _, err := w.eng.Payment(t.Context(), s, id, false); return err },
			"patch":   func() error { _, err := w.eng.Patch(t.Context(), s, id, engine.Patch{}); return err },
			"capture": func() error { _, err := w.eng.Capture(t.Context(), c, id, engine.Capture{Final: true}); return err },
			"cancel":  func() error { _, err := w.eng.Cancel(t.Context(), c, id, engine.Cancel{}); return err },
			"confirm": func() error { _, err := w.eng.Confirm(t.Context(), c, id, engine.Confirm{}); return err },
			"refund":  func() error { _, err := w.eng.Refund(t.Context(), c, engine.Refund{Payment: id}); return err },
		} {
			got := call()
			if refusal(t, got) != payment.CodeNotFound {
				t.Errorf("%s by %+v: %v", name, s, got)
			}
		}
	}
	in := cardPayment(1000, payment.CaptureAutomatic)
	in.Account = "nobodys"
	if _, err := w.eng.Create(t.Context(), claim("y"), in); refusal(t, err) != payment.CodeNotFound {
		t.Errorf("pinned to an unknown account: %v", err)
	}
}

// A store that is away keeps everything from the PSP.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.store.Store = awayStore{w.store.Store}
	_, err := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
	if refusal(t, err) != payment.CodeStoreUnavailable {
		t.Errorf("got %v", err)
	}
	if n := len(w.psps["keyed"].calls); n != 0 {
		t.Errorf("the PSP was called %d times", n)
	}
}

type awayStore struct{ store.Store }

func (awayStore) Update(context.Context, func(store.Tx) error) error { return store.ErrUnavailable }

// "Not found" right after a lost send proves nothing: the PSP may be slow.
func TestNotFoundNeedsTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	named := w.psps["named"]
	named.fault = []string{"lost after"}
	a, err := w.eng.Create(t.Context(), claim("k"), walletPayment(1000, payment.FlowBarcode))
	if err != nil {
		t.Fatal(err)
	}
	id := read(t, a).ID
	ref := w.payment(id).Attempts[0].Reference
	ch := named.charges[ref]
	delete(named.charges, ref) // taken, and not to be found yet
	for range 10 {
		w.pass(time.Second)
		w.work()
	}
	if p := w.payment(id); p.Status != payment.Processing || p.Outcome != payment.Unknown {
		t.Fatalf("after 10 s of not_found_after's 20: %s, %s", p.Status, p.Outcome)
	}
	named.charges[ref] = ch
	w.calm(20 * time.Second)
	if p := w.payment(id); p.Status != payment.Succeeded {
		t.Errorf("got %s", p.Status)
	}
	w.reconcile()
}
