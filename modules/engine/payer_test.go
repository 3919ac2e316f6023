package engine_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connectors/adyen/adyensim"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// unattended makes a payment whose payer would have to act where nobody sends
// him: the gateway has no public address.
func (r *rig) unattended(m payment.CaptureMethod) object {
	r.t.Helper()
	in := card("4000000000003220", m)
	in.ReturnURL = ""
	c := claim("unattended")
	c.Origin = ""
	a, err := r.eng.Create(r.t.Context(), c, in)
	if err != nil {
		r.t.Fatal(err)
	}
	return read(r.t, a)
}

// The merchant need not have a place for the payer: the gateway has.
func TestPayerIsSentToTheGateway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := card("4000000000003220", payment.CaptureAutomatic)
	in.ReturnURL = ""
	o := r.create(in)
	if o.Status != "requires_action" {
		t.Fatalf("got %s, %+v, want requires_action", o.Status, o.Error)
	}
	back, err := url.Parse(r.sim.Books().Challenges(true)[0].ReturnURL)
	if err != nil || back.Host != "pay.example.com" || !strings.HasPrefix(back.Path, "/return/") {
		t.Errorf("the PSP was given %v, %v; want the gateway's way back", back, err)
	}
}

// Where the merchant has no place for the payer, the gateway finishes with the PSP
// all the same, and names no place.
func TestPayerComesBackToNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := card("4000000000003220", payment.CaptureAutomatic)
	in.ReturnURL = ""
	o := r.create(in)
	c := r.sim.Books().Challenges(true)[0]
	r.control(http.MethodPost, "/_sim/challenges/"+c.ID, `{"result":"succeed"}`)
	location, _, err := r.eng.Return(t.Context(), token(t, c), nil)
	if err != nil || location != "" {
		t.Errorf("got %q, %v, want no place to send the payer to", location, err)
	}
	if p := r.payment(o.ID); p.Status != payment.Succeeded {
		t.Errorf("got %s, want succeeded", p.Status)
	}
}

// One query per payment in two seconds, however often a payer comes back.
func TestReturnIsThrottled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create(card("4000000000003220", payment.CaptureAutomatic))
	way := token(t, r.sim.Books().Challenges(true)[0])
	visits := func() int64 {
		for n := range 5 {
			_, psp, err := r.eng.Return(t.Context(), way, nil)
			if err != nil {
				t.Fatal(err)
			}
			if asked := n == 0; (psp > 0) != asked {
				t.Errorf("visit %d waited %s for the PSP", n+1, psp)
			}
		}
		return r.reached("stripe", "sync").received
	}
	if n := visits(); n != 1 {
		t.Errorf("%d queries, want 1", n)
	}
	r.pass(2 * time.Second)
	if n := visits(); n != 2 {
		t.Errorf("%d queries, want 2", n)
	}
}

// What a payer brings is kept and handed in, although somebody has just been there
// with nothing; what was brought is not handed in all the time.
func TestReturnAfterAnEmptyOne(t *testing.T) {
	t.Parallel()
	r := newAdyenRig(t)
	id := r.create(card("4000000000003220", payment.CaptureAutomatic)).ID
	c := r.sim.Books().Challenges(true)[0]
	for _, brought := range []map[string][]string{nil, {"redirectResult": {"junk"}}, {"redirectResult": {"junk"}}, {"redirectResult": {"trash"}}} {
		_, _, err := r.eng.Return(t.Context(), token(t, c), brought)
		r.check(err)
	}
	if n := r.reached("adyen", "sync").received; n != 1 {
		t.Errorf("%d queries, want 1", n)
	}
	r.control(http.MethodPost, "/_sim/challenges/"+c.ID, `{"result":"succeed"}`)
	brought := map[string][]string{"redirectResult": {adyensim.Result(c.ID)}}
	_, _, err := r.eng.Return(t.Context(), token(t, c), brought)
	r.check(err)
	p := r.payment(id)
	if got := p.Current().Done["redirect_result"]; got != adyensim.Result(c.ID) {
		t.Errorf("kept is %q, want what the payer has brought last", got)
	}
	r.pass(2 * time.Second)
	_, _, err = r.eng.Return(t.Context(), token(t, c), brought)
	r.check(err)
	r.want(id, payment.Succeeded, payment.Known, 1000, 0)
}

