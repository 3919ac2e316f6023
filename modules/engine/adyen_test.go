package engine_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connectors/adyen"
	"github.com/purser-pay/purser/modules/connectors/adyen/adyensim"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/routing"
	"github.com/purser-pay/purser/modules/simulator"
	"github.com/purser-pay/purser/modules/simulator/books"
	"github.com/purser-pay/purser/modules/store/sqlite"
	"github.com/purser-pay/purser/modules/transport"
)

const (
	adyenHMAC     = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00"
	adyenMerchant = "PurserTestECOM"
)

// adyenRig is a rig whose one PSP cannot be asked: the simulator's Adyen, with
// its webhooks going into the engine. Its timers are the test's.
type adyenRig struct {
	*rig
	conn  *adyen.Connector
	clock *books.Clock
	inbox chan connector.Delivery
}

func newAdyenRig(t *testing.T) *adyenRig {
	t.Helper()
	r := &adyenRig{rig: &rig{t: t}, inbox: make(chan connector.Delivery, 64)}
	r.clock = books.NewClock(time.Now())
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "a.db"), Now: r.now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	r.store = db
	if r.sim, err = simulator.New(simulator.Config{Now: r.now, AfterFunc: r.clock.AfterFunc, Seed: 1, Client: &http.Client{Transport: r}}); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(r.sim)
	t.Cleanup(func() { srv.Close(); _ = r.sim.Close() })
	if err := r.sim.RegisterAdyenWebhook(adyenMerchant, "http://pay.example.com/webhooks/adyen", adyenHMAC); err != nil {
		t.Fatal(err)
	}
	r.conn = &adyen.Connector{
		APIKey: connector.NewSecret("AQEtest"), MerchantAccount: adyenMerchant, HMACKey: connector.NewSecret(adyenHMAC),
	}
	if err := r.conn.Prepare(); err != nil {
		t.Fatal(err)
	}
	accounts := map[string]*connector.Account{"adyen": {
		Name: "adyen", Mode: payment.Test, Merchants: []string{"*"}, BaseURL: srv.URL + "/adyen", Timeout: 5 * time.Second, Connector: r.conn,
	}}
	tr := transport.New(transport.Config{
		Sleep:   func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		Tripper: func(*connector.Account) (http.RoundTripper, error) { return r.tripper(), nil },
	})
	r.eng = engine.New(engine.Config{
		Store: db, Accounts: accounts, Exchange: tr, Plan: routing.New(routes(accounts)), Pepper: []byte("pepper"),
		IDs: &payment.IDs{Now: r.now}, Now: r.now, Random: rand.Reader, Log: slog.New(slog.NewTextHandler(&lockedWriter{w: &r.log}, nil)),
	})
	return r
}

// RoundTrip is the gateway's end of the simulator's webhooks.
func (r *adyenRig) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.inbox <- connector.Delivery{Method: req.Method, URL: req.URL.Path, Header: req.Header, Body: body, Now: r.now()}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("[accepted]")), Header: http.Header{}, Request: req}, nil
}

// hears takes the next n webhooks into the engine, and works on them.
func (r *adyenRig) hears(codes ...string) {
	r.t.Helper()
	for _, code := range codes {
		select {
		case d := <-r.inbox:
			if !bytes.Contains(d.Body, []byte(`"eventCode":"`+code+`"`)) {
				r.t.Fatalf("got the webhook %s, want %s", d.Body, code)
			}
			if err := r.conn.VerifyWebhook(d); err != nil {
				r.t.Fatal(err)
			}
			events, err := r.conn.DecodeWebhook(d)
			r.check(err)
			r.check(r.eng.Receive(r.t.Context(), "adyen", events))
		case <-time.After(10 * time.Second):
			r.t.Fatalf("no webhook %s", code)
		}
		r.work()
	}
}

