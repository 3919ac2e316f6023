package engine_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
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

// TestClosingAfterTheTime: what was declined in its payer's time has failed, and has not
// expired because its closing took longer.
func TestClosingAfterTheTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fault("stripe", "void", "429", 1_000)
	in := card("4000000000003220", payment.CaptureAutomatic)
	in.ReturnURL, in.ExpiresAt = "", r.now().Add(2*time.Minute)
	c := claim("k")
	c.Origin = "" // nobody sends the payer to his bank
	a, err := r.eng.Create(t.Context(), c, in)
	r.check(err)
	id := read(t, a).ID
	r.live(id, 5*time.Minute)
	p := r.settle(id, 5*time.Minute)
	if p.Status != payment.Failed || p.Error == nil || p.Error.Code != payment.AuthenticationRequired {
		t.Errorf("got %s, %+v, want failed for authentication_required", p.Status, p.Error)
	}
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

// TestAnotherVoid: where the PSP repeats its 500 for as long as it knows the key of a
// void, another void is made, and the payment does not wait for its payer for ever.
func TestAnotherVoid(t *testing.T) {
	t.Parallel()
	for want, cancel := range map[payment.Status]bool{payment.Canceled: true, payment.Expired: false} {
		t.Run(string(want), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.check(r.sim.Books().Faults.Add(books.Fault{Connector: "stripe", Operation: "void", Kind: books.E500Before, Times: 1, Replay: true}))
			in := card("4000000000003220", payment.CaptureAutomatic)
			in.ExpiresAt = r.now().Add(10 * time.Minute)
			id := r.create(in).ID
			if cancel {
				_, err := r.eng.Cancel(t.Context(), claim("cancel"), id, engine.Cancel{})
				r.check(err)
			}
			p := r.payment(id)
			for passed := time.Duration(0); passed < 3*time.Hour && !p.Status.Terminal(); passed += time.Minute {
				r.pass(time.Minute)
				_, err := r.eng.Work(t.Context())
				r.check(err)
				p = r.payment(id)
			}
			if p.Status != want || p.Outcome != payment.Known {
				t.Errorf("got %s, %s, %+v, want %s, known", p.Status, p.Outcome, p.Error, want)
			}
			if c := r.sim.Books().All(); len(c) != 1 || c[0].Status != payment.Canceled {
				t.Errorf("the PSP has %+v, want one charge that is canceled", c)
			}
		})
	}
}

// TestVoidOfWhatComesLater: a PSP takes a void of what it has not seen yet; the payer
// comes after it, and so the void is made again.
func TestVoidOfWhatComesLater(t *testing.T) {
	t.Parallel()
	for _, came := range []connector.State{connector.ActionRequired, connector.Pending, connector.Succeeded} {
		t.Run(string(came), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			voids := 0
			cfg := w.cfg
			cfg.Exchange = funcExchange(func(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange {
				x := connector.Exchange{Outcome: connector.Answered, Sends: 1}
				switch op := c.Op.(type) {
				case payment.Void:
					x.Result.State = connector.Pending
					if voids++; voids > 1 {
						x.Result.State = connector.Canceled
					}
				case payment.Sync:
					x.Result = connector.Result{State: came, PSPReference: "trade"}
					if came == connector.Succeeded {
						n := op.Charge.Amount.Minor
						x.Result.Charge = &connector.Charge{PSPReference: "trade", Amount: op.Charge.Amount, Authorized: n, Captured: n, Released: true}
					}
				default:
					return w.Exchange(ctx, a, c)
				}
				return x
			})
			w.eng = engine.New(cfg)
			id := read(t, w.mustCreate(t, "k", walletPayment(1000, payment.FlowQR))).ID
			if _, err := w.eng.Cancel(t.Context(), claim("cancel"), id, engine.Cancel{}); err != nil {
				t.Fatal(err)
			}
			w.calm(5 * time.Minute)
			if p := w.payment(id); p.Status != payment.Canceled || p.Outcome != payment.Known || len(p.Attempts) != 2 || voids != 2 {
				t.Errorf("got %s, %s, %d attempts after %d voids; want canceled, known, by one void that was made twice", p.Status, p.Outcome, len(p.Attempts), voids)
			}
		})
	}
}