// token is the last part of the way back that a PSP was given.
func token(t *testing.T, c books.Challenge) string {
	t.Helper()
	u, err := url.Parse(c.ReturnURL)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/return/")
}

// A charge that the payer could still pay is closed before its payment ends.
func TestUnattendedIsClosed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, fault     string
		status, outcome string // as the merchant first hears
	}{
		{"answered", "", "failed", "known"},
		{"turned away", "429", "processing", "known"},
		{"lost before", "reset_before", "processing", "unknown"},
		{"lost after", "reset_after", "processing", "unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if tt.fault != "" {
				r.fault("stripe", "void", tt.fault, 9)
			}
			o := r.unattended(payment.CaptureAutomatic)
			if o.Status != tt.status || o.Outcome != tt.outcome {
				t.Errorf("got %s, %s, want %s, %s", o.Status, o.Outcome, tt.status, tt.outcome)
			}
			p := r.settle(o.ID, 5*time.Minute)
			if p.Status != payment.Failed || p.Outcome != payment.Known || p.Error == nil || p.Error.Code != payment.AuthenticationRequired {
				t.Errorf("in the end %s, %s, %+v, want failed for authentication_required", p.Status, p.Outcome, p.Error)
			}
			if c := r.sim.Books().All(); len(c) != 1 || c[0].Status != payment.Canceled {
				t.Errorf("the PSP has %+v, want one charge that is canceled", c)
			}
			if n := len(r.sim.Books().Challenges(true)); n != 0 {
				t.Errorf("%d challenges can still be passed", n)
			}
		})
	}
}

// A PSP that never lets the charge be closed does not keep its payment open for
// ever; who pays it then has paid, and an operator hears of it.
func TestUnattendedIsLeftOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fault("stripe", "void", "429", 1_000)
	o := r.unattended(payment.CaptureAutomatic)
	if p := r.live(o.ID, 10*time.Minute); p.Status != payment.Processing {
		t.Errorf("after 10 minutes: got %s, want processing", p.Status)
	}
	p := r.live(o.ID, 4*time.Hour)
	if p.Status != payment.Failed || p.Outcome != payment.Known || p.Error == nil || p.Error.Code != payment.AuthenticationRequired {
		t.Errorf("in the end %s, %s, %+v, want failed for authentication_required", p.Status, p.Outcome, p.Error)
	}
	r.control(http.MethodPost, "/_sim/challenges/"+r.sim.Books().Challenges(true)[0].ID, `{"result":"succeed"}`)
	if p, err := r.eng.Sync(t.Context(), o.ID); err != nil || p.Outcome != payment.Conflicted || p.Current().Captured == 0 {
		t.Errorf("paid after all: got %s, %+v, %v, want conflicted, and the money booked", p.Outcome, p.Current(), err)
	}
}

// A payer who was faster than the closing has paid.
func TestUnattendedIsPaid(t *testing.T) {
	t.Parallel()
	for _, m := range []payment.CaptureMethod{payment.CaptureAutomatic, payment.CaptureManual} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.fault("stripe", "void", "reset_before", 9)
			o := r.unattended(m)
			r.control(http.MethodPost, "/_sim/challenges/"+r.sim.Books().Challenges(true)[0].ID, `{"result":"succeed"}`)
			want := payment.Succeeded
			if m == payment.CaptureManual {
				want = payment.Failed // the closing was in time to release the hold
			}
			p := r.settle(o.ID, 5*time.Minute)
			if p.Status != want || p.Outcome != payment.Known {
				t.Errorf("got %s, %s, want %s, known", p.Status, p.Outcome, want)
			}
			r.reconcile("stripe", p)
			if c := p.Current(); m == payment.CaptureAutomatic && (c.Status != payment.AttemptSucceeded || c.Error != nil || p.Error != nil) {
				t.Errorf("the charge is %s, %+v, and the payment's error %+v", c.Status, c.Error, p.Error)
			}
			if m == payment.CaptureAutomatic {
				_, err := r.eng.Refund(t.Context(), claim("re"), engine.Refund{Payment: o.ID})
				r.check(err)
			}
		})
	}
}
