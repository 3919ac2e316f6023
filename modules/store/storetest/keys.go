package storetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// key returns a claim that is not stored.
func (b *bench) key(merchant string, mode payment.Mode, name string) store.IdempotencyKey {
	return store.IdempotencyKey{
		KeyScope:    store.KeyScope{Merchant: merchant, Mode: mode, Key: name},
		Fingerprint: [32]byte{1, 2, 31: 3}, Payment: "pay_1", Object: "re_1", Success: 201,
		Lease: start.Add(30 * time.Second), Expires: start.Add(30 * 24 * time.Hour),
	}
}

type claim struct {
	Held    store.IdempotencyKey
	Claimed bool
}

func (b *bench) claim(t testing.TB, k store.IdempotencyKey, now time.Time) (c claim) {
	t.Helper()
	b.update(t, func(tx store.Tx) (err error) {
		c.Held, c.Claimed, err = tx.ClaimKey(k, now)
		return err
	})
	return c
}

func testKeys(t *testing.T, b *bench) {
	k := b.key("mer_a", payment.Test, `any visible "key" \ ~`)
	_, err := get(t, b, readKey(k.KeyScope))
	wantError(t, "key before the claim", err, store.ErrNotFound)
	equal(t, "first claim", b.claim(t, k, start), claim{k, true})

	other := k
	other.Fingerprint, other.Payment = [32]byte{9}, "pay_2"
	equal(t, "second claim", b.claim(t, other, start.Add(time.Hour)), claim{k, false})

	done := k
	done.Status, done.ContentType, done.Body = 201, "application/json", []byte("{\"id\":\"pay_1\"}\n\x00")
	b.update(t, func(tx store.Tx) error { return tx.PutKey(done) })
	equal(t, "key with its answer", must(t, b, readKey(k.KeyScope)), done)
	equal(t, "claim of an answered key", b.claim(t, other, start.Add(time.Hour)), claim{done, false})
	for _, late := range []int{0, 201} { // a lease renewed, another answer
		again := other
		again.Status, again.Body = late, []byte("late")
		err := b.Update(t.Context(), func(tx store.Tx) error { return tx.PutKey(again) })
		wantError(t, "write over an answer", err, store.ErrConflict)
		var held store.IdempotencyKey
		b.update(t, func(tx store.Tx) (err error) { // beside other writes, by one who knows what to do then
			held = store.IdempotencyKey{}
			if err := tx.PutKey(again); !errors.Is(err, store.ErrConflict) {
				return errors.Join(err, tx.PutSetting("late", "yes"))
			}
			held, err = tx.Key(k.KeyScope)
			return errors.Join(err, tx.PutSetting("late", "yes"))
		})
		equal(t, "what it finds then", held, done)
		equal(t, "key with its answer still", must(t, b, readKey(k.KeyScope)), done)
	}

	b.update(t, func(tx store.Tx) error { return tx.DeleteKey(k) })
	equal(t, "a key given back that has its answer", must(t, b, readKey(k.KeyScope)), done)
}

func testKeyGivenBack(t *testing.T, b *bench) {
	k := b.key("mer_a", payment.Test, "k")
	k.Lease = k.Lease.Add(1234567 * time.Nanosecond) // more exact than stores are
	b.claim(t, k, start)
	other := k
	other.Fingerprint, other.Payment, other.Lease = [32]byte{9}, "pay_2", start.Add(2*time.Minute)

	b.update(t, func(tx store.Tx) error { return tx.DeleteKey(other) })
	if held := must(t, b, readKey(k.KeyScope)); held.Payment != k.Payment {
		t.Errorf("given back by one who does not hold it: got %+v, want %+v", held, k)
	}
	b.update(t, func(tx store.Tx) error { return tx.DeleteKey(k) })
	b.update(t, func(tx store.Tx) error { return tx.DeleteKey(k) }) // an absent one is no error
	equal(t, "claim after it was given back", b.claim(t, other, start), claim{other, true})

	other.Lease = start.Add(time.Minute)
	b.update(t, func(tx store.Tx) error { return tx.PutKey(other) })
	equal(t, "renewed lease", must(t, b, readKey(k.KeyScope)), other)

	absent := b.key("mer_a", payment.Test, "absent")
	err := b.Update(t.Context(), func(tx store.Tx) error { return tx.PutKey(absent) })
	wantError(t, "answer of a key that nobody holds", err, store.ErrNotFound)
}

func testExpiredKeys(t *testing.T, b *bench) {
	k := b.key("mer_a", payment.Test, "k")
	k.Status, k.ContentType, k.Body = 201, "application/json", []byte("{}")
	b.claim(t, k, start)
	next := b.key("mer_a", payment.Test, "k")
	next.Payment, next.Expires = "pay_2", k.Expires.Add(time.Hour)
	equal(t, "just before it expires", b.claim(t, next, k.Expires.Add(-time.Millisecond)), claim{k, false})
	equal(t, "when it expires", b.claim(t, next, k.Expires), claim{next, true})
	equal(t, "key", must(t, b, readKey(k.KeyScope)), next)
}

func testKeyRace(t *testing.T, b *bench) {
	const callers = 32
	var won atomic.Int32
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			err := b.Update(t.Context(), func(tx store.Tx) error {
				_, claimed, err := tx.ClaimKey(b.key("mer_a", payment.Test, "k"), start)
				if claimed && err == nil {
					return tx.Enqueue(store.Recover, store.Item{ID: "k", Due: start})
				}
				return err
			})
			if err != nil {
				t.Errorf("claim: got error %v, want none", err)
			}
		})
	}
	wg.Wait()
	for range callers {
		wg.Go(func() {
			if b.claim(t, b.key("mer_a", payment.Test, "k2"), start).Claimed {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if got := won.Load(); got != 1 {
		t.Errorf("got %d winners, want 1", got)
	}
}

func testKeyScope(t *testing.T, b *bench) {
	for _, k := range []store.IdempotencyKey{
		b.key("mer_a", payment.Test, "k"), b.key("mer_a", payment.Live, "k"),
		b.key("mer_b", payment.Test, "k"), b.key("mer_a", payment.Test, "K"),
	} {
		k.Payment = k.Merchant + string(k.Mode) + k.Key
		equal(t, "claim", b.claim(t, k, start), claim{k, true})
		equal(t, "key", must(t, b, readKey(k.KeyScope)), k)
	}
}
