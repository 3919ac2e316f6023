package engine_test

import (
	"net/http"
	"testing"
	"time"

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
