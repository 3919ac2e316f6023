package engine_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// "Not found" is counted from the last send: a repeat may still be on its way
// when the PSP is asked.
func TestNotFoundAfterRepeat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.psps["named"].fault = []string{"lost before", "lost before"} // the first send, and its repeat
	a, err := w.eng.Create(t.Context(), claim("k"), walletPayment(1000, payment.FlowQR))
	if err != nil {
		t.Fatal(err)
	}
	id := read(t, a).ID
	w.pass(25 * time.Second) // more than not_found_after's 20
	w.work()
	w.pass(3 * time.Second)
	w.work()
	calls := w.psps["named"].calls
	if want := []payment.Kind{payment.KindAuthorize, payment.KindAuthorize, payment.KindSync}; !slices.Equal(calls, want) {
		t.Fatalf("the PSP got %v, want %v", calls, want)
	}
	if p := w.payment(id); p.Status != payment.Processing || p.Outcome != payment.Unknown {
		t.Errorf("3 s after the repeat: got %s, %s; want processing, unknown", p.Status, p.Outcome)
	}
	w.calm(20 * time.Second)
	if p := w.payment(id); p.Status != payment.RequiresAction {
		t.Errorf("got %s, want the QR code", p.Status)
	}
}

// A webhook that settles what the answer would have settled may tell less of the
// card: then the PSP is asked.
func TestThinWebhook(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		card  *payment.MethodSummary
		asked bool
	}{
		"it tells of the card": {&payment.MethodSummary{Brand: "visa"}, false},
		"it does not":          {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			keyed := w.psps["keyed"]
			keyed.fault = []string{"", "lost after"}
			a, err := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureManual))
			if err != nil {
				t.Fatal(err)
			}
			id := read(t, a).ID
			ch := keyed.charges[w.payment(id).Attempts[0].Reference]
			ev := connector.Event{Of: payment.KindAuthorize, Reference: ch.ref, PSPReference: ch.psp, Result: ch.result()}
			ev.Result.Card = tt.card
			if err := w.eng.Receive(t.Context(), "keyed", []connector.Event{ev}); err != nil {
				t.Fatal(err)
			}
			w.calm(5 * time.Second)
			if p := w.payment(id); p.Status != payment.RequiresCapture || p.Outcome != payment.Known {
				t.Errorf("got %s, %s; want requires_capture, known", p.Status, p.Outcome)
			}
			if got := slices.Contains(keyed.calls, payment.KindSync); got != tt.asked {
				t.Errorf("got asked %t, want %t: %v", got, tt.asked, keyed.calls)
			}
		})
	}
}

// Whichever commit fails while a payment is settled by a query, before or after
// it was written: a payment that has succeeded names its charge, or nobody could
// ever find the money again.
func TestSettledNamesItsCharge(t *testing.T) {
	t.Parallel()
	for after := range 7 {
		for _, written := range []bool{false, true} {
			t.Run(fmt.Sprintf("commit %d, written %t", after, written), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, 1)
				a, err := w.eng.Create(t.Context(), claim("k"), walletPayment(1000, payment.FlowQR))
				if err != nil {
					t.Fatal(err)
				}
				id := read(t, a).ID
				w.payQRs()
				w.store.after, w.store.written = after, written
				w.calm(2 * time.Minute)
				if p := w.payment(id); p.Status != payment.Succeeded {
					t.Fatalf("got %s, want succeeded", p.Status)
				}
				w.reconcile()
			})
		}
	}
}
