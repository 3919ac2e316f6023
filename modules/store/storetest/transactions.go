package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// everything is one of each thing that a transaction can write.
type everything struct {
	payment  payment.Payment
	event    payment.Event
	ref      store.Ref
	key      store.IdempotencyKey
	item     store.Item
	merchant access.Merchant
	apiKey   access.Key
	revoked  access.TokenRevocation
	nonce    store.Nonce
	addition store.Addition
}

func (b *bench) everything() everything {
	p := b.payment("mer_a", payment.Test)
	b.refund(&p, payment.RefundPending)
	return everything{
		payment: p, event: b.event(&p, payment.EventPaymentSucceeded),
		ref:      store.Ref{Account: "a", Reference: p.ID, Payment: p.ID, Attempt: p.Charge},
		key:      b.key("mer_a", payment.Test, p.ID),
		item:     store.Item{ID: p.ID, Payload: []byte(`{}`), Due: start},
		merchant: access.Merchant{ID: "mer_" + p.ID, Name: "A", CreatedAt: b.now},
		apiKey:   access.Key{ID: "key_" + p.ID, Merchant: "mer_a", Mode: payment.Test, CreatedAt: b.now},
		revoked: access.TokenRevocation{
			TokenSelector: access.TokenSelector{Issuer: "https://idp.example", Claim: access.ByTokenID, Value: p.ID}, RevokedAt: b.now,
		},
		nonce:    nonce(p.ID),
		addition: store.Addition{Counter: p.ID, Delta: 7, Limit: 7, Expires: start.Add(time.Hour)},
	}
}

func (e *everything) put(tx store.Tx) error {
	_, _, err := tx.ClaimKey(e.key, start)
	_, spent := tx.AddToCounter(e.addition, start)
	return errors.Join(err, spent, tx.PutNonce(e.nonce, start), tx.PutPayment(&e.payment), tx.PutEvent(e.event), tx.PutRef(e.ref),
		tx.Enqueue(store.Expire, e.item), tx.PutMerchant(e.merchant), tx.PutAPIKey(e.apiKey), tx.PutTokenRevocation(e.revoked),
		tx.PutSetting(e.payment.ID, "on"))
}

// found names what of e a reader sees.
func (e *everything) found(r store.Reader) []string {
	var names []string
	note := func(name string, err error) {
		if err == nil {
			names = append(names, name)
		}
	}
	_, err := r.Payment(e.payment.ID)
	note("payment", err)
	_, err = r.RefundPayment(e.payment.Refunds[0].ID)
	note("refund", err)
	_, err = r.Event(e.event.ID)
	note("event", err)
	_, err = r.Ref(e.ref.Account, e.ref.Reference)
	note("reference", err)
	_, err = r.Key(e.key.KeyScope)
	note("idempotency key", err)
	_, err = r.Merchant(e.merchant.ID)
	note("merchant", err)
	_, err = r.APIKey(e.apiKey.ID)
	note("api key", err)
	_, err = r.TokenRevocation(e.revoked.TokenSelector)
	note("token revocation", err)
	_, err = r.Setting(e.payment.ID)
	note("setting", err)
	return names
}

var allNames = []string{"payment", "refund", "event", "reference", "idempotency key", "merchant", "api key", "token revocation", "setting"}

func (b *bench) wantFound(t *testing.T, what string, e *everything, want []string) {
	t.Helper()
	var got []string
	b.view(t, func(r store.Reader) error {
		got = e.found(r)
		return nil
	})
	equal(t, what, got, want)
	items, err := b.Lease(context.WithoutCancel(t.Context()), store.Expire, start, 100, 0)
	wantError(t, what+": lease", err, nil)
	found := false
	for _, i := range items {
		found = found || i.ID == e.item.ID
	}
	if want := len(want) > 0; found != want {
		t.Errorf("%s: got queue item %v, want %v", what, found, want)
	}
	b.wantSpent(t, what, e, len(want) > 0)
}

// wantSpent looks, by trying, whether the nonce and the counter of e are spent.
func (b *bench) wantSpent(t *testing.T, what string, e *everything, want bool) {
	t.Helper()
	undone := errors.New("undone")
	err := b.Update(context.WithoutCancel(t.Context()), func(tx store.Tx) error {
		conflict := tx.PutNonce(e.nonce, start)
		total, err := tx.AddToCounter(store.Addition{Counter: e.addition.Counter}, start)
		if ignore(conflict, store.ErrConflict) != nil || err != nil {
			return errors.Join(conflict, err)
		}
		if spent := conflict != nil; spent != want || (total != 0) != want {
			return fmt.Errorf("the nonce is spent %v, the counter stands at %d, want spent %v", spent, total, want)
		}
		return undone
	})
	wantError(t, what, err, undone)
}

