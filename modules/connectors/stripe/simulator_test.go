package stripe_test

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connectors/stripe"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator"
)

// bench drives the connector against the simulator, which was written from
// Stripe's documents and not from the connector: each checks the other.
type bench struct {
	*testing.T
	c       *stripe.Connector
	sim     *simulator.Simulator
	deliver atomic.Pointer[chan connector.Delivery]
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, c: &stripe.Connector{SecretKey: connector.NewSecret("sk_test_bench")}}
	sim, err := simulator.New(simulator.Config{
		Now:       func() time.Time { return time.Unix(1767323045, 0) },
		AfterFunc: func(time.Duration, func()) func() bool { return func() bool { return true } },
		Client:    &http.Client{Transport: b},
		Seed:      1, BaseURL: "http://sim.example",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	b.sim = sim
	return b
}

// reference names one operation for [bench.do].
func reference(name string) string { return strings.Repeat("0", 32-len(name)) + name }

// do carries every step of an operation.
func (b *bench) do(name string, op payment.Operation) connector.Result {
	b.Helper()
	done := map[string]string{}
	var result connector.Result
	for _, step := range connector.StepsOf(b.c, op) {
		call := connector.Call{
			Op: op, Step: step.Name, Done: maps.Clone(done), Reference: reference(name), Key: reference(name + step.Name),
			BaseURL: "http://sim.example/stripe", Now: time.Unix(1767323045, 0),
		}
		result = b.send(call)
		if result.State != connector.StepDone {
			break
		}
		done[step.Name] = result.StepReference
	}
	return result
}

func (b *bench) send(call connector.Call) connector.Result {
	b.Helper()
	req, err := b.c.Encode(call)
	if err != nil {
		b.Fatalf("encode %s: %v", call.Op.Kind(), err)
	}
	req.RequestURI = req.URL.RequestURI()
	rec := httptest.NewRecorder()
	b.sim.ServeHTTP(rec, req)
	answer := rec.Result()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		b.Fatal(err)
	}
	r, err := b.c.Decode(call, connector.Response{StatusCode: answer.StatusCode, Header: answer.Header, Body: body})
	if err != nil {
		b.Fatalf("decode %s: %v\n%d %s", call.Op.Kind(), err, answer.StatusCode, body)
	}
	return r
}

// want fails unless the state and the totals (authorized, captured, refunded)
// are these.
func (b *bench) want(r connector.Result, state connector.State, totals ...int64) {
	b.Helper()
	if r.State != state {
		b.Fatalf("got %+v (failure %+v), want %s", r, r.Failure, state)
	}
	if len(totals) == 0 {
		return
	}
	if r.Charge == nil || r.Charge.Authorized != totals[0] || r.Charge.Captured != totals[1] || r.Charge.Refunded != totals[2] {
		b.Fatalf("got totals %+v, want authorized, captured, refunded %v", r.Charge, totals)
	}
}

func eur(minor int64) payment.Money { return payment.Money{Minor: minor, Currency: "EUR"} }

func card(number string, capture bool) payment.Authorize {
	return payment.Authorize{
		Amount: eur(1000), Capture: capture, Payment: "pay_1", ReturnURL: "https://pay.example.com/return/1",
		Method: payment.Method{Type: payment.MethodCard, Card: &payment.Card{
			Number: payment.NewSensitive(number), ExpMonth: 12, ExpYear: 2034, CVC: payment.NewSensitive("123"),
		}},
	}
}

func ref(name string, r connector.Result) payment.ChargeRef {
	return payment.ChargeRef{Reference: reference(name), PSPReference: r.PSPReference, Amount: eur(1000)}
}

func query(of payment.Kind, charge payment.ChargeRef, name, psp string, amount int64) payment.Sync {
	return payment.Sync{Of: of, Charge: charge, Reference: reference(name), PSPReference: psp, Amount: eur(amount)}
}

func TestSimulatorCapturesAndRefunds(t *testing.T) {
	b := newBench(t)
	held := b.do("a", card("4242424242424242", false))
	b.want(held, connector.Succeeded, 1000, 0, 0)
	charge := ref("a", held)
	b.want(b.do("b", payment.Capture{Charge: charge, Amount: eur(600), Final: true}), connector.Succeeded, 1000, 600, 0)
	b.want(b.do("c", payment.GiveBack{Charge: charge, Amount: eur(250)}), connector.Succeeded)

	b.want(b.do("d", query(payment.KindAuthorize, charge, "a", charge.PSPReference, 1000)), connector.Succeeded, 1000, 600, 250)
	lost := b.do("e", query(payment.KindRefund, charge, "c", "", 250))
	b.want(lost, connector.Succeeded)
	b.want(b.do("f", query(payment.KindRefund, charge, "c", lost.PSPReference, 250)), connector.Succeeded)
	b.want(b.do("g", query(payment.KindRefund, charge, "never", "", 250)), connector.NotFound)
	b.want(b.do("h", payment.GiveBack{Charge: charge, Amount: eur(351)}), connector.Rejected)
}

