package engine_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// told lists the events of a payment, oldest first.
func told(t *testing.T, s store.Store, id string) (types []payment.EventType) {
	t.Helper()
	q := store.EventQuery{Paging: store.Paging{Limit: store.MaxPage}, Payment: id}
	if err := s.View(context.Background(), func(r store.Reader) error {
		page, err := r.Events(q)
		for _, e := range page.Data {
			types = append(types, e.Type)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(types)
	return types
}

const (
	processing = payment.EventPaymentProcessing
	succeeded  = payment.EventPaymentSucceeded
	pending    = payment.EventRefundPending
	refunded   = payment.EventRefundSucceeded
)

// A payment that is processing when its call has ended is told of, once; one that
// passes through it inside a call is not.
func TestProcessingIsTold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		faults []string
		first  []payment.EventType // when the merchant has heard, or the gateway was killed
		end    []payment.EventType
	}{
		{"decided at once", nil, []payment.EventType{succeeded}, []payment.EventType{succeeded}},
		{"taken elsewhere", []string{"refused"}, []payment.EventType{succeeded}, []payment.EventType{succeeded}},
		{"answer lost", []string{"", "lost after"}, []payment.EventType{processing}, []payment.EventType{processing, succeeded}},
		{"lost again and again", []string{"", "lost before", "lost before", "lost before"}, []payment.EventType{processing}, []payment.EventType{processing, succeeded}},
		{"killed", []string{"", "crash after"}, nil, []payment.EventType{succeeded}},
		{"killed, then lost", []string{"", "crash before", "lost before", "crash before", "lost before"}, nil, []payment.EventType{processing, succeeded}},
		{"killed before the money", []string{"crash before"}, nil, []payment.EventType{payment.EventPaymentFailed}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			w.psps["keyed"].fault = tt.faults
			_, err, _ := w.do(func(e *engine.Engine) (engine.Answer, error) {
				return e.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
			})
			if err != nil {
				t.Fatal(err)
			}
			id := w.payments()[0].ID
			if diff := cmp.Diff(tt.first, told(t, w.store, id)); diff != "" {
				t.Errorf("at first (-want +got):\n%s", diff)
			}
			for len(w.psps["keyed"].fault) > 0 {
				w.pass(time.Second)
				w.work()
			}
			w.calm(time.Minute)
			if diff := cmp.Diff(tt.end, told(t, w.store, id)); diff != "" {
				t.Errorf("in the end (-want +got):\n%s", diff)
			}
			w.reconcile()
		})
	}
}

// What the PSP takes its time for is told of, by the answers of the simulator.
func TestPendingIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	in := tokenPayment(payment.CaptureAutomatic)
	in.Method.Token, in.Account = "pm_card_later", "stripe"
	o := r.create(in)
	if o.Status != "processing" {
		t.Fatalf("got %s, want processing", o.Status)
	}
	if diff := cmp.Diff([]payment.EventType{processing}, told(t, r.store, o.ID)); diff != "" {
		t.Errorf("payment (-want +got):\n%s", diff)
	}
	in.Method.Token = "pm_card_pendingRefund"
	o = r.create(in)
	if _, err := r.eng.Refund(t.Context(), claim("refund"), engine.Refund{Payment: o.ID}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]payment.EventType{succeeded, pending}, told(t, r.store, o.ID)); diff != "" {
		t.Errorf("refund (-want +got):\n%s", diff)
	}
}

// A refund in doubt is told of when its own call has ended, and not before.
func TestPendingRefundIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	id := read(t, w.mustCreate(t, "k", cardPayment(1000, payment.CaptureAutomatic))).ID
	refund := func(key string, amount int64) {
		if _, err := w.eng.Refund(t.Context(), claim(key), engine.Refund{Payment: id, Amount: amount}); err != nil {
			t.Error(err)
		}
	}
	w.psps["keyed"].fault = []string{"lost before"}
	refund("r1", 100)
	if diff := cmp.Diff([]payment.EventType{succeeded, pending}, told(t, w.store, id)); diff != "" {
		t.Errorf("in doubt (-want +got):\n%s", diff)
	}
	w.calm(time.Minute)
	w.psps["keyed"].during = func(context.Context) {
		w.psps["keyed"].during = nil
		refund("inner", 200)
	}
	refund("outer", 300)
	want := []payment.EventType{succeeded, pending, refunded, refunded, refunded}
	if diff := cmp.Diff(want, told(t, w.store, id)); diff != "" {
		t.Errorf("one while another runs (-want +got):\n%s", diff)
	}
	w.reconcile()
}

// A cancel that comes while the call runs does not tell of what the call decides.
func TestCancelTellsNothingOfACall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.psps["keyed"].during = func(context.Context) {
		w.psps["keyed"].during = nil
		if _, err := w.eng.Cancel(t.Context(), claim("x"), w.payments()[0].ID, engine.Cancel{}); err != nil {
			t.Error(err)
		}
	}
	a, err := w.eng.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]payment.EventType{succeeded}, told(t, w.store, read(t, a).ID)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A payment that an older gateway has stored is not told of late.
func TestOldProcessingIsNotTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.psps["keyed"].fault = []string{"", "crash after"}
	_, _, _ = w.do(func(e *engine.Engine) (engine.Answer, error) {
		return e.Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
	})
	id := w.payments()[0].ID
	if err := w.store.Update(t.Context(), func(tx store.Tx) error {
		p, err := tx.Payment(id)
		if err != nil {
			return err
		}
		p.Untold = false // as it was before there was the field
		p.Version++
		return tx.PutPayment(&p)
	}); err != nil {
		t.Fatal(err)
	}
	w.psps["keyed"].fault = []string{"lost before", "lost before"}
	for len(w.psps["keyed"].fault) > 0 {
		w.pass(time.Second)
		w.work()
	}
	w.calm(time.Minute)
	if diff := cmp.Diff([]payment.EventType{succeeded}, told(t, w.store, id)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
