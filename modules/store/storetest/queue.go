package storetest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/store"
)

func (b *bench) enqueue(t testing.TB, q store.Queue, items ...store.Item) {
	t.Helper()
	b.update(t, func(tx store.Tx) error {
		for _, i := range items {
			if err := tx.Enqueue(q, i); err != nil {
				return err
			}
		}
		return nil
	})
}

// lease returns what was handed out, by ID.
func (b *bench) lease(t testing.TB, q store.Queue, now time.Time, limit int) []store.Item {
	t.Helper()
	items, err := b.Lease(t.Context(), q, now, limit, time.Minute)
	if err != nil {
		t.Fatalf("lease: got error %v, want none", err)
	}
	return items
}

func itemIDs(items []store.Item) []string {
	var ids []string
	for _, i := range items {
		ids = append(ids, i.ID)
	}
	return ids
}

func (b *bench) wantDue(t testing.TB, q store.Queue, want time.Time) {
	t.Helper()
	due, ok, err := b.Due(t.Context(), q)
	if err != nil || ok == want.IsZero() || !due.Equal(want) {
		t.Errorf("due: got %v, %v and error %v, want %v", due, ok, err, want)
	}
}

func testQueue(t *testing.T, b *bench) {
	b.wantDue(t, store.Recover, time.Time{})
	equal(t, "empty queue", b.lease(t, store.Recover, start, 10), []store.Item(nil))

	b.enqueue(t, store.Recover, store.Item{ID: "a", Payload: []byte("{\"x\":1}\x00"), Due: start})
	b.wantDue(t, store.Recover, start)
	b.wantDue(t, store.Expire, time.Time{})
	equal(t, "before it is due", b.lease(t, store.Recover, start.Add(-time.Millisecond), 10), []store.Item(nil))
	equal(t, "other queue", b.lease(t, store.Expire, start.Add(time.Hour), 10), []store.Item(nil))

	hidden := start.Add(time.Minute)
	equal(t, "due", b.lease(t, store.Recover, start, 10),
		[]store.Item{{ID: "a", Payload: []byte("{\"x\":1}\x00"), Due: hidden, Tries: 1}})
	b.wantDue(t, store.Recover, hidden)
	equal(t, "while it is held", b.lease(t, store.Recover, hidden.Add(-time.Millisecond), 10), []store.Item(nil))
	got := b.lease(t, store.Recover, hidden, 10)
	if len(got) != 1 || got[0].Tries != 2 {
		t.Fatalf("after the hold: got %+v, want a, on its second try", got)
	}

	// Putting it again moves it, keeps Tries as given, and takes the new payload.
	b.enqueue(t, store.Recover, store.Item{ID: "a", Payload: []byte("{}"), Due: start.Add(time.Second), Tries: 7})
	equal(t, "put again", b.lease(t, store.Recover, start.Add(time.Second), 10),
		[]store.Item{{ID: "a", Payload: []byte("{}"), Due: start.Add(61 * time.Second), Tries: 8}})

	b.enqueue(t, store.Expire, store.Item{ID: "a", Due: start})
	b.update(t, func(tx store.Tx) error { return tx.Dequeue(store.Recover, "a") })
	b.update(t, func(tx store.Tx) error { return tx.Dequeue(store.Recover, "a") }) // an absent one is no error
	b.wantDue(t, store.Recover, time.Time{})
	equal(t, "same id, other queue", itemIDs(b.lease(t, store.Expire, start, 10)), []string{"a"})
}

// testReturn: a lease is ended by who holds it, and by nobody else.
func testReturn(t *testing.T, b *bench) {
	item := store.Item{ID: "a", Payload: []byte("1"), Due: start}
	lease := func(now time.Time) store.Item {
		t.Helper()
		items := b.lease(t, store.Recover, now, 10)
		if len(items) != 1 {
			t.Fatalf("leased %+v, want one item", items)
		}
		return items[0]
	}
	give := func(i store.Item, next *store.Item) {
		t.Helper()
		b.update(t, func(tx store.Tx) error { return tx.Return(store.Recover, i, next) })
	}
	b.enqueue(t, store.Recover, item)
	held := lease(start)
	next := store.Item{ID: "a", Payload: []byte("2"), Due: start.Add(time.Second), Tries: held.Tries}
	give(held, &next)
	again := lease(start.Add(time.Second))
	equal(t, "moved", again, store.Item{ID: "a", Payload: []byte("2"), Due: start.Add(61 * time.Second), Tries: 2})

	give(held, &next)
	give(held, nil)
	b.wantDue(t, store.Recover, again.Due) // the first lease is over

	b.enqueue(t, store.Recover, store.Item{ID: "a", Payload: []byte("news"), Due: start.Add(2 * time.Second)})
	give(again, &next)
	give(again, nil)
	news := lease(start.Add(2 * time.Second))
	equal(t, "put meanwhile", news, store.Item{ID: "a", Payload: []byte("news"), Due: start.Add(62 * time.Second), Tries: 1})

	b.enqueue(t, store.Expire, item)
	give(news, nil)
	give(news, nil)   // an absent one is no error
	give(news, &next) // and does not come back
	b.wantDue(t, store.Recover, time.Time{})
	b.wantDue(t, store.Expire, start)
}

func testQueueOrder(t *testing.T, b *bench) {
	at := func(id string, s int) store.Item {
		return store.Item{ID: id, Due: start.Add(time.Duration(s) * time.Second)}
	}
	b.enqueue(t, store.Inbound, at("c", 3), at("a", 1), at("e", 5), at("b", 2), at("d", 4))
	now := start.Add(4 * time.Second)
	equal(t, "first two", itemIDs(b.lease(t, store.Inbound, now, 2)), []string{"a", "b"})
	equal(t, "next", itemIDs(b.lease(t, store.Inbound, now, 10)), []string{"c", "d"})
	equal(t, "later", itemIDs(b.lease(t, store.Inbound, now.Add(time.Second), 10)), []string{"e"})
	equal(t, "limit 0", b.lease(t, store.Inbound, now.Add(time.Hour), 0), []store.Item(nil))
}

// testQueueRace lets many workers lease at once: each item goes to one of them.
func testQueueRace(t *testing.T, b *bench) {
	const items, workers = 100, 8
	var want []string
	var all []store.Item
	for i := range items {
		id := string(rune('a'+i/26)) + string(rune('a'+i%26))
		want = append(want, id)
		all = append(all, store.Item{ID: id, Due: start.Add(time.Duration(i) * time.Millisecond)})
	}
	b.enqueue(t, store.Recover, all...)
	var mu sync.Mutex
	var got []string
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				leased, err := b.Lease(t.Context(), store.Recover, start.Add(time.Second), 3, time.Minute)
				if err != nil {
					t.Errorf("lease: got error %v, want none", err)
					return
				}
				if len(leased) == 0 {
					return
				}
				mu.Lock()
				got = append(got, itemIDs(leased)...)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(got)
	equal(t, "leased", got, want)
}
