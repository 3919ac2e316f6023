package engine_test

import (
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// A comparison asks about settled payments as well, adopts what the store does
// not know, and says how far the PSP's word reaches.
func TestCompare(t *testing.T) {
	t.Parallel()
	const (
		refunded = "refunded at the PSP"
		silent   = "the query is not answered"
	)
	for _, tt := range []struct {
		name     string
		change   string
		held     engine.Held
		changed  bool
		refunded int64
	}{
		{"agreed", "", engine.HeldAnswered, false, 0},
		{refunded, refunded, engine.HeldAnswered, true, 300},
		{silent, silent, engine.HeldSilent, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			a, err := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
			if err != nil {
				t.Fatal(err)
			}
			id := read(t, a).ID
			ch := w.psps["keyed"].charges[w.payment(id).Attempts[0].Reference]
			switch tt.change {
			case refunded:
				ch.refund = 300
			case silent:
				w.psps["keyed"].fault = []string{"lost before", "lost before", "lost before", "lost before"}
			}
			c, err := w.eng.Compare(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			p := w.payment(id)
			if c.Held != tt.held || c.Changed() != tt.changed || p.AmountRefunded() != tt.refunded || p.Status != payment.Succeeded {
				t.Errorf("got held %d, changed %v, %s with %d refunded; want %d, %v and %d",
					c.Held, c.Changed(), p.Status, p.AmountRefunded(), tt.held, tt.changed, tt.refunded)
			}
		})
	}
}

// A payment that never came to a PSP has nothing to be compared.
func TestCompareNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	in := cardPayment(1000, payment.CaptureAutomatic)
	in.Method, in.Confirm = nil, false
	a, err := w.eng.Create(t.Context(), claim("k"), in)
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.eng.Compare(t.Context(), read(t, a).ID)
	if err != nil || c.Held != engine.HeldNothing || c.Changed() {
		t.Errorf("got held %d, changed %v and error %v; want nothing", c.Held, c.Changed(), err)
	}
}

// Refunds of a restored store wait: one that was made after the backup would be
// made again.
func TestRestoredRefusesRefunds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	a, err := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
	if err != nil {
		t.Fatal(err)
	}
	id := read(t, a).ID
	set := func(v string) {
		if err := w.store.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting(engine.SettingRestored, v) }); err != nil {
			t.Fatal(err)
		}
	}
	set(time.Unix(0, 0).Format(time.RFC3339))
	if _, err := w.eng.Refund(t.Context(), claim("r"), engine.Refund{Payment: id, Amount: 400}); refusal(t, err) != payment.CodeFrozen {
		t.Errorf("restored: got %v, want %s", err, payment.CodeFrozen)
	}
	set("")
	if _, err := w.eng.Refund(t.Context(), claim("r"), engine.Refund{Payment: id, Amount: 400}); err != nil {
		t.Errorf("reconciled: got error %v, want none, with the same key", err)
	}
	if p := w.payment(id); p.AmountRefunded() != 400 {
		t.Errorf("refunded: got %d, want 400", p.AmountRefunded())
	}
}