func (r *adyenRig) work() {
	r.t.Helper()
	if _, err := r.eng.Work(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// later lets the PSP do what it does by itself.
func (r *adyenRig) later() { r.sim.Books().Advance() }

func (r *adyenRig) want(id string, s payment.Status, o payment.Outcome, captured, refunded int64) payment.Payment {
	r.t.Helper()
	p := r.payment(id)
	if p.Status != s || p.Outcome != o || p.AmountCaptured() != captured || p.AmountRefunded() != refunded {
		r.t.Fatalf("got %s, %s, captured %d, refunded %d; want %s, %s, %d, %d\n%s", p.Status, p.Outcome, p.AmountCaptured(), p.AmountRefunded(),
			s, o, captured, refunded, tail(r.log.String(), 10))
	}
	return p
}

func adyenCard(m payment.CaptureMethod, holder string) engine.Create {
	in := card("4111111111111111", m)
	in.Method.Card.HolderName = holder
	return in
}

func TestAdyenAutomatic(t *testing.T) {
	t.Parallel()
	r := newAdyenRig(t)
	id := r.create(adyenCard(payment.CaptureAutomatic, "A Payer")).ID
	r.want(id, payment.Succeeded, payment.Known, 1000, 0)
	r.hears("AUTHORISATION") // says nothing new
	_, err := r.eng.Refund(t.Context(), claim("re"), engine.Refund{Payment: id, Amount: 300})
	r.check(err)
	if p := r.want(id, payment.Succeeded, payment.Known, 1000, 0); p.Refunds[0].Status != payment.RefundPending {
		t.Errorf("got the refund %s before the webhook, want pending", p.Refunds[0].Status)
	}
	r.later()
	r.hears("REFUND")
	p := r.want(id, payment.Succeeded, payment.Known, 1000, 300)
	if p.Refunds[0].Status != payment.RefundSucceeded {
		t.Errorf("got the refund %s, want succeeded", p.Refunds[0].Status)
	}
	r.reconcile("adyen", p)
}

func TestAdyenRefundFailsLate(t *testing.T) {
	t.Parallel()
	r := newAdyenRig(t)
	id := r.create(adyenCard(payment.CaptureAutomatic, adyensim.RefundFails)).ID
	_, err := r.eng.Refund(t.Context(), claim("re"), engine.Refund{Payment: id, Amount: 300})
	r.check(err)
	r.hears("AUTHORISATION")
	r.later()
	r.hears("REFUND")
	r.want(id, payment.Succeeded, payment.Known, 1000, 300)
	r.later()
	r.hears("REFUND_FAILED")
	p := r.want(id, payment.Succeeded, payment.Known, 1000, 0)
	if p.Refunds[0].Status != payment.RefundFailed {
		t.Errorf("got the refund %s, want failed", p.Refunds[0].Status)
	}
	r.reconcile("adyen", p)
}

func TestAdyenCapture(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, holder string
		refused      bool // by the card
		codes        []string
		status       payment.Status
		outcome      payment.Outcome
		captured     int64
		attempt      payment.AttemptStatus
	}{
		{"taken", "A Payer", false, []string{"CAPTURE"}, payment.Succeeded, payment.Known, 700, payment.AttemptSucceeded},
		{"refused", "", true, []string{"CAPTURE"}, payment.RequiresCapture, payment.Known, 0, payment.AttemptFailed},
		{
			"taken, and refused by the scheme days later", adyensim.CaptureFails, false,
			[]string{"CAPTURE", "CAPTURE_FAILED"},
			payment.Succeeded, payment.Conflicted, 700, payment.AttemptSucceeded,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newAdyenRig(t)
			in := adyenCard(payment.CaptureManual, tt.holder)
			if tt.refused {
				in.Method.Card.Number = payment.NewSensitive(refusedCapture(t))
			}
			id := r.create(in).ID
			r.want(id, payment.RequiresCapture, payment.Known, 0, 0)
			r.hears("AUTHORISATION")
			_, err := r.eng.Capture(t.Context(), claim("cp"), id, engine.Capture{Amount: 700, Final: true})
			r.check(err)
			p := r.want(id, payment.RequiresCapture, payment.Known, 0, 0)
			if a := p.Attempts[1]; a.Status != payment.AttemptPending || a.PSPReference == "" {
				t.Errorf("got the capture %s, %q; want pending under Adyen's reference", a.Status, a.PSPReference)
			}
			for _, code := range tt.codes {
				r.later()
				r.hears(code)
			}
			p = r.want(id, tt.status, tt.outcome, tt.captured, 0)
			if got := p.Attempts[1].Status; got != tt.attempt {
				t.Errorf("got the capture %s, want %s", got, tt.attempt)
			}
		})
	}
}