func testRollback(t *testing.T, b *bench) {
	before, failed, after := b.everything(), b.everything(), b.everything()
	b.update(t, before.put)

	mine := errors.New("mine")
	err := b.Update(t.Context(), func(tx store.Tx) error {
		if err := failed.put(tx); err != nil {
			return err
		}
		changed := before.payment
		changed.Version, changed.Description = 2, "changed"
		if err := errors.Join(tx.PutPayment(&changed), tx.Dequeue(store.Expire, before.item.ID),
			tx.DeleteKey(before.key)); err != nil {
			return err
		}
		return mine
	})
	if err != mine { //nolint:errorlint // the very same error is promised
		t.Errorf("got error %v, want the one of fn", err)
	}
	b.update(t, after.put)
	b.wantFound(t, "before", &before, allNames)
	b.wantFound(t, "failed", &failed, nil)
	b.wantFound(t, "after", &after, allNames)
	equal(t, "payment", must(t, b, readPayment(before.payment.ID)), before.payment)

	// A conflict rolls back what was written before it.
	next := b.everything()
	err = b.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(next.put(tx), tx.PutPayment(&before.payment))
	})
	wantError(t, "conflict", err, store.ErrConflict)
	b.wantFound(t, "conflict", &next, nil)
}

func testPanic(t *testing.T, b *bench) {
	e := b.everything()
	for name, do := range map[string]func() error{
		"update": func() error {
			return b.Update(t.Context(), func(tx store.Tx) error {
				if err := e.put(tx); err != nil {
					return err
				}
				panic("fn")
			})
		},
		"view": func() error {
			return b.View(t.Context(), func(store.Reader) error { panic("fn") })
		},
	} {
		for range 8 { // more than a driver has connections
			func() {
				defer func() {
					if got := recover(); got != "fn" {
						t.Errorf("%s: got panic %v, want that of fn", name, got)
					}
				}()
				err := do()
				t.Errorf("%s: got error %v, want a panic", name, err)
			}()
		}
	}
	b.wantFound(t, "after the panics", &e, nil)
	b.update(t, e.put)
	b.wantFound(t, "at last", &e, allNames)
}

// testRefusals: what fn decides rests on what became of its writes, also where it
// then fails.
func testRefusals(t *testing.T, b *bench) {
	key := store.IdempotencyKey{
		KeyScope: store.KeyScope{Merchant: "mer_a", Mode: payment.Test, Key: "k"}, Lease: start, Expires: start.Add(time.Hour),
	}
	p := b.payment("mer_a", payment.Test)
	e := b.event(&p, payment.EventPaymentFailed)
	b.put(t, &p)
	b.update(t, func(tx store.Tx) error {
		if err := tx.PutEvent(e); err != nil {
			return err
		}
		_, _, err := tx.ClaimKey(key, start)
		return err
	})
	b.update(t, func(tx store.Tx) error {
		_, err := tx.AddToCounter(store.Addition{Counter: "c", Delta: 5, Limit: 5, Expires: start.Add(time.Hour)}, start)
		return errors.Join(err, tx.PutNonce(nonce("spent"), start))
	})
	misled := errors.New("fn was told that a write had succeeded")
	stale := p
	for name, write := range map[string]func(store.Tx) (done bool, err error){
		"claim": func(tx store.Tx) (bool, error) {
			_, claimed, err := tx.ClaimKey(key, start)
			return claimed, err
		},
		"payment": func(tx store.Tx) (bool, error) {
			err := tx.PutPayment(&stale)
			return err == nil, ignore(err, store.ErrConflict)
		},
		"event": func(tx store.Tx) (bool, error) {
			err := tx.PutEvent(e)
			return err == nil, ignore(err, store.ErrConflict)
		},
		"nonce": func(tx store.Tx) (bool, error) {
			err := tx.PutNonce(nonce("spent"), start)
			return err == nil, ignore(err, store.ErrConflict)
		},
		"counter": func(tx store.Tx) (bool, error) {
			_, err := tx.AddToCounter(store.Addition{Counter: "c", Delta: 1, Limit: 5, Expires: start.Add(time.Hour)}, start)
			return err == nil, ignore(err, store.ErrConflict)
		},
		"answer": func(tx store.Tx) (bool, error) {
			none := key
			none.Key = "nobody's"
			err := tx.PutKey(none)
			return err == nil, ignore(err, store.ErrNotFound)
		},
	} {
		err := b.Update(t.Context(), func(tx store.Tx) error {
			done, err := write(tx)
			if err == nil && done {
				err = misled
			}
			return err
		})
		wantError(t, name, err, nil)
	}
}

