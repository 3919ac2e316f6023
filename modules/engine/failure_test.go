package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
)

// mishap is one way in which an operation can fare, over all sends of its
// exchange. A PSP that is reached n times has acted at most
// once, whatever n is.
type mishap struct {
	name  string
	fault string // of the simulator
	times int
	then  string   // another fault, on all sends after that
	dials []string // what befalls the connections
	// reached and acted are how often the PSP got the request, and acted on it.
	reached, acted int64
	// believe is what we may: "done", "not done", or "unknown".
	believe string
	// end is what it comes to once all is well again: "done" or "not done".
	end string
}

// An exchange has at most three sends, repeated here because both PSPs promise
// that a repeat is harmless: Stripe by its key, Alipay by our reference.
var mishaps = []mishap{
	{"all is well", "", 0, "", nil, 1, 1, "done", "done"},
	{"nobody listens", "", 0, "", []string{"refuse", "refuse", "refuse"}, 0, 0, "not done", "not done"},
	{"refused once, then well", "", 0, "", []string{"refuse"}, 1, 1, "done", "done"},

	{"hangs up before acting, once", "reset_before", 1, "", nil, 2, 1, "done", "done"},
	{"acts and hangs up, once", "reset_after", 1, "", nil, 2, 1, "done", "done"},
	{"hangs up before acting, always", "reset_before", 3, "", nil, 3, 0, "unknown", "done"},
	{"acts and hangs up, always", "reset_after", 3, "", nil, 3, 1, "unknown", "done"},

	{"hangs up before acting, then refused", "reset_before", 1, "", []string{"", "refuse", "refuse"}, 1, 0, "unknown", "done"},
	{"acts and hangs up, then refused", "reset_after", 1, "", []string{"", "refuse", "refuse"}, 1, 1, "unknown", "done"},

	{"500 before acting", "500_before", 3, "", nil, 3, 0, "unknown", "done"},
	{"500 after acting", "500_after", 3, "", nil, 3, 1, "unknown", "done"},
	{"an HTML page after acting", "html_502", 3, "", nil, 3, 1, "unknown", "done"},
	{"half an answer", "truncated", 3, "", nil, 3, 1, "unknown", "done"},
	{"an answer that is no JSON", "bad_json", 3, "", nil, 3, 1, "unknown", "done"},

	{"turned away", "429", 9, "", nil, 1, 0, "not done", "not done"},
	{"acts and hangs up, then turned away", "reset_after", 1, "429", nil, 3, 1, "unknown", "done"},
	{"hangs up before acting, then turned away", "reset_before", 1, "429", nil, 3, 0, "unknown", "done"},
}

// operations are the rows' other half. Each brings a payment to where the
// operation can begin, runs it, and tells what we believe of it.
var operations = []struct {
	psp, name string
	fault     string          // the simulator's name of the operation
	but       func(m *mishap) // where this PSP differs
	run       func(r *rig, strike func(ahead int)) string
	believed  func(p payment.Payment) string
}{
	{"stripe", "authorize", "authorize", nil, func(r *rig, strike func(ahead int)) string {
		strike(0)
		return r.create(tokenPayment(payment.CaptureAutomatic)).ID
	}, believedAuthorize},
	{"stripe", "capture", "capture", nil, func(r *rig, strike func(ahead int)) string {
		id := r.create(tokenPayment(payment.CaptureManual)).ID
		strike(0)
		_, err := r.eng.Capture(r.t.Context(), claim("op"), id, engine.Capture{Amount: 700, Final: true})
		r.check(err)
		return id
	}, believedOf(payment.KindCapture)},
	{"stripe", "void", "void", nil, func(r *rig, strike func(ahead int)) string {
		id := r.create(tokenPayment(payment.CaptureManual)).ID
		strike(0)
		_, err := r.eng.Cancel(r.t.Context(), claim("op"), id, engine.Cancel{})
		r.check(err)
		return id
	}, believedOf(payment.KindVoid)},
	{"stripe", "refund", "refund", nil, func(r *rig, strike func(ahead int)) string {
		id := r.create(tokenPayment(payment.CaptureAutomatic)).ID
		strike(0)
		_, err := r.eng.Refund(r.t.Context(), claim("op"), engine.Refund{Payment: id, Amount: 300})
		r.check(err)
		return id
	}, believedOf(payment.KindRefund)},
	{"alipay", "authorize at the till", "authorize", both(oneTimeCode, oneRefusal), func(r *rig, strike func(ahead int)) string {
		strike(0)
		return r.create(barcode()).ID
	}, believedAuthorize},
	{"alipay", "close a QR code", "void", oneRefusal, func(r *rig, strike func(ahead int)) string {
		id := r.create(walletPayment(1000, payment.FlowQR)).ID
		strike(0)
		_, err := r.eng.Cancel(r.t.Context(), claim("op"), id, engine.Cancel{})
		r.check(err)
		return id
	}, believedOf(payment.KindVoid)},
	{"alipay", "reverse at the till", "void", both(oneRefusal, owed), func(r *rig, strike func(ahead int)) string {
		in := barcode()
		in.Method.AuthCode = payment.NewSensitive("281234567890123402") // the payer never confirms
		id := r.create(in).ID
		r.pass(61 * time.Second)
		strike(1) // recovery asks first
		_, err := r.eng.Work(r.t.Context())
		r.check(err)
		return id
	}, believedOf(payment.KindVoid)},
	{"alipay", "refund", "refund", both(repeatedRefund, oneRefusal), func(r *rig, strike func(ahead int)) string {
		id := r.create(barcode()).ID
		strike(0)
		_, err := r.eng.Refund(r.t.Context(), claim("op"), engine.Refund{Payment: id, Amount: 300})
		r.check(err)
		return id
	}, believedOf(payment.KindRefund)},
}