// refusedCapture is the common test card whose captures are refused.
func refusedCapture(t *testing.T) string {
	t.Helper()
	for _, c := range books.Cards {
		if c.OnCapture != nil {
			return c.Number
		}
	}
	t.Fatal("no card refuses captures")
	return ""
}

// A card's call cannot be repeated after it: its lost answer waits for the
// webhook, whatever time passes.
func TestAdyenLostAnswer(t *testing.T) {
	t.Parallel()
	for holder, want := range map[string]payment.Status{"A Payer": payment.Succeeded, "DECLINED": payment.Failed} {
		t.Run(holder, func(t *testing.T) {
			t.Parallel()
			r := newAdyenRig(t)
			r.fault("adyen", "authorize", "reset_after", 3)
			id := r.create(adyenCard(payment.CaptureAutomatic, holder)).ID
			r.want(id, payment.Processing, payment.Unknown, 0, 0)
			for range 9 {
				r.pass(time.Minute)
				r.work()
			}
			r.want(id, payment.Processing, payment.Unknown, 0, 0)
			if got := r.reached("adyen", "authorize").received; got != 3 {
				t.Errorf("Adyen got the payment %d times, want the three sends of one exchange", got)
			}
			r.hears("AUTHORISATION")
			p := r.payment(id)
			if p.Status != want || p.Outcome != payment.Known {
				t.Fatalf("got %s, %s; want %s\n%s", p.Status, p.Outcome, want, tail(r.log.String(), 10))
			}
			r.reconcile("adyen", p)
		})
	}
}

// Where a payment by card number is in doubt and no webhook comes for ten minutes,
// it is undone by our own reference: nothing stays open for ever.
func TestAdyenSilence(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault string
		want  payment.Status
	}{
		{"reset_before", payment.Failed}, // there is nothing to undo
		{"reset_after", payment.Failed},  // the hold is let go
	} {
		t.Run(tt.fault, func(t *testing.T) {
			t.Parallel()
			r := newAdyenRig(t)
			r.fault("adyen", "authorize", tt.fault, 3)
			id := r.create(adyenCard(payment.CaptureManual, "A Payer")).ID
			for range 9 {
				r.pass(time.Minute)
				r.work()
			}
			if p := r.want(id, payment.Processing, payment.Unknown, 0, 0); len(p.Attempts) != 1 {
				t.Fatalf("before ten minutes: got %d attempts, want the authorization alone", len(p.Attempts))
			}
			for range 4 {
				r.pass(time.Minute)
				r.work()
			}
			if p := r.payment(id); len(p.Attempts) != 2 || p.Attempts[1].Kind != payment.KindVoid {
				t.Fatalf("after ten minutes: got %+v, want a void", p.Attempts)
			}
			if tt.fault == "reset_after" {
				r.hears("AUTHORISATION") // late, and it waits for the void
			}
			r.later()
			r.hears("TECHNICAL_CANCEL")
			for range 10 {
				r.pass(10 * time.Second)
				r.work()
			}
			r.reconcile("adyen", r.want(id, tt.want, payment.Known, 0, 0))
		})
	}
}

