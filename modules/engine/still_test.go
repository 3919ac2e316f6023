package engine_test

import (
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
)

// Where nothing has changed, nothing is written: the version stays, and the time.
func TestNothingNewIsNotWritten(t *testing.T) {
	t.Parallel()
	text, other := "text", "another text"
	given := func(d string) engine.Patch {
		return engine.Patch{Description: &d, Reference: &d, Metadata: map[string]string{"a": d}}
	}
	for _, tt := range []struct {
		name  string
		do    func(w *world, id string) error
		wrote int64
	}{
		{"an empty patch", patches(engine.Patch{}), 0},
		{"the same again", patches(given(text)), 0},
		{"the removal of nothing", patches(engine.Patch{Metadata: map[string]string{"b": ""}}), 0},
		{"another description", patches(engine.Patch{Description: &other}), 1},
		{"another reference", patches(engine.Patch{Reference: &other}), 1},
		{"other metadata", patches(engine.Patch{Metadata: map[string]string{"b": text}}), 1},
		{"a question", func(w *world, id string) error {
			_, err := w.eng.Payment(w.t.Context(), scope, id, true)
			return err
		}, 0},
		{"a question that is lost", func(w *world, id string) error {
			w.psps["keyed"].fault = []string{"lost before"}
			_, err := w.eng.Payment(w.t.Context(), scope, id, true)
			return err
		}, 0},
		{"a webhook that is known", func(w *world, _ string) error { return w.deliver("keyed", w.psps["keyed"].order[0]) }, 0},
		{"a webhook of something unknown", func(w *world, _ string) error {
			ev := connector.Event{Of: payment.KindRefund, PSPReference: "re_x", ChargePSPReference: w.psps["keyed"].order[0].psp, Result: connector.Result{State: connector.Pending}}
			return w.eng.Receive(w.t.Context(), "keyed", []connector.Event{ev})
		}, 0},
		{"a refund outside the gateway", func(w *world, id string) error {
			w.psps["keyed"].order[0].refund = 100
			_, err := w.eng.Payment(w.t.Context(), scope, id, true)
			return err
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			id := read(t, w.mustCreate(t, "k", cardPayment(1000, payment.CaptureAutomatic))).ID
			if _, err := w.eng.Patch(t.Context(), scope, id, given(text)); err != nil {
				t.Fatal(err)
			}
			before := w.payment(id)
			w.pass(5 * time.Second)
			if err := tt.do(w, id); err != nil {
				t.Fatal(err)
			}
			w.work()
			w.work()
			after := w.payment(id)
			if wrote := after.Version - before.Version; wrote != tt.wrote || after.UpdatedAt.After(before.UpdatedAt) != (tt.wrote > 0) {
				t.Errorf("written %d times, and updated %s after the last change; want %d times", wrote, after.UpdatedAt.Sub(before.UpdatedAt), tt.wrote)
			}
		})
	}
}

// patches is a PATCH of a payment.
func patches(in engine.Patch) func(w *world, id string) error {
	return func(w *world, id string) error {
		_, err := w.eng.Patch(w.t.Context(), scope, id, in)
		return err
	}
}

// An open payment about which nothing is new is looked at again all the same.
func TestNothingNewIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	id := read(t, w.mustCreate(t, "k", walletPayment(1000, payment.FlowQR))).ID
	w.calm(30 * time.Second) // the PSP has named it
	before := w.payment(id)
	w.calm(2 * time.Minute)
	if after := w.payment(id); after.Version != before.Version {
		t.Errorf("written %d times, want none", after.Version-before.Version)
	}
	asked := len(w.psps["named"].calls)
	w.payQRs()
	w.calm(5 * time.Minute)
	if p := w.payment(id); p.Status != payment.Succeeded || asked < 3 {
		t.Errorf("got %s after %d calls, want it asked again and again", p.Status, asked)
	}
}
