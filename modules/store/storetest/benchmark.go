package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// Benchmark measures what one payment costs a store: the transaction before the
// PSP is called, and the one after it, under growing numbers of callers.
func Benchmark(b *testing.B, open Open) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := newBench(b, open(b))
			const ahead = 1 << 12 // fixtures are not what is measured
			fixtures := make([]*fixture, ahead)
			for i := range fixtures {
				fixtures[i] = s.fixture()
			}
			var next atomic.Int64
			b.SetParallelism(callers) // × GOMAXPROCS
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					n := next.Add(1)
					if err := fixtures[n%ahead].pay(b, s, n); err != nil {
						b.Errorf("got error %v, want none", err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "payments/s")
		})
	}
}

// BenchmarkSpend measures what a signed request costs a store: one nonce.
func BenchmarkSpend(b *testing.B, open Open) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := newBench(b, open(b))
			var next atomic.Int64
			b.SetParallelism(callers) // × GOMAXPROCS
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := s.SpendNonce(b.Context(), nonce(fmt.Sprint(next.Add(1))), start); err != nil {
						b.Errorf("got error %v, want none", err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "nonces/s")
		})
	}
}

// BenchmarkKeyChange measures what it takes until a directory of 100,000 keys knows of
// the revocation of one, its commit included: by reading everything, and by reading
// what has changed.
func BenchmarkKeyChange(b *testing.B, open Open) {
	const keys, batch = 100_000, 500
	s, ring := newBench(b, open(b)), NewKeyring(1)
	made := make([]access.Key, keys)
	for i := range made {
		made[i] = access.Key{ID: s.ids.New(payment.PrefixKey), Merchant: "mer_a", Mode: payment.Live, Scopes: access.DefaultScopes(), CreatedAt: start}
	}
	for some := range slices.Chunk(made, batch) {
		s.update(b, func(tx store.Tx) error {
			for i := range some {
				if err := tx.PutAPIKey(some[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for _, how := range []struct {
		name string
		note func(d *access.Directory, id string)
	}{
		{"read=everything", func(d *access.Directory, _ string) { d.KeyChanged("") }},
		{"read=changed", (*access.Directory).KeyChanged},
	} {
		b.Run(how.name, func(b *testing.B) {
			d := ring.Directory(s)
			if err := d.Refresh(b.Context()); err != nil {
				b.Fatal(err)
			}
			for n := 0; b.Loop(); n++ {
				k := access.RevokeKey(made[n%keys], start)
				s.update(b, func(tx store.Tx) error { return tx.PutAPIKey(k) })
				how.note(d, k.ID)
				if err := d.CatchUp(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// fixture is one payment before and after the PSP's answer, but its IDs.
type fixture struct {
	before, after payment.Payment
	event         payment.Event
	key           store.IdempotencyKey
}

func (b *bench) fixture() *fixture {
	after := b.payment("mer_01jqz6x1m6f7v8w9x0y1z2a3b4", payment.Test)
	after.Reference, after.Description, after.ReturnURL = "order-4711", "Two pots of tea", "https://shop.example/done"
	before := after
	before.Status, before.Attempts = payment.Processing, []payment.Attempt{after.Attempts[0]}
	before.Attempts[0].Status = payment.AttemptPending
	before.Attempts[0].Captured, before.Attempts[0].Authorized = 0, 0
	return &fixture{before, after, b.event(&after, payment.EventPaymentSucceeded), b.key(after.Merchant, payment.Test, "")}
}

func (f *fixture) pay(b testing.TB, s store.Store, n int64) error {
	suffix := fmt.Sprintf("%08d", n)
	before, after, event, key := f.before, f.after, f.event, f.key
	before.ID += suffix
	after.ID, after.Version = before.ID, 2
	key.Key = fmt.Sprintf("%08x-", uint32(n*2654435761)) + before.ID //nolint:gosec // spreads the keys as random ones are
	event.ID, event.Payment = event.ID+suffix, after.ID
	attempt := after.Attempts[0].ID + suffix
	err := s.Update(b.Context(), func(tx store.Tx) error {
		_, claimed, err := tx.ClaimKey(key, start)
		if err == nil && !claimed {
			err = store.ErrConflict
		}
		return errors.Join(err, tx.PutPayment(&before),
			tx.PutRef(store.Ref{Account: "stripe_us", Reference: attempt, Payment: before.ID, Attempt: attempt}),
			tx.Enqueue(store.Recover, store.Item{ID: attempt, Payload: []byte(`{}`), Due: start}))
	})
	if err != nil {
		return fmt.Errorf("before: %w", err)
	}
	key.Status, key.ContentType = 201, "application/json"
	if key.Body, err = after.Object(); err != nil {
		return err
	}
	event.Object = key.Body
	return s.Update(b.Context(), func(tx store.Tx) error {
		stored, err := tx.Payment(after.ID)
		if err != nil || stored.Version != 1 {
			return errors.Join(store.ErrConflict, err)
		}
		return errors.Join(tx.PutPayment(&after), tx.PutEvent(event), tx.PutKey(key), tx.Dequeue(store.Recover, attempt))
	})
}
