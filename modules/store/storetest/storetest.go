// Package storetest is what every store.Store must do, as tests: each driver
// runs the same ones.
package storetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// Open returns a store that is empty. The suite closes it.
type Open func(t testing.TB) store.Store

// Run tests a driver against the contract of package store.
func Run(t *testing.T, open Open) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *bench)
	}{
		{"payment", testPayment},
		{"compare and swap", testCompareAndSwap},
		{"lost updates", testLostUpdates},
		{"references", testRefs},
		{"refunds", testRefunds},
		{"unresolved", testUnresolved},
		{"active", testActive},
		{"rollback", testRollback},
		{"panic", testPanic},
		{"refusals", testRefusals},
		{"own writes", testOwnWrites},
		{"snapshot", testSnapshot},
		{"context", testContext},
		{"close", testClose},
		{"idempotency keys", testKeys},
		{"idempotency key given back", testKeyGivenBack},
		{"expired idempotency keys", testExpiredKeys},
		{"idempotency key race", testKeyRace},
		{"idempotency key scope", testKeyScope},
		{"events", testEvents},
		{"payment lists", testPaymentLists},
		{"refund lists", testRefundLists},
		{"event lists", testEventLists},
		{"paging while inserting", testPagingWhileInserting},
		{"cursors", testCursors},
		{"queue", testQueue},
		{"return", testReturn},
		{"queue order", testQueueOrder},
		{"queue race", testQueueRace},
		{"endpoints", testEndpoints},
		{"endpoint race", testEndpointRace},
		{"fan-out", testFanOut},
		{"deliveries", testDeliveries},
		{"merchants", testMerchants},
		{"api keys", testAPIKeys},
		{"api key guards", testAPIKeyGuards},
		{"api key use", testAPIKeyUse},
		{"directory", testDirectory},
		{"token revocations", testTokenRevocations},
		{"rehash", testRehash},
		{"settings", testSettings},
		{"nonces", testNonces},
		{"nonce race", testNonceRace},
		{"counters", testCounters},
		{"counter race", testCounterRace},
		{"sweep of what was spent", testSweepSpent},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(t, newBench(t, open(t)))
		})
	}
}

// start is when the tests' clock starts.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// bench is a store under test, and what makes its contents.
type bench struct {
	store.Store
	now time.Time // moves by a second with each payment, refund and event
	ids payment.IDs
}

func newBench(t testing.TB, s store.Store) *bench {
	t.Helper()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: got error %v, want none", err)
		}
	})
	b := &bench{Store: s, now: start}
	b.ids = payment.IDs{Now: func() time.Time { return b.now }, Random: rand.NewChaCha8([32]byte{1})}
	return b
}

func (b *bench) tick() time.Time {
	b.now = b.now.Add(time.Second)
	return b.now
}

// payment returns one that was captured at an account and is not stored.
func (b *bench) payment(merchant string, mode payment.Mode) payment.Payment {
	now := b.tick()
	p := payment.Payment{
		ID: b.ids.New(payment.PrefixPayment), Merchant: merchant, Mode: mode, Version: 1, Sequence: 1,
		Status: payment.Succeeded, Outcome: payment.Known,
		Amount: payment.Money{Minor: 1050, Currency: "EUR"}, CaptureMethod: payment.CaptureAutomatic,
		Method:  &payment.MethodSummary{Type: payment.MethodCard, Brand: "visa", Last4: "4242", BIN6: "424242", ExpMonth: 12, ExpYear: 2030},
		Channel: payment.ChannelEcommerce, Metadata: map[string]string{"order": "<1&2>"},
		CreatedAt: now, UpdatedAt: now,
	}
	a := payment.Attempt{
		ID: b.ids.New(payment.PrefixAttempt), Kind: payment.KindAuthorize, Amount: 1050,
		Account: "stripe_us", Connector: "stripe", Status: payment.AttemptSucceeded, Outcome: payment.Known,
		Origin: payment.OriginMerchant, Reference: "purser0001", PSPReference: "pi_1",
		Routing:    &payment.Plan{Rule: "default", Candidates: []payment.Candidate{{Account: "stripe_us", Outcome: "chosen", Reason: "first"}}},
		Done:       map[string]string{"method": "pm_1"},
		Authorized: 1050, Captured: 1050, StartedAt: now, EndedAt: now.Add(300 * time.Millisecond),
		Gateway: 2 * time.Millisecond, PSP: 298 * time.Millisecond,
	}
	p.Attempts, p.Charge = []payment.Attempt{a}, a.ID
	return p
}

// refund adds one to a payment that is not stored.
func (b *bench) refund(p *payment.Payment, status payment.RefundStatus) string {
	now := b.tick()
	r := payment.Refund{
		ID: b.ids.New(payment.PrefixRefund), Amount: 50, Status: status, Outcome: payment.Known,
		Origin: payment.OriginMerchant, CreatedAt: now, UpdatedAt: now,
	}
	p.Refunds = append(p.Refunds, r)
	return r.ID
}

func (b *bench) event(p *payment.Payment, kind payment.EventType) payment.Event {
	return payment.Event{
		ID: b.ids.New(payment.PrefixEvent), Type: kind, Merchant: p.Merchant, Mode: p.Mode,
		Payment: p.ID, Sequence: p.Sequence, CreatedAt: b.tick(), Object: []byte(`{"object":"payment"}`),
	}
}

// put stores payments in one transaction.
func (b *bench) put(t testing.TB, ps ...*payment.Payment) {
	t.Helper()
	b.update(t, func(tx store.Tx) error {
		for _, p := range ps {
			if err := tx.PutPayment(p); err != nil {
				return err
			}
		}
		return nil
	})
}

// update fails the test where the transaction fails.
func (b *bench) update(t testing.TB, fn func(store.Tx) error) {
	t.Helper()
	if err := b.Update(t.Context(), fn); err != nil {
		t.Fatalf("update: got error %v, want none", err)
	}
}

func (b *bench) view(t testing.TB, fn func(store.Reader) error) {
	t.Helper()
	if err := b.View(t.Context(), fn); err != nil {
		t.Fatalf("view: got error %v, want none", err)
	}
}

// get reads one value.
func get[T any](t testing.TB, s store.Store, read func(store.Reader) (T, error)) (v T, err error) {
	t.Helper()
	err = s.View(context.WithoutCancel(t.Context()), func(r store.Reader) (err error) {
		v, err = read(r)
		return err
	})
	return v, err
}

// must is get for a value that has to be there.
func must[T any](t testing.TB, s store.Store, read func(store.Reader) (T, error)) T {
	t.Helper()
	v, err := get(t, s, read)
	if err != nil {
		t.Fatalf("read: got error %v, want none", err)
	}
	return v
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("%s: got the + lines, want the - lines:\n%s", what, diff)
	}
}

func wantError(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

func readPayment(id string) func(store.Reader) (payment.Payment, error) {
	return func(r store.Reader) (payment.Payment, error) { return r.Payment(id) }
}

func readKey(k store.KeyScope) func(store.Reader) (store.IdempotencyKey, error) {
	return func(r store.Reader) (store.IdempotencyKey, error) { return r.Key(k) }
}