// A merchant cancels a payment in doubt: it is undone by our own reference, and
// the webhook of the authorization waits for what comes of that.
func TestAdyenCancelInDoubt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		capture payment.CaptureMethod
		want    payment.Status
		money   int64
	}{
		{"a hold is let go", payment.CaptureManual, payment.Canceled, 0},
		{"what is captured stays", payment.CaptureAutomatic, payment.Succeeded, 1000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newAdyenRig(t)
			r.fault("adyen", "authorize", "reset_after", 3)
			id := r.create(adyenCard(tt.capture, "A Payer")).ID
			r.want(id, payment.Processing, payment.Unknown, 0, 0)
			_, err := r.eng.Cancel(t.Context(), claim("cx"), id, engine.Cancel{})
			r.check(err)
			for range 12 {
				r.pass(time.Second)
				r.work()
			}
			p := r.want(id, payment.Processing, payment.Unknown, 0, 0)
			if n := len(p.Attempts); n != 2 || p.Attempts[1].Kind != payment.KindVoid || p.Attempts[1].PSPReference == "" {
				t.Fatalf("got %+v, want one void that Adyen has received", p.Attempts)
			}
			r.hears("AUTHORISATION") // it waits for the void
			r.want(id, payment.Processing, payment.Unknown, 0, 0)
			r.later()
			r.hears("TECHNICAL_CANCEL")
			for range 10 {
				r.pass(10 * time.Second)
				r.work()
			}
			r.reconcile("adyen", r.want(id, tt.want, payment.Known, tt.money, 0))
		})
	}
}

func TestAdyenVoid(t *testing.T) {
	t.Parallel()
	r := newAdyenRig(t)
	id := r.create(adyenCard(payment.CaptureManual, "A Payer")).ID
	r.hears("AUTHORISATION")
	_, err := r.eng.Cancel(t.Context(), claim("cx"), id, engine.Cancel{})
	r.check(err)
	r.want(id, payment.RequiresCapture, payment.Known, 0, 0)
	r.later()
	r.hears("CANCELLATION")
	r.reconcile("adyen", r.want(id, payment.Canceled, payment.Known, 0, 0))
}

// The payer comes back with a redirectResult, which is handed in; or never
// does, and the webhook tells.
func TestAdyenPayerComesBack(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, result string
		back         bool
		fault        string
		want         payment.Status
	}{
		{"approved", "succeed", true, "", payment.Succeeded},
		{"refused", "fail", true, "", payment.Failed},
		{"approved, and the answer is lost", "succeed", true, "reset_after", payment.Succeeded},
		{"approved, and never seen again", "succeed", false, "", payment.Succeeded},
		{"refused, and never seen again", "fail", false, "", payment.Failed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newAdyenRig(t)
			id := r.create(card("4000000000003220", payment.CaptureAutomatic)).ID
			p := r.want(id, payment.RequiresAction, payment.Known, 0, 0)
			if p.NextAction == nil || p.NextAction.Type != payment.ActionRedirect || !strings.Contains(p.NextAction.URL, "/adyen/challenge/") {
				t.Fatalf("got %+v, want a redirect to the challenge", p.NextAction)
			}
			for range 3 { // there is nothing to ask before the payer is back
				r.pass(time.Minute)
				r.work()
			}
			c := r.sim.Books().Challenges(true)[0]
			r.control(http.MethodPost, "/_sim/challenges/"+c.ID, `{"result":"`+tt.result+`"}`)
			if tt.back {
				if tt.fault != "" {
					r.fault("adyen", "sync", tt.fault, 1)
				}
				token := c.ReturnURL[strings.LastIndex(c.ReturnURL, "/")+1:]
				location, _, err := r.eng.Return(t.Context(), token, map[string][]string{"redirectResult": {adyensim.Result(c.ID)}})
				r.check(err)
				if !strings.HasSuffix(location, "&status="+string(tt.want)) {
					t.Errorf("sent to %s, want %s", location, tt.want)
				}
			} else {
				r.later()
			}
			r.hears("AUTHORISATION")
			p = r.payment(id)
			if p.Status != tt.want || p.Outcome != payment.Known || p.Current().PSPReference == "" {
				t.Errorf("got %s, %s under %q; want %s\n%s", p.Status, p.Outcome, p.Current().PSPReference, tt.want, tail(r.log.String(), 10))
			}
			r.reconcile("adyen", p)
		})
	}
}

