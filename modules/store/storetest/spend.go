package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/store"
)

// nonce returns one that is good for an hour.
func nonce(value string) store.Nonce {
	return store.Nonce{Space: "sig:key_a", Value: value, Expires: start.Add(time.Hour)}
}

// ways are the two ways to spend a nonce.
var ways = map[string]func(context.Context, store.Store, store.Nonce, time.Time) error{
	"alone": func(ctx context.Context, s store.Store, n store.Nonce, now time.Time) error {
		return s.SpendNonce(ctx, n, now)
	},
	"within": func(ctx context.Context, s store.Store, n store.Nonce, now time.Time) error {
		return s.Update(ctx, func(tx store.Tx) error { return tx.PutNonce(n, now) })
	},
}

func testNonces(t *testing.T, b *bench) {
	first := nonce("first")
	other := first
	other.Space = "sig:key_b"
	long := nonce(strings.Repeat("x", 4000) + "\x00\xff")
	fine := nonce("to the microsecond")
	fine.Expires = start.Add(time.Millisecond + time.Microsecond)
	for way, spend := range ways {
		mine := func(n store.Nonce) store.Nonce { n.Space += way; return n }
		for _, step := range []struct {
			name  string
			nonce store.Nonce
			after time.Duration
			want  error
		}{
			{"the first time", first, 0, nil},
			{"again", first, 0, store.ErrConflict},
			{"in another space", other, 0, nil},
			{"in capitals", nonce("First"), 0, nil},
			{"just before it expires", first, time.Hour - time.Millisecond, store.ErrConflict},
			{"when its own time is over", first, time.Hour, store.ErrConflict},
			{"with a new time, when the old one is over", store.Nonce{Space: first.Space, Value: first.Value, Expires: start.Add(2 * time.Hour)}, time.Hour, nil},
			{"again after that", store.Nonce{Space: first.Space, Value: first.Value, Expires: start.Add(3 * time.Hour)}, 2*time.Hour - time.Millisecond, store.ErrConflict},
			{"long, with any bytes", long, 0, nil},
			{"long again", long, 0, store.ErrConflict},
			{"with a fine expiry", fine, 0, nil},
			{"with a fine expiry, in its last millisecond", nonce(fine.Value), time.Millisecond, store.ErrConflict},
			{"with a fine expiry, after it", nonce(fine.Value), 2 * time.Millisecond, nil},
			{"dead on arrival", nonce("late"), 2 * time.Hour, store.ErrConflict},
		} {
			wantError(t, way+": "+step.name, spend(t.Context(), b, mine(step.nonce), start.Add(step.after)), step.want)
		}
	}
	wantError(t, "spent within, again alone", b.SpendNonce(t.Context(), store.Nonce{Space: "sig:key_bwithin", Value: "first", Expires: first.Expires}, start), store.ErrConflict)
	err := b.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.PutNonce(nonce("twice"), start); err != nil {
			return err
		}
		return tx.PutNonce(nonce("twice"), start)
	})
	wantError(t, "twice in one transaction", err, store.ErrConflict)
	wantError(t, "after a rollback", b.SpendNonce(t.Context(), nonce("twice"), start), nil)
}

// testNonceRace lets many spend the same nonces at once, in both ways: each is
// spent once.
func testNonceRace(t *testing.T, b *bench) {
	const callers, nonces = 16, 12
	won := make([]atomic.Int32, nonces)
	expired := nonce("3")
	expired.Expires = start.Add(time.Minute)
	wantError(t, "one that will have expired", b.SpendNonce(t.Context(), expired, start), nil)
	now := start.Add(time.Minute)
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			spend := ways[map[bool]string{true: "alone", false: "within"}[caller%2 == 0]]
			for i := range nonces {
				err := spend(t.Context(), b, nonce(fmt.Sprint(i)), now)
				switch {
				case err == nil:
					won[i].Add(1)
				case !errors.Is(err, store.ErrConflict):
					t.Errorf("nonce %d: got error %v, want none or %v", i, err, store.ErrConflict)
				}
			}
		})
	}
	wg.Wait()
	for i := range won {
		if got := won[i].Load(); got != 1 {
			t.Errorf("nonce %d: got %d winners, want 1", i, got)
		}
	}
}

// add adds to a counter that expires after an hour.
func add(ctx context.Context, s store.Store, counter string, delta, limit int64, now time.Time) (total int64, err error) {
	err = s.Update(ctx, func(tx store.Tx) (err error) {
		total, err = tx.AddToCounter(store.Addition{Counter: counter, Delta: delta, Limit: limit, Expires: start.Add(time.Hour)}, now)
		return err
	})
	return total, err
}