func TestSimulatorVoids(t *testing.T) {
	b := newBench(t)
	charge := ref("a", b.do("a", card("4242424242424242", false)))
	b.want(b.do("b", payment.Void{Charge: charge}), connector.Canceled, 1000, 0, 0)
	b.want(b.do("c", query(payment.KindAuthorize, charge, "a", charge.PSPReference, 1000)), connector.Canceled, 1000, 0, 0)
}

func TestSimulatorRepeats(t *testing.T) {
	b := newBench(t)
	first := b.do("a", card("4242424242424242", true))
	b.want(first, connector.Succeeded, 1000, 1000, 0)
	again := b.do("a", card("4242424242424242", true))
	if again.PSPReference != first.PSPReference {
		t.Errorf("the repeat made %s, want %s", again.PSPReference, first.PSPReference)
	}
}

func TestSimulatorDeclines(t *testing.T) {
	b := newBench(t)
	for number, want := range map[string]payment.FailureCode{
		"4000000000000002": payment.CardDeclined,
		"4000000000009995": payment.InsufficientFunds,
		"4000000000009987": payment.LostCard,
		"4000000000009979": payment.StolenCard,
		"4000000000000069": payment.ExpiredCard,
		"4000000000000127": payment.IncorrectCVC,
		"4000000000000119": payment.ProcessingError,
	} {
		r := b.do("d"+number[12:], card(number, true))
		b.want(r, connector.Declined)
		if r.Failure.Code != want {
			t.Errorf("%s: got %+v, want %s", number, r.Failure, want)
		}
		if !r.Payable || r.PSPReference == "" {
			t.Errorf("%s: got payable %t at %q, want an open PaymentIntent", number, r.Payable, r.PSPReference)
		}
		charge := ref("d"+number[12:], r)
		b.want(b.do("v"+number[12:], payment.Void{Charge: charge}), connector.Canceled, 0, 0, 0)
	}
}

func TestSimulatorAuthenticates(t *testing.T) {
	b := newBench(t)
	r := b.do("a", card("4000000000003220", true))
	b.want(r, connector.ActionRequired)
	if !strings.HasPrefix(r.Action.URL, "http://sim.example/") {
		t.Errorf("redirected to %s, want the simulator", r.Action.URL)
	}
	charge := ref("a", r)
	b.want(b.do("b", query(payment.KindAuthorize, charge, "a", r.PSPReference, 1000)), connector.ActionRequired)
	gone := payment.ChargeRef{Reference: reference("x"), PSPReference: "pi_gone", Amount: eur(1000)}
	b.want(b.do("c", query(payment.KindAuthorize, gone, "x", "pi_gone", 1000)), connector.NotFound)
}

func TestSimulatorRefusesKeys(t *testing.T) {
	b := newBench(t)
	b.c = &stripe.Connector{SecretKey: connector.NewSecret("nonsense")}
	r := b.do("a", card("4242424242424242", true))
	b.want(r, connector.Rejected)
	if r.Failure.Code != payment.ConfigurationError {
		t.Errorf("got %+v, want configuration_error", r.Failure)
	}
}

// TestSimulatorWebhooks takes the simulator's deliveries until they tell of the
// capture and of the refund.
func TestSimulatorWebhooks(t *testing.T) {
	deliveries := make(chan connector.Delivery, 64)
	b := newBench(t)
	if err := b.sim.RegisterStripeWebhook("", "http://gateway.example/webhooks/stripe", "whsec_bench"); err != nil {
		t.Fatal(err)
	}
	b.deliver.Store(&deliveries)
	b.c.WebhookSecret = connector.NewSecret("whsec_bench")
	charge := ref("a", b.do("a", card("4242424242424242", true)))
	b.want(b.do("b", payment.GiveBack{Charge: charge, Amount: eur(250)}), connector.Succeeded)

	var captured, refunded, refundSeen bool
	for deadline := time.After(10 * time.Second); !captured || !refunded || !refundSeen; {
		select {
		case <-deadline:
			t.Fatalf("captured told %t, total refunded told %t, refund told %t; want all", captured, refunded, refundSeen)
		case d := <-deliveries:
			if err := b.c.VerifyWebhook(d); err != nil {
				t.Fatalf("verify: %v", err)
			}
			events, err := b.c.DecodeWebhook(d)
			if err != nil {
				t.Fatalf("decode: %v\n%s", err, d.Body)
			}
			for _, e := range events {
				ch := e.Result.Charge
				captured = captured || (e.Of == payment.KindAuthorize && e.Reference == reference("a") && ch.Captured == 1000)
				refunded = refunded || (e.Of == payment.KindAuthorize && ch.Refunded == 250)
				refundSeen = refundSeen || (e.Of == payment.KindRefund && e.Reference == reference("b") &&
					e.ChargePSPReference == charge.PSPReference && e.Result.State == connector.Succeeded)
			}
		}
	}
}

// RoundTrip is the gateway's end of the simulator's webhooks.
func (b *bench) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if to := b.deliver.Load(); to != nil {
		*to <- connector.Delivery{Method: r.Method, URL: r.URL.Path, Header: r.Header, Body: body, Now: time.Unix(1767323045, 0)}
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
}