// Money that our status denies is a conflict, and so is a second authorization
// under one reference.
func TestAdyenContradictions(t *testing.T) {
	t.Parallel()
	tell := func(r *adyenRig, ev connector.Event) {
		r.t.Helper()
		for range 2 { // a repetition changes nothing
			r.check(r.eng.Receive(r.t.Context(), "adyen", []connector.Event{ev}))
			r.work()
		}
	}
	usd := payment.Money{Minor: 1000, Currency: "USD"}
	paid := connector.Result{State: connector.Succeeded, Amount: usd}
	for name, tt := range map[string]struct {
		holder string
		event  func(p payment.Payment) connector.Event
		want   payment.Outcome
	}{
		"paid after a decline": {"DECLINED", func(p payment.Payment) connector.Event {
			return connector.Event{Of: payment.KindAuthorize, Reference: p.Current().Reference, Result: paid}
		}, payment.Conflicted},
		"paid twice": {"A Payer", func(p payment.Payment) connector.Event {
			return connector.Event{Of: payment.KindAuthorize, Reference: p.Current().Reference, PSPReference: "ANOTHERONE000000", Result: paid}
		}, payment.Conflicted},
		"told again": {"A Payer", func(p payment.Payment) connector.Event {
			return connector.Event{Of: payment.KindAuthorize, Reference: p.Current().Reference, PSPReference: p.Current().PSPReference, Result: paid}
		}, payment.Known},
		"the automatic capture failed": {"A Payer", func(p payment.Payment) connector.Event {
			return connector.Event{
				Of: payment.KindCapture, PSPReference: "CAPTURE000000000", ChargePSPReference: p.Current().PSPReference,
				Result: connector.Result{State: connector.Declined, Amount: usd, Failure: payment.Fail(payment.ProcessingError)},
			}
		}, payment.Conflicted},
		"the automatic capture went well": {"A Payer", func(p payment.Payment) connector.Event {
			return connector.Event{Of: payment.KindCapture, PSPReference: "CAPTURE000000000", ChargePSPReference: p.Current().PSPReference, Result: paid}
		}, payment.Known},
		"refunded outside": {"A Payer", func(p payment.Payment) connector.Event {
			return connector.Event{Of: payment.KindRefund, PSPReference: "REFUND0000000000", ChargePSPReference: p.Current().PSPReference, Result: paid}
		}, payment.Conflicted},
		"canceled outside": {"A Payer", func(p payment.Payment) connector.Event {
			return connector.Event{
				Of: payment.KindVoid, PSPReference: "CANCEL0000000000", ChargePSPReference: p.Current().PSPReference,
				Result: connector.Result{State: connector.Canceled},
			}
		}, payment.Conflicted},
		"of somebody else": {"A Payer", func(payment.Payment) connector.Event {
			return connector.Event{Of: payment.KindCapture, Reference: "nobodys", Result: paid}
		}, payment.Known},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newAdyenRig(t)
			id := r.create(adyenCard(payment.CaptureAutomatic, tt.holder)).ID
			r.hears("AUTHORISATION")
			tell(r, tt.event(r.payment(id)))
			if p := r.payment(id); p.Outcome != tt.want {
				t.Errorf("got %s, %s; want %s\n%s", p.Status, p.Outcome, tt.want, tail(r.log.String(), 10))
			}
		})
	}
}