// TestClosingOfWhatWaits: a closing that the PSP turns away for long is given up,
// although the charge waits for its payer.
func TestClosingOfWhatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	cfg := w.cfg
	cfg.Exchange = funcExchange(func(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange {
		x := connector.Exchange{Outcome: connector.Answered, Sends: 1}
		switch kind := c.Op.Kind(); {
		case kind == payment.KindAuthorize && c.Step != "card":
			x.Result = connector.Result{
				State: connector.Declined, Payable: true, Unattended: true, Failure: payment.Fail(payment.AuthenticationRequired), PSPReference: "pi_1",
			}
		case kind == payment.KindVoid:
			x.Result = connector.Result{State: connector.Rejected, Failure: payment.Fail(payment.ConfigurationError)}
		case kind == payment.KindSync:
			x.Result = connector.Result{State: connector.ActionRequired, PSPReference: "pi_1", Action: &payment.NextAction{Type: payment.ActionRedirect}}
		default:
			return w.Exchange(ctx, a, c)
		}
		return x
	})
	w.eng = engine.New(cfg)
	id := read(t, w.mustCreate(t, "k", cardPayment(1000, payment.CaptureAutomatic))).ID
	w.calm(10 * time.Minute)
	if p := w.payment(id); p.Status != payment.Processing {
		t.Errorf("after 10 minutes: got %s, want processing", p.Status)
	}
	w.calm(4 * time.Hour)
	p := w.payment(id)
	if p.Status != payment.Failed || p.Outcome != payment.Known || p.Error == nil || p.Error.Code != payment.AuthenticationRequired {
		t.Errorf("in the end %s, %s, %+v, want failed for authentication_required", p.Status, p.Outcome, p.Error)
	}
}

// onlyAfter sends a wallet to one account, and to another where that declines.
type onlyAfter struct{}

func (onlyAfter) Plan(payment.Facts) payment.Plan {
	return payment.Plan{Candidates: []payment.Candidate{
		{Account: "named", Outcome: payment.CandidateChosen}, {Account: "second", Outcome: payment.CandidateNext},
	}}
}

// TestClosingGivesBack: where a closing gives back even what was paid, it decides,
// although somebody has seen the payer's money meanwhile.
func TestClosingGivesBack(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		late bool // the closing acts after a query has shown that it did not
	}{
		{"a webhook tells of the money", false},
		{"a query shows the money", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			var paid, back bool
			voids := 0
			cfg := w.cfg
			cfg.Plan = onlyAfter{}
			cfg.Exchange = funcExchange(func(_ context.Context, _ *connector.Account, c connector.Call) connector.Exchange {
				x := connector.Exchange{Outcome: connector.Answered, Sends: 1, Result: connector.Result{PSPReference: "trade"}}
				switch op := c.Op.(type) {
				case payment.Void:
					switch voids++; {
					case voids == 1:
						x.Result.State, x.Result.Failure = connector.Rejected, payment.Fail(payment.PSPUnavailable)
					case voids == 2 && tt.late:
						x = connector.Exchange{Outcome: connector.Unknown, Sends: 1, Err: errors.New("silence")}
					default:
						x.Result.State, back = connector.Canceled, paid
					}
				case payment.Sync:
					x.Result.State = connector.Pending
					switch {
					case back:
						x.Result.State = connector.Canceled
					case paid:
						n := op.Charge.Amount.Minor
						x.Result.State = connector.Succeeded
						x.Result.Charge = &connector.Charge{PSPReference: "trade", Amount: op.Charge.Amount, Authorized: n, Captured: n, Released: true}
						back = tt.late
					}
				default:
					x.Result.State, x.Result.Payable, x.Result.Failure = connector.Declined, true, payment.Fail(payment.PSPUnavailable)
				}
				return x
			})
			w.eng = engine.New(cfg)
			id := read(t, w.mustCreate(t, "k", walletPayment(1000, payment.FlowBarcode))).ID
			paid = true
			if !tt.late {
				ev := connector.Event{
					Of: payment.KindAuthorize, Reference: w.payment(id).Attempts[0].Reference, PSPReference: "trade",
					Result: connector.Result{State: connector.Succeeded},
				}
				if err := w.eng.Receive(t.Context(), "named", []connector.Event{ev}); err != nil {
					t.Fatal(err)
				}
			}
			w.calm(5 * time.Minute)
			p := w.payment(id)
			if !back || p.Status != payment.Failed || p.Outcome != payment.Known || p.AmountCaptured() != 0 {
				t.Errorf("given back %t, and the payment is %s, %s, captured %d", back, p.Status, p.Outcome, p.AmountCaptured())
			}
		})
	}
}
