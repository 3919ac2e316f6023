package engine_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
)

// TestClosingTakesTheHold: somebody has seen the payer's hold while its closing was
// under way, and has been told of it; the closing takes it all the same.
func TestClosingTakesTheHold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fault("stripe", "void", "reset_before", 9)
	id := r.unattended(payment.CaptureManual).ID
	r.control(http.MethodPost, "/_sim/challenges/"+r.sim.Books().Challenges(true)[0].ID, `{"result":"succeed"}`)
	if p, err := r.eng.Sync(t.Context(), id); err != nil || p.Status != payment.RequiresCapture {
		t.Fatalf("got %s, %v, want requires_capture", p.Status, err)
	}
	p := r.settle(id, 5*time.Minute)
	if p.Status != payment.Canceled || p.Outcome != payment.Known || p.Error != nil {
		t.Errorf("got %s, %s, %+v, want canceled, known", p.Status, p.Outcome, p.Error)
	}
	r.reconcile("stripe", p)
}

// TestReleasedAfterAFailedReversal: a hold that could not be undone while it was in
// doubt ends when Adyen lets it go.
func TestReleasedAfterAFailedReversal(t *testing.T) {
	t.Parallel()
	r := newAdyenRig(t)
	r.fault("adyen", "authorize", "reset_after", 3)
	id := r.create(adyenCard(payment.CaptureManual, "A Payer")).ID
	for range 13 {
		r.pass(time.Minute)
		r.work()
	}
	p := r.payment(id)
	if len(p.Attempts) != 2 || p.Attempts[1].Purpose != payment.PurposeReverse {
		t.Fatalf("got %+v, want a reversal", p.Attempts)
	}
	tell := func(ev connector.Event) {
		r.check(r.eng.Receive(t.Context(), "adyen", []connector.Event{ev}))
		r.work()
	}
	tell(connector.Event{
		Of: payment.KindVoid, PSPReference: p.Attempts[1].PSPReference, Reference: p.Attempts[0].Reference,
		Result: connector.Result{State: connector.Declined, Failure: payment.Fail(payment.ProcessingError)},
	})
	r.hears("AUTHORISATION")
	p = r.want(id, payment.RequiresCapture, payment.Known, 0, 0)
	tell(connector.Event{
		Of: payment.KindVoid, PSPReference: "OUTSIDE", ChargePSPReference: p.Attempts[0].PSPReference,
		Result: connector.Result{State: connector.Canceled},
	})
	r.want(id, payment.Canceled, payment.Known, 0, 0)
}

// TestCancelOutlivesTheClosing: a merchant cancels while a closing is made again and
// again; the payer was quicker, and the hold is let go all the same.
func TestCancelOutlivesTheClosing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fault("stripe", "void", "429", 1_000)
	id := r.unattended(payment.CaptureManual).ID
	r.live(id, 2*time.Minute)
	_, err := r.eng.Cancel(t.Context(), claim("cancel"), id, engine.Cancel{})
	r.check(err)
	r.control(http.MethodPost, "/_sim/challenges/"+r.sim.Books().Challenges(true)[0].ID, `{"result":"succeed"}`)
	r.sim.Books().Faults.Clear()
	r.pass(time.Minute) // the PSP has had the time to show the closing
	if _, err := r.eng.Sync(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	p := r.settle(id, 5*time.Minute)
	if p.Status != payment.Canceled || p.Outcome != payment.Known {
		t.Errorf("got %s, %s, %+v, want canceled, known", p.Status, p.Outcome, p.Error)
	}
	r.reconcile("stripe", p)
}

// TestVoidThatComesTooLate: what has been paid, or is held, while a void of it was on
// its way bears no error of that void.
func TestVoidThatComesTooLate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		capture payment.CaptureMethod
		closing bool
		want    payment.Status
	}{
		{"a closing of what is paid", payment.CaptureAutomatic, true, payment.Succeeded},
		{"a closing of a hold", payment.CaptureManual, true, payment.RequiresCapture},
		{"a cancel of what is paid", payment.CaptureAutomatic, false, payment.Succeeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.fault("stripe", "void", "reset_before", 1_000)
			var id string
			if tt.closing {
				id = r.unattended(tt.capture).ID
			} else {
				id = r.create(card("4000000000003220", tt.capture)).ID
				_, err := r.eng.Cancel(t.Context(), claim("cancel"), id, engine.Cancel{})
				r.check(err)
			}
			r.control(http.MethodPost, "/_sim/challenges/"+r.sim.Books().Challenges(true)[0].ID, `{"result":"succeed"}`)
			r.hear("stripe", id)
			r.pass(time.Minute)
			p := r.live(id, 10*time.Minute)
			if p.Status != tt.want || p.Outcome != payment.Known || p.Error != nil {
				t.Errorf("got %s, %s, %+v, want %s, known, no error", p.Status, p.Outcome, p.Error, tt.want)
			}
			r.reconcile("stripe", p)
		})
	}
}

// hear has a webhook bring news of a payment's charge that says too little by itself.
func (r *rig) hear(account, id string) {
	r.t.Helper()
	p := r.payment(id)
	c := p.Current()
	r.check(r.eng.Receive(r.t.Context(), account, []connector.Event{{
		Of: payment.KindAuthorize, Reference: c.Reference, PSPReference: c.PSPReference, Result: connector.Result{State: connector.Succeeded},
	}}))
	_, err := r.eng.Work(r.t.Context())
	r.check(err)
}