// Adyen may name a modification by the payment's reference: the attempt is then
// found by Adyen's own name of it, and by what waits where that is not known yet.
func TestAdyenNamesThePayment(t *testing.T) {
	t.Parallel()
	usd := payment.Money{Minor: 700, Currency: "USD"}
	for name, psp := range map[string]string{"under the capture's own name": "", "under a name not heard before": "UNHEARD000000000"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newAdyenRig(t)
			id := r.create(adyenCard(payment.CaptureManual, "A Payer")).ID
			if psp != "" {
				r.fault("adyen", "capture", "reset_after", 3)
			}
			_, err := r.eng.Capture(t.Context(), claim("cp"), id, engine.Capture{Amount: 700, Final: true})
			r.check(err)
			p := r.payment(id)
			capture := p.Attempts[1]
			if psp == "" {
				psp = capture.PSPReference
			}
			r.check(r.eng.Receive(t.Context(), "adyen", []connector.Event{{
				Of: payment.KindCapture, Reference: p.Current().Reference, PSPReference: psp,
				ChargePSPReference: p.Current().PSPReference, Result: connector.Result{State: connector.Succeeded, Amount: usd},
			}}))
			r.work()
			p = r.want(id, payment.Succeeded, payment.Known, 700, 0)
			if got := p.Attempts[1]; got.Status != payment.AttemptSucceeded || got.PSPReference != psp {
				t.Errorf("got the capture %s under %q, want succeeded under %q", got.Status, got.PSPReference, psp)
			}
		})
	}
}

// A stored card's lost answer is had again by a repeat under its key.
func TestAdyenRepeats(t *testing.T) {
	t.Parallel()
	r := newAdyenRig(t)
	r.fault("adyen", "authorize", "500_after", 3)
	in := tokenPayment(payment.CaptureAutomatic)
	in.Method.Token, in.Customer = "M5N7TQ4TG5PFWR50", &payment.Customer{ID: "cus_42"}
	id := r.create(in).ID
	r.want(id, payment.Processing, payment.Unknown, 0, 0)
	for range 5 {
		r.pass(time.Second)
		r.work()
	}
	r.reconcile("adyen", r.want(id, payment.Succeeded, payment.Known, 1000, 0))
	if got := r.reached("adyen", "authorize"); got.acted != 1 || got.received < 4 {
		t.Errorf("got %+v, want it acted on once, and repeated", got)
	}
}

// Webhooks come twice, late and out of order; each says its fact once.
func TestAdyenWebhooksMisbehave(t *testing.T) {
	t.Parallel()
	r := newAdyenRig(t)
	in := adyenCard(payment.CaptureManual, adyensim.RefundFails)
	r.fault("adyen", "authorize", "webhook_duplicate", 1)
	r.fault("adyen", "capture", "webhook_duplicate", 1)
	r.fault("adyen", "refund", "webhook_reorder", 1)
	id := r.create(in).ID
	r.hears("AUTHORISATION", "AUTHORISATION")
	_, err := r.eng.Capture(t.Context(), claim("cp"), id, engine.Capture{Amount: 700, Final: true})
	r.check(err)
	r.sim.Books().Advance()
	r.hears("CAPTURE", "CAPTURE")
	r.want(id, payment.Succeeded, payment.Known, 700, 0)
	_, err = r.eng.Refund(t.Context(), claim("re"), engine.Refund{Payment: id, Amount: 300})
	r.check(err)
	for len(r.sim.Books().Tasks()) > 0 { // both, before anything held back is let go
		r.clock.Advance(3 * time.Second)
	}
	r.hears("REFUND_FAILED", "REFUND")
	p := r.want(id, payment.Succeeded, payment.Known, 700, 0)
	if p.Refunds[0].Status != payment.RefundFailed {
		t.Errorf("got the refund %s, want failed", p.Refunds[0].Status)
	}
	r.reconcile("adyen", p)
}