// ignore drops an error that is expected.
func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

func testOwnWrites(t *testing.T, b *bench) {
	e := b.everything()
	b.update(t, func(tx store.Tx) error {
		if err := e.put(tx); err != nil {
			return err
		}
		equal(t, "found inside", e.found(tx), allNames)
		p, err := tx.Payment(e.payment.ID)
		if err != nil {
			return err
		}
		p.Version++
		return tx.PutPayment(&p)
	})
	if got := must(t, b, readPayment(e.payment.ID)).Version; got != 2 {
		t.Errorf("got version %d, want 2", got)
	}
}

// testSnapshot writes while a view is open: it goes on seeing what it saw.
func testSnapshot(t *testing.T, b *bench) {
	p, later := b.payment("mer_a", payment.Test), b.payment("mer_a", payment.Test)
	b.put(t, &p)
	b.view(t, func(r store.Reader) error {
		if _, err := r.Payment(p.ID); err != nil {
			return err
		}
		next := p
		next.Version = 2
		b.put(t, &next, &later)
		got, err := r.Payment(p.ID)
		if err != nil || got.Version != 1 {
			t.Errorf("inside: got version %d and error %v, want 1 and none", got.Version, err)
		}
		_, err = r.Payment(later.ID)
		wantError(t, "inside: later payment", err, store.ErrNotFound)
		return nil
	})
	if got := must(t, b, readPayment(p.ID)).Version; got != 2 {
		t.Errorf("outside: got version %d, want 2", got)
	}
}

func testContext(t *testing.T, b *bench) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ran := false
	wantError(t, "update", b.Update(ctx, func(store.Tx) error { ran = true; return nil }), context.Canceled)
	wantError(t, "view", b.View(ctx, func(store.Reader) error { ran = true; return nil }), context.Canceled)
	if ran {
		t.Error("fn ran after its context had ended, want not")
	}

	// A caller that leaves while others are before it never runs.
	ctx, cancel = context.WithCancel(t.Context())
	inside, leave, left := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		left <- b.Update(t.Context(), func(store.Tx) error {
			close(inside)
			<-leave
			return nil
		})
	}()
	<-inside
	second := make(chan error)
	go func() {
		second <- b.Update(ctx, func(tx store.Tx) error { return tx.PutSetting("second", "ran") })
	}()
	cancel()
	wantError(t, "second", <-second, context.Canceled)
	close(leave)
	wantError(t, "first", <-left, nil)
	_, err := get(t, b, func(r store.Reader) (string, error) { return r.Setting("second") })
	wantError(t, "second's setting", err, store.ErrNotFound)
}

func testClose(t *testing.T, b *bench) {
	wantError(t, "ping before", b.Ping(t.Context()), nil)
	// What is under way when Close comes is finished first.
	inside, result := make(chan struct{}), make(chan error, 1)
	go func() {
		result <- b.Update(t.Context(), func(tx store.Tx) error {
			close(inside)
			return tx.PutSetting("name", "value")
		})
	}()
	<-inside
	for range 2 {
		wantError(t, "close", b.Close(), nil)
	}
	wantError(t, "update under way", <-result, nil)

	nothing := func(store.Tx) error { return nil }
	wantError(t, "update", b.Update(t.Context(), nothing), store.ErrUnavailable)
	wantError(t, "view", b.View(t.Context(), func(store.Reader) error { return nil }), store.ErrUnavailable)
	wantError(t, "ping", b.Ping(t.Context()), store.ErrUnavailable)
	_, err := b.Lease(t.Context(), store.Recover, start, 1, time.Second)
	wantError(t, "lease", err, store.ErrUnavailable)
	_, _, err = b.Due(t.Context(), store.Recover)
	wantError(t, "due", err, store.ErrUnavailable)
}

// Reopen tests that what was committed is there when the store is opened again.
// Each call of open's result opens the same place.
func Reopen(t *testing.T, open func(t testing.TB) func() store.Store) {
	again := open(t)
	b := newBench(t, again())
	e := b.everything()
	e.payment.ExpiresAt = start.Add(time.Hour)
	b.update(t, e.put)
	wantError(t, "close", b.Close(), nil)
	for range 2 {
		b.Store = again()
		equal(t, "payment", must(t, b, readPayment(e.payment.ID)), e.payment)
		b.wantFound(t, "after reopening", &e, allNames)
		wantError(t, "ping", b.Ping(t.Context()), nil)
		wantError(t, "close", b.Close(), nil)
	}
}
