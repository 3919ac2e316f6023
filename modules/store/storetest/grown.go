package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

const (
	// GrownVariable says how many payments [Grown] puts into a store.
	GrownVariable = "PURSER_GROWN"
	// grownFactor is how much more a payment may cost there than in an empty store.
	grownFactor = 1.3
	// rounds of perRound payments each are measured on either store in turn.
	rounds, perRound = 40, 50
	// bite is how many payments are filled in by one transaction.
	bite = 200
)

// Grown compares what a payment costs in a store that has held many with what it
// costs in an empty one: the two transactions of a payment, the reading of a recent
// one and of an old one, and a page of the merchant's list. Without [GrownVariable] it is skipped: to
// fill the store takes minutes.
func Grown(t *testing.T, open Open) {
	n, err := strconv.Atoi(os.Getenv(GrownVariable))
	if err != nil {
		t.Skip("set " + GrownVariable + " to a number of payments, such as 1000000")
	}
	empty, grown := newBench(t, open(t)), newBench(t, open(t))
	began := time.Now()
	grown.fill(t, n)
	t.Logf("%d payments filled in within %s", n, time.Since(began).Round(time.Second))

	took := map[string]map[*bench][]time.Duration{"create": {}, "get": {}, "get an old one": {}, "list": {}}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // which payments are read is no secret
	next := int64(n)
	for range rounds {
		for _, s := range []*bench{empty, grown} {
			f := s.fixture()
			next++
			first := next
			measure(t, took["create"], s, func() error {
				var errs []error
				for range perRound {
					errs = append(errs, f.pay(t, s, next))
					next++
				}
				return errors.Join(errs...)
			})
			measure(t, took["get"], s, func() error {
				return s.View(t.Context(), func(r store.Reader) error {
					for range perRound {
						id := f.before.ID + fmt.Sprintf("%08d", first+random.Int64N(perRound))
						if _, err := r.Payment(id); err != nil {
							return fmt.Errorf("%s: %w", id, err)
						}
					}
					return nil
				})
			})
			if s == grown { // one that nobody has looked at for long
				measure(t, took["get an old one"], s, func() error {
					return s.View(t.Context(), func(r store.Reader) error {
						for range perRound {
							if _, err := r.Payment(grownID(random.Int64N(int64(n)))); err != nil {
								return err
							}
						}
						return nil
					})
				})
			}
			measure(t, took["list"], s, func() error {
				return s.View(t.Context(), func(r store.Reader) error {
					_, err := r.Payments(store.PaymentQuery{Paging: store.Paging{
						Merchant: f.before.Merchant, Mode: payment.Test, Limit: 20,
					}, Status: payment.Succeeded})
					return err
				})
			})
		}
	}
	took["get an old one"][empty] = took["get"][empty]
	for what, by := range took {
		before, after := median(by[empty]), median(by[grown])
		factor := float64(after) / float64(before)
		t.Logf("%s (fifty, or one page): %s in the empty store, %s in the grown one: %.2f", what, before, after, factor)
		// An old payment is not in the cache; its factor is told and not judged.
		if factor > grownFactor && what != "get an old one" {
			t.Errorf("%s costs %.2f times as much with %d payments, want at most %.1f", what, factor, n, grownFactor)
		}
	}
}

func measure(t *testing.T, to map[*bench][]time.Duration, s *bench, do func() error) {
	t.Helper()
	began := time.Now()
	if err := do(); err != nil {
		t.Fatal(err)
	}
	to[s] = append(to[s], time.Since(began))
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// grownID names the nth of the payments that were filled in.
func grownID(n int64) string { return fmt.Sprintf("pay_grown%08d", n) }

// fill stores n payments that are over, with all that belongs to them.
func (b *bench) fill(t *testing.T, n int) {
	t.Helper()
	f := b.fixture()
	for done := 0; done < n; done += bite {
		b.update(t, func(tx store.Tx) error {
			for i := done; i < min(done+bite, n); i++ {
				if err := f.over(tx, int64(i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// over writes a payment as it is when everything is done.
func (f *fixture) over(tx store.Tx, n int64) error {
	p, event, key := f.after, f.event, f.key
	p.ID, p.Version = grownID(n), 1
	p.CreatedAt = p.CreatedAt.Add(time.Duration(n) * time.Second)
	key.Key = fmt.Sprintf("%08x-", uint32(n*2654435761)) + p.ID //nolint:gosec // spreads the keys as random ones are
	key.Payment, key.Object, key.Status, key.ContentType = p.ID, p.ID, 201, "application/json"
	body, err := p.Object()
	if err != nil {
		return err
	}
	key.Body = body
	event.ID, event.Payment, event.Object, event.CreatedAt = fmt.Sprintf("evt_grown%08d", n), p.ID, body, p.CreatedAt
	attempt := fmt.Sprintf("att_grown%08d", n)
	_, _, err = tx.ClaimKey(key, start)
	return errors.Join(err, tx.PutPayment(&p), tx.PutEvent(event),
		tx.PutRef(store.Ref{Account: "stripe_us", Reference: attempt, Payment: p.ID, Attempt: attempt}))
}