// oneTimeCode: the code off the payer's screen is never stored, so that a
// payment which never arrived is not made again after the call: it ends.
func oneTimeCode(m *mishap) {
	if m.acted == 0 && m.believe == "unknown" {
		m.end = "not done"
	}
}

// repeatedRefund: Alipay answers a repeat with fund_change=N, which says that
// this send moved nothing. What moved is asked for by query.
func repeatedRefund(m *mishap) {
	if m.name == "acts and hangs up, once" {
		m.believe = "pending"
	}
}

// oneRefusal: Alipay turns away with HTTP 200 and no word of when to come back;
// after that an exchange is over.
func oneRefusal(m *mishap) {
	if m.then == "429" {
		m.reached = 2
	}
}

// owed: a reversal that came to nothing is made again, until the PSP has done it.
func owed(m *mishap) { m.end = "done" }

func both(a, b func(*mishap)) func(*mishap) {
	return func(m *mishap) { a(m); b(m) }
}

// TestFailureTable crosses every operation with every mishap, on both PSPs.
func TestFailureTable(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		for _, m := range mishaps {
			t.Run(strings.ReplaceAll(op.psp+"/"+op.name+"/"+m.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				if op.but != nil {
					op.but(&m)
				}
				r := newRig(t)
				id := op.run(r, func(ahead int) {
					if m.fault != "" {
						r.fault(op.psp, op.fault, m.fault, m.times)
					}
					if m.then != "" {
						r.fault(op.psp, op.fault, m.then, 9)
					}
					r.mu.Lock()
					r.dials = append(make([]string, ahead), m.dials...)
					r.mu.Unlock()
				})
				got := r.reached(op.psp, op.fault)
				if want := (tally{m.reached, m.acted}); got != want {
					t.Errorf("the PSP was reached %d times and acted %d times, want %d and %d", got.received, got.acted, want.received, want.acted)
				}
				p := r.payment(id)
				if got := op.believed(p); got != m.believe {
					t.Errorf("we believe %q, want %q (%s, %s)", got, m.believe, p.Status, p.Outcome)
				}
				if (p.Outcome == payment.Unknown) != (m.believe == "unknown") {
					t.Errorf("outcome %q while we believe %q", p.Outcome, m.believe)
				}
				p = r.settle(id, 2*time.Minute)
				if got := op.believed(p); got != m.end {
					t.Errorf("it ends %q, want %q (%s, %s)", got, m.end, p.Status, p.Outcome)
				}
				if got := r.reached(op.psp, op.fault); m.end == "done" && got.acted != 1 {
					t.Errorf("acted %d times in the end, want once", got.acted)
				}
				r.reconcile(op.psp, p)
				if t.Failed() {
					t.Log(tail(r.log.String(), 30))
				}
			})
		}
	}
}

func tokenPayment(m payment.CaptureMethod) engine.Create {
	return engine.Create{
		Amount: payment.Money{Minor: 1000, Currency: "USD"}, CaptureMethod: m, Confirm: true,
		Method: &payment.Method{Type: payment.MethodCardToken, Token: "pm_card_visa"},
	}
}

func barcode() engine.Create { return walletPayment(1000, payment.FlowBarcode) }

func (r *rig) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("operation: %v", err)
	}
}

func believedAuthorize(p payment.Payment) string { return believedOf(payment.KindAuthorize)(p) }

// believedOf reads what we believe of the last attempt of a kind.
func believedOf(k payment.Kind) func(payment.Payment) string {
	return func(p payment.Payment) string {
		for _, a := range slices.Backward(p.Attempts) {
			if a.Kind != k {
				continue
			}
			switch {
			case a.Outcome == payment.Unknown:
				return "unknown"
			case a.Status == payment.AttemptSucceeded:
				return "done"
			case a.Status == payment.AttemptFailed:
				return "not done"
			default:
				return string(a.Status)
			}
		}
		return fmt.Sprintf("no %s", k)
	}
}

// reconcile compares one payment with the simulator's books.
func (r *rig) reconcile(psp string, p payment.Payment) {
	r.t.Helper()
	var captured, refunded int64
	holders := 0
	for _, c := range r.sim.Books().All() {
		if c.Connector != psp {
			continue
		}
		if c.Captured > 0 || c.Capturable() > 0 {
			holders++
		}
		captured += c.Captured
		refunded += c.Refunded
	}
	if holders > 1 {
		r.t.Errorf("the PSP holds money %d times", holders)
	}
	if p.AmountCaptured() != captured || p.AmountRefunded() != refunded {
		r.t.Errorf("we say captured %d, refunded %d; the PSP says %d, %d", p.AmountCaptured(), p.AmountRefunded(), captured, refunded)
	}
}
