package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// A capture that the PSP refuses for good fails at once, and the payment says why
// for as long as nothing else has come of it.
func TestCaptureLapsed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	o := r.create(card(refusedCapture(t), payment.CaptureManual))
	a, err := r.eng.Capture(t.Context(), claim("c"), o.ID, engine.Capture{Final: true})
	if err != nil {
		t.Fatal(err)
	}
	wantLapsed := func(when, status string, capturable int64, o object) {
		t.Helper()
		if o.Status != status || o.Outcome != "known" || o.AmountCapturable != capturable || o.Error == nil || o.Error.Code != payment.TimeExpired {
			t.Errorf("%s: got %s, %s, capturable %d, %+v; want %s, known, %d, expired", when, o.Status, o.Outcome, o.AmountCapturable, o.Error, status, capturable)
		}
	}
	wantLapsed("at once", "requires_capture", 1000, read(t, a))
	for _, tt := range []struct {
		when, status string
		capturable   int64
	}{{"when asked", "requires_capture", 1000}, {"when the hold has gone", "canceled", 0}} {
		p, err := r.eng.Payment(t.Context(), scope, o.ID, true)
		if err != nil {
			t.Fatal(err)
		}
		body, err := p.Object()
		if err != nil {
			t.Fatal(err)
		}
		wantLapsed(tt.when, tt.status, tt.capturable, read(t, engine.Answer{Body: body}))
		r.pass(time.Minute)
		r.sim.Books().Advance()
	}
	r.reconcile("stripe", r.payment(o.ID))
}

// A capture that comes to nothing is said of the payment as well, however that
// was learned.
func TestCaptureFailsLater(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"reset_before", "500_before"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			o := r.create(tokenPayment(payment.CaptureManual))
			r.fault("stripe", "capture", fault, 9)
			a, err := r.eng.Capture(t.Context(), claim("c"), o.ID, engine.Capture{Final: true})
			if err != nil || read(t, a).Outcome != "unknown" {
				t.Fatalf("got %v, %s; want it unknown", err, a.Body)
			}
			if _, err := r.sim.Books().Update("stripe", "", r.payment(o.ID).Attempts[0].PSPReference, func(c *books.Charge) error {
				return c.Void(r.now())
			}); err != nil {
				t.Fatal(err)
			}
			p := r.settle(o.ID, 10*time.Minute)
			if p.Status != payment.Canceled || p.Outcome != payment.Known || p.Error == nil || p.Attempts[1].Error == nil || p.Error.Code != p.Attempts[1].Error.Code {
				t.Errorf("got %s, %s, %+v; want canceled with the capture's error %+v", p.Status, p.Outcome, p.Error, p.Attempts[1].Error)
			}
		})
	}
}

// Waiting for recovery is none of the gateway's own time.
func TestGatewayTimeIsTheCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	id := read(t, w.mustCreate(t, "k", cardPayment(1000, payment.CaptureManual))).ID
	w.psps["keyed"].during = func(context.Context) {
		w.psps["keyed"].during = nil
		w.pass(40 * time.Millisecond)
	}
	w.psps["keyed"].fault = []string{"lost before"}
	if _, err := w.eng.Capture(t.Context(), claim("c"), id, engine.Capture{Final: true}); err != nil {
		t.Fatal(err)
	}
	const own = 39 * time.Millisecond // of the 40, one was the PSP's
	for _, when := range []string{"when it has ended", "when it was carried on", "when somebody asks"} {
		if got := w.payment(id).Attempts[1].Gateway; got != own {
			t.Errorf("%s: got %s, want %s", when, got, own)
		}
		w.calm(10 * time.Second)
		if _, err := w.eng.Payment(t.Context(), scope, id, true); err != nil {
			t.Fatal(err)
		}
	}
	if p := w.payment(id); p.Status != payment.Succeeded {
		t.Errorf("got %s, want succeeded", p.Status)
	}
}

// What recovery itself begins has its own time.
func TestGatewayTimeOfRecovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.psps["keyed"].fault = []string{"", "lost after"}
	id := read(t, w.mustCreate(t, "k", cardPayment(1000, payment.CaptureManual))).ID
	if _, err := w.eng.Cancel(t.Context(), claim("x"), id, engine.Cancel{}); err != nil {
		t.Fatal(err)
	}
	w.psps["keyed"].during = func(context.Context) { w.pass(40 * time.Millisecond) }
	w.calm(10 * time.Second)
	p := w.payment(id)
	if len(p.Attempts) != 2 || p.Attempts[1].Kind != payment.KindVoid || p.Status != payment.Canceled {
		t.Fatalf("got %s, %+v; want it canceled by a void", p.Status, p.Attempts)
	}
	const own = 39 * time.Millisecond
	if charge, void := p.Attempts[0].Gateway, p.Attempts[1].Gateway; charge != 0 || void != own {
		t.Errorf("got %s for the charge and %s for the void, want 0 and %s", charge, void, own)
	}
}
