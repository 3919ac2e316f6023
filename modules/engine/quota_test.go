package engine_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
)

// quota is a claim that counts for a day's sum of at most limit.
func quota(key, counter string, limit int64) engine.Claim {
	c := claim(key)
	c.Quotas = []engine.Quota{{Counter: counter, Limit: limit, Policy: "day", Expires: time.Date(2026, 8, 3, 0, 0, 0, 0, time.UTC)}}
	return c
}

func refusedByQuota(err error) bool {
	pe, ok := errors.AsType[*payment.Error](err)
	return ok && pe.Code == payment.CodePolicyDenied && pe.Policy == "day"
}

// What is begun counts for the day, once however often it is repeated; what is
// refused counts nowhere, and sends nothing.
func TestQuotas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	ctx := t.Context()
	create := func(key string, amount int64) (engine.Answer, error) {
		return w.eng.Create(ctx, quota(key, "in", 2500), cardPayment(amount, payment.CaptureAutomatic))
	}
	first, err := create("a", 1000)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := create("a", 1000); err != nil || !again.Replayed {
		t.Fatalf("the repeat: %v, replayed %t", err, again.Replayed)
	}
	if _, err := create("b", 1500); err != nil {
		t.Fatalf("up to the limit: %v", err)
	}
	calls := len(w.psps["keyed"].calls)
	if _, err := create("c", 1); !refusedByQuota(err) {
		t.Errorf("over the limit: %v", err)
	}
	if len(w.psps["keyed"].calls) != calls {
		t.Error("what was refused was sent")
	}
	if _, err := w.eng.Create(ctx, claim("c"), cardPayment(1, payment.CaptureAutomatic)); err != nil {
		t.Errorf("the refusal has used up its key: %v", err)
	}

	later := cardPayment(100, payment.CaptureAutomatic)
	later.Confirm, later.Method = false, nil
	a, err := w.eng.Create(ctx, quota("d", "in", 2500), later)
	if err != nil {
		t.Fatalf("what is not confirmed counts already: %v", err)
	}
	method := cardPayment(100, payment.CaptureAutomatic).Method
	if _, err := w.eng.Confirm(ctx, quota("e", "in", 2500), read(t, a).ID, engine.Confirm{Method: method}); !refusedByQuota(err) {
		t.Errorf("a confirmation over the limit: %v", err)
	}

	id := read(t, first).ID
	if _, err := w.eng.Refund(ctx, quota("f", "out", 700), engine.Refund{Payment: id, Amount: 600}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.eng.Refund(ctx, quota("g", "out", 700), engine.Refund{Payment: id}); !refusedByQuota(err) {
		t.Errorf("a refund of the rest, over the limit: %v", err)
	}
	if p := w.payment(id); p.AmountRefunded() != 600 || len(p.Refunds) != 1 {
		t.Errorf("refunded %d in %d refunds, want 600 in one", p.AmountRefunded(), len(p.Refunds))
	}
}

// However many come at once, the day's sum holds.
func TestQuotaRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	var passed, refused int
	var mu sync.Mutex
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			_, err := w.eng.Create(t.Context(), quota(fmt.Sprint("k", n), "in", 700), cardPayment(100, payment.CaptureAutomatic))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				passed++
			case refusedByQuota(err):
				refused++
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if passed != 7 || refused != 13 {
		t.Errorf("%d passed and %d were refused, want 7 and 13", passed, refused)
	}
}