func testCounters(t *testing.T, b *bench) {
	for _, step := range []struct {
		name         string
		counter      string
		delta, limit int64
		after        time.Duration
		want         int64
		rest         int64 // -1 = it fits
	}{
		{"more than there will ever be", "c", 11, 10, 0, 0, 10},
		{"from nothing", "c", 4, 10, 0, 4, -1},
		{"another counter", "C", 10, 10, 0, 10, -1},
		{"up to the limit", "c", 6, 10, time.Minute, 10, -1},
		{"over it", "c", 1, 10, time.Minute, 10, 0},
		{"a look", "c", 0, 0, time.Minute, 10, -1},
		{"given back", "c", -3, 10, time.Minute, 7, -1},
		{"what was given back", "c", 4, 10, time.Minute, 7, 3},
		{"a higher limit", "c", 4, 11, time.Hour - time.Millisecond, 11, -1},
		{"more given back than there is", "c", -20, 10, time.Minute, 0, -1},
		{"again", "c", 10, 10, time.Minute, 10, -1},
		{"anew when it expires", "c", 2, 10, time.Hour, 2, -1},
		{"given back where nothing is", "d", -5, 10, 0, 0, -1},
		{"nothing was won by that", "d", 11, 10, 0, 0, 10},
		{"as much as there can be", "e", 1<<63 - 1, 1<<63 - 1, 0, 1<<63 - 1, -1},
		{"and one more", "e", 1, 1<<63 - 1, 0, 1<<63 - 1, 0},
	} {
		got, err := add(t.Context(), b, step.counter, step.delta, step.limit, start.Add(step.after))
		limit, refused := store.IsLimit(err)
		switch {
		case refused != (step.rest >= 0) || !refused && err != nil:
			t.Errorf("%s: got error %v, want a refusal %v", step.name, err, step.rest >= 0)
		case refused && (limit.Rest() != step.rest || limit.Counter != step.counter || !errors.Is(err, store.ErrConflict)):
			t.Errorf("%s: got %v with a rest of %d, want a rest of %d", step.name, err, limit.Rest(), step.rest)
		}
		if got != step.want {
			t.Errorf("%s: got %d, want %d", step.name, got, step.want)
		}
	}
	if _, err := add(t.Context(), b, "", 1, 1, start); err == nil {
		t.Error("a counter without a name was taken")
	}

	// A counter is part of its transaction, and a refusal leaves the rest of it be.
	mine := errors.New("mine")
	b.update(t, func(tx store.Tx) error {
		for i, want := range []int64{3, 6, 6} {
			got, err := tx.AddToCounter(store.Addition{Counter: "f", Delta: 3, Limit: 8, Expires: start.Add(time.Hour)}, start)
			if _, refused := store.IsLimit(err); got != want || refused != (i == 2) {
				t.Errorf("addition %d: got %d and error %v, want %d", i, got, err, want)
			}
		}
		return tx.PutSetting("f", "put")
	})
	err := b.Update(t.Context(), func(tx store.Tx) error {
		_, err := tx.AddToCounter(store.Addition{Counter: "f", Delta: 2, Limit: 8, Expires: start.Add(time.Hour)}, start)
		return errors.Join(err, mine)
	})
	wantError(t, "thrown away", err, mine)
	if got, err := add(t.Context(), b, "f", 0, 0, start); got != 6 || err != nil {
		t.Errorf("after a transaction that was thrown away: got %d and error %v, want 6", got, err)
	}
	equal(t, "what was written beside a refusal", must(t, b, func(r store.Reader) (string, error) { return r.Setting("f") }), "put")
}

// testCounterRace adds and gives back at the same time: the sum stays within its
// limit at every moment, and nothing is lost.
func testCounterRace(t *testing.T, b *bench) {
	const callers, each, limit = 16, 25, 1000
	var sum, refused atomic.Int64
	if _, err := add(t.Context(), b, "race", limit/2, limit, start); err != nil { // so that giving back never ends at zero
		t.Fatal(err)
	}
	sum.Store(limit / 2)
	var wg sync.WaitGroup
	for caller := range callers {
		random := rand.New(rand.NewPCG(7, uint64(caller))) //nolint:gosec // what is added is no secret
		wg.Go(func() {
			for i := range each {
				delta := 1 + random.Int64N(120)
				if i%4 == 3 {
					delta = -min(delta, 20)
				}
				total, err := add(t.Context(), b, "race", delta, limit, start)
				over, isOver := store.IsLimit(err)
				switch {
				case total < 0 || total > limit:
					t.Errorf("got a sum of %d, want 0 … %d", total, limit)
				case isOver && over.Total+delta <= limit:
					t.Errorf("%d was refused at %d, want it taken", delta, over.Total)
				case isOver:
					refused.Add(1)
				case err != nil:
					t.Errorf("add: got error %v, want none", err)
				default:
					sum.Add(delta)
				}
			}
		})
	}
	wg.Wait()
	got, err := add(t.Context(), b, "race", 0, 0, start)
	if err != nil || got != sum.Load() {
		t.Errorf("got %d and error %v, want %d, the sum of what was taken", got, err, sum.Load())
	}
	if refused.Load() == 0 {
		t.Error("nothing was refused: this test tests nothing")
	}
}

// sweeper is what every driver of this repository can do beside the contract.
type sweeper interface {
	Sweep(ctx context.Context, now time.Time, limit int) (int, error)
}

// testSweepSpent: what was spent is forgotten a little after it has expired, and
// never before.
func testSweepSpent(t *testing.T, b *bench) {
	s, ok := b.Store.(sweeper)
	if !ok {
		t.Fatalf("%T cannot be swept: what was spent would pile up", b.Store)
	}
	for i := range 5 {
		n := nonce(fmt.Sprint(i))
		n.Expires = start.Add(time.Duration(i+1) * time.Minute)
		wantError(t, "spend", b.SpendNonce(t.Context(), n, start), nil)
		if _, err := add(t.Context(), b, fmt.Sprint(i), 1, 1, start); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		after time.Duration
		limit int
		want  int
	}{
		{2*time.Minute - time.Millisecond, 10, 0}, // a clock may be ahead of another by a minute
		{2 * time.Minute, 10, 1},
		{5 * time.Minute, 2, 2},
		{5 * time.Minute, 2, 1},
		{time.Hour - time.Millisecond, 10, 1},
		{time.Hour, 3, 3},
		{time.Hour, 3, 2},
		{time.Hour, 3, 0},
	} {
		if got, err := s.Sweep(t.Context(), start.Add(step.after), step.limit); got != step.want || err != nil {
			t.Errorf("sweep after %s: got %d and error %v, want %d", step.after, got, err, step.want)
		}
	}
}
