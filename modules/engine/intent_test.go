package engine_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// openStore counts the transactions that are open.
type openStore struct {
	store.Store
	open atomic.Int32
}

func (s *openStore) View(ctx context.Context, fn func(store.Reader) error) error {
	s.open.Add(1)
	defer s.open.Add(-1)
	return s.Store.View(ctx, fn)
}

func (s *openStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	s.open.Add(1)
	defer s.open.Add(-1)
	return s.Store.Update(ctx, fn)
}

// watch looks at the store at the moment when a PSP is called.
type watch struct {
	t     *testing.T
	next  engine.Exchanger
	store *openStore
	calls map[payment.Kind]int
}

func (x *watch) Exchange(ctx context.Context, acct *connector.Account, c connector.Call) connector.Exchange {
	kind := c.Op.Kind()
	x.calls[kind]++
	if n := x.store.open.Load(); n != 0 {
		x.t.Errorf("%s: %d transactions are open while the PSP is called", kind, n)
	}
	if kind != payment.KindSync { // a question is no attempt
		x.look(ctx, acct.Name, c)
	}
	return x.next.Exchange(ctx, acct, c)
}

// look demands that the attempt can be found and that recovery has a date with
// it.
func (x *watch) look(ctx context.Context, account string, c connector.Call) {
	x.t.Helper()
	kind := c.Op.Kind()
	err := x.store.View(ctx, func(r store.Reader) error {
		ref, err := r.Ref(account, c.Reference)
		if err != nil {
			return err
		}
		p, err := r.Payment(ref.Payment)
		if err != nil {
			return err
		}
		for _, a := range p.Attempts {
			if a.ID == ref.Attempt && (a.Status != payment.AttemptPending || a.Kind != kind) {
				x.t.Errorf("%s: the stored attempt is a %s that is %s, want it pending", kind, a.Kind, a.Status)
			}
		}
		return nil
	})
	if err != nil {
		x.t.Errorf("%s: the attempt is not in the store when its PSP is called: %v", kind, err)
	}
	if _, due, err := x.store.Due(ctx, store.Recover); err != nil || !due {
		x.t.Errorf("%s: recovery has nothing to do if the process dies now: %v", kind, err)
	}
}

// Before the first byte of an attempt leaves, the attempt and its recovery are
// durable; and no transaction is open while a PSP is called.
func TestIntentIsDurableFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	s := &openStore{Store: w.cfg.Store}
	x := &watch{t, w, s, map[payment.Kind]int{}}
	w.cfg.Store, w.cfg.Exchange = s, x
	w.eng = engine.New(w.cfg)

	do := func(a engine.Answer, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return read(t, a).ID
	}
	ctx := t.Context()
	id := do(w.eng.Create(ctx, claim("create"), cardPayment(1000, payment.CaptureManual)))
	do(w.eng.Capture(ctx, claim("capture"), id, engine.Capture{Amount: 700, Final: true}))
	do(w.eng.Refund(ctx, claim("refund"), engine.Refund{Payment: id, Amount: 300}))
	other := do(w.eng.Create(ctx, claim("other"), cardPayment(500, payment.CaptureManual)))
	do(w.eng.Cancel(ctx, claim("cancel"), other, engine.Cancel{}))
	w.psps["keyed"].fault = []string{"", "lost after"}
	do(w.eng.Create(ctx, claim("lost"), cardPayment(900, payment.CaptureAutomatic)))
	w.calm(time.Minute)
	w.reconcile()

	for _, kind := range all {
		if kind != payment.KindSync && x.calls[kind] == 0 {
			t.Errorf("no %s was called, so nothing was looked at", kind)
		}
	}
}
