package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
)

// TestHistories lives through many histories of merchants who insist, PSPs that
// misbehave, a store that fails and a gateway that is killed, and reconciles
// each with the PSPs' books after a time of calm. A failing seed is a whole
// bug report: run it alone with -run 'TestHistories/seed=N$'.
func TestHistories(t *testing.T) {
	t.Parallel()
	histories := 150
	if testing.Short() {
		histories = 20
	}
	for seed := range histories {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			history(t, uint64(seed))
		})
	}
}

func history(t *testing.T, seed uint64) {
	t.Helper()
	w := newWorld(t, seed)
	for _, p := range w.psps {
		p.chance = 10 + w.intn(40)
	}
	w.store.chance = w.intn(8)
	first := map[string][]byte{}
	var ids []string
	for n := range 12 {
		key := fmt.Sprintf("create-%d", n)
		in := w.anyPayment()
		a, err := w.insist(func(e *engine.Engine) (engine.Answer, error) {
			return e.Create(context.Background(), claim(key, n), in)
		})
		if err != nil {
			t.Fatalf("create %d: %v", n, err)
		}
		first[key] = a.Body
		ids = append(ids, read(t, a).ID)
		for range w.intn(4) {
			w.anyCall(ids[w.intn(len(ids))])
			w.anyNews()
			w.pass(time.Duration(w.intn(10_000)) * time.Millisecond)
			w.work()
		}
	}
	w.calm(3 * time.Minute)
	w.payQRs()
	for range 4 {
		w.pass(30 * time.Minute)
		w.calm(10 * time.Second)
	}
	for n := range first {
		var i int
		if _, err := fmt.Sscanf(n, "create-%d", &i); err != nil {
			t.Fatal(err)
		}
		a, err := w.eng.Create(context.Background(), claim(n, i), engine.Create{Confirm: true, Method: &payment.Method{Type: payment.MethodCardToken, Token: "x"}, Amount: payment.Money{Minor: 1, Currency: "EUR"}})
		if err != nil || !a.Replayed || !bytes.Equal(a.Body, first[n]) {
			t.Errorf("replay of %s: %v, replayed %v\n got %s\nwant %s", n, err, a.Replayed, a.Body, first[n])
		}
	}
	w.reconcile()
}

// anyPayment draws a payment: a card at once or in two steps, a barcode, a QR
// code; one in eight with an amount that the issuer declines.
func (w *world) anyPayment() engine.Create {
	amount := int64(1+w.intn(90))*1000 + 500
	if w.intn(8) == 0 {
		amount = amount - 500 + 13
	}
	switch w.intn(4) {
	case 0:
		return cardPayment(amount, payment.CaptureAutomatic)
	case 1:
		return cardPayment(amount, payment.CaptureManual)
	case 2:
		return walletPayment(amount, payment.FlowBarcode)
	default:
		return walletPayment(amount, payment.FlowQR)
	}
}

// anyCall makes a merchant do something to a payment, sensible or not.
func (w *world) anyCall(id string) {
	key := fmt.Sprintf("call-%d", w.intn(1_000_000_000))
	amount := int64(w.intn(3)) * 400
	kind := w.intn(3)
	_, err := w.insist(func(e *engine.Engine) (engine.Answer, error) {
		switch kind {
		case 0:
			return e.Capture(context.Background(), claim(key, amount), id, engine.Capture{Amount: amount, Final: true})
		case 1:
			return e.Cancel(context.Background(), claim(key), id, engine.Cancel{})
		default:
			return e.Refund(context.Background(), claim(key, amount), engine.Refund{Payment: id, Amount: amount})
		}
	})
	var refusal *payment.Error
	if err != nil && !errors.As(err, &refusal) {
		w.t.Errorf("call on %s: %v", id, err)
	}
}

// anyNews delivers what the PSPs have told of their charges, at the time or long
// after: in any order, twice, or never.
func (w *world) anyNews() {
	for _, name := range []string{"keyed", "named", "second"} {
		p := w.psps[name]
		for _, ch := range p.order {
			if w.intn(3) == 0 {
				p.told = append(p.told, *ch)
			}
		}
		for range min(len(p.told), 3) {
			ch := p.told[w.intn(len(p.told))]
			if w.intn(2) == 0 {
				_ = w.deliver(name, &ch) // a flaky store may refuse it; the PSP would try again
			}
		}
	}
}

// payQRs lets every payer with a QR code pay.
func (w *world) payQRs() {
	for _, p := range w.psps {
		for _, ch := range p.charges {
			if ch.waiting {
				ch.waiting, ch.authorized, ch.captured, ch.released = false, ch.amount.Minor, ch.amount.Minor, true
			}
		}
	}
}
