package engine_test

import (
	"slices"
	"testing"
	"time"

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
