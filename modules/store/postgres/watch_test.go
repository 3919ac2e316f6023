package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/store/storetest"
)

// told is what a watcher's fn has heard.
type told chan Change

func (c told) hear(_ context.Context, change Change) error {
	c <- change
	return nil
}

// next waits for a change.
func (c told) next(t *testing.T) Change {
	t.Helper()
	select {
	case got := <-c:
		return got
	case <-time.After(5 * time.Second):
		t.Fatal("got no change within 5 s, want one")
		return Change{}
	}
}

func (c told) want(t *testing.T, want Change) {
	t.Helper()
	if diff := cmp.Diff(want, c.next(t)); diff != "" {
		t.Errorf("change: got the + lines, want the - lines:\n%s", diff)
	}
}

func watch(t *testing.T, s *Store) (told, *Watcher) {
	t.Helper()
	c := make(told, 100)
	w, err := s.Watch(t.Context(), c.hear)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	c.want(t, Change{Kind: Everything})
	return c, w
}

// TestWatch: a node hears within a second of what another one commits, and of
// nothing that is rolled back or is somebody else's.
func TestWatch(t *testing.T) {
	dsn := schema(t)
	here, there := open(t, Config{DSN: dsn}), open(t, Config{DSN: dsn})
	stranger := open(t, Config{DSN: schema(t)})
	heard, w := watch(t, here)

	mine := errors.New("mine")
	err := there.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(tx.PutSetting("rolled back", "on"), mine)
	})
	if !errors.Is(err, mine) {
		t.Fatalf("got error %v, want mine", err)
	}
	stranger.set(t, func(tx store.Tx) error { return tx.PutSetting("elsewhere", "on") })

	start := time.Now()
	there.set(t, func(tx store.Tx) error {
		return tx.PutAPIKey(access.Key{ID: "key_a", Merchant: "mer_a", Mode: payment.Test, CreatedAt: start})
	})
	committed := time.Now()
	heard.want(t, Change{APIKeyChanged, "key_a"})
	if took := time.Since(start); took > time.Second {
		t.Errorf("heard after %v, want less than 1s", took)
	}
	there.set(t, func(tx store.Tx) error {
		return errors.Join(tx.PutMerchant(access.Merchant{ID: "mer_a"}), tx.PutSetting("two words", "on"))
	})
	heard.want(t, Change{MerchantChanged, "mer_a"})
	heard.want(t, Change{SettingChanged, "two words"})
	until(t, "Heard is later than the commit", func() bool { return w.Heard().After(committed) })
	if since := w.Since(); since.IsZero() || since.After(committed) {
		t.Errorf("got connected since %v, want before %v", since, committed)
	}
}

// TestWatchAfterLoss: what was changed while the connection was away is covered
// by one change of everything, and Heard stands still meanwhile.
func TestWatchAfterLoss(t *testing.T) {
	p := newProxy(t, schema(t))
	s := open(t, Config{DSN: p.dsn})
	heard, w := watch(t, s)
	until(t, "Heard is set", func() bool { return !w.Heard().IsZero() })
	p.close()
	until(t, "Since is zero", func() bool { return w.Since().IsZero() })
	was := w.Heard()
	open(t, Config{DSN: p.direct}).set(t, func(tx store.Tx) error { return tx.PutSetting("frozen", "on") })
	if now := w.Heard(); !now.Equal(was) {
		t.Errorf("Heard moved from %v to %v, want it to stand still", was, now)
	}
	back := time.Now()
	p.reopen(t)
	heard.want(t, Change{Kind: Everything})
	if took := time.Since(back); took > time.Second {
		t.Errorf("heard %v after the server was back, want less than 1s", took)
	}
	until(t, "Heard moves again", func() bool { return w.Heard().After(was) })
}

// TestWatchSilence: a connection that says nothing any more counts as dead.
func TestWatchSilence(t *testing.T) {
	p := newProxy(t, schema(t))
	s := open(t, Config{DSN: p.dsn})
	_, w := watch(t, s)
	until(t, "Heard is set", func() bool { return !w.Heard().IsZero() })
	p.silence(true)
	start := time.Now()
	until(t, "Since is zero", func() bool { return w.Since().IsZero() })
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("noticed after %v, want less than 2s", took)
	}
	p.silence(false)
}

// TestWatchFailure: who could not follow is told of everything once more.
func TestWatchFailure(t *testing.T) {
	s := open(t, Config{DSN: schema(t)})
	calls := make(told, 10)
	w, err := s.Watch(t.Context(), func(_ context.Context, c Change) error {
		calls <- c
		if c.Kind == SettingChanged {
			return errors.New("no")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	calls.want(t, Change{Kind: Everything})
	until(t, "Heard is set", func() bool { return !w.Heard().IsZero() })
	s.set(t, func(tx store.Tx) error { return tx.PutSetting("frozen", "on") })
	calls.want(t, Change{SettingChanged, "frozen"})
	calls.want(t, Change{Kind: Everything})

	if err := s.Close(); err != nil { // ends the watching
		t.Error(err)
	}
	w.Stop()
	if _, err := s.Watch(t.Context(), calls.hear); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("watch of a closed store: got error %v, want %v", err, store.ErrUnavailable)
	}
}

// until waits for a condition, for 5 s at most.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for !ok() {
		if ctx.Err() != nil {
			t.Fatalf("%s: got not, want it within 5 s", what)
		}
		wait(ctx, 5*time.Millisecond)
	}
}

// hearKeys has a directory hear what a node hears.
func hearKeys(t *testing.T, s *Store, d *access.Directory) {
	t.Helper()
	w, err := s.Watch(t.Context(), func(ctx context.Context, c Change) error {
		switch c.Kind {
		case MerchantChanged:
			d.MerchantChanged(c.ID)
		case APIKeyChanged:
			d.KeyChanged(c.ID)
		case Everything:
			d.KeyChanged("")
		case TokensRevoked, SettingChanged:
		}
		return d.CatchUp(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
}

// TestDirectories: two nodes that both write come to know the same as who reads
// everything, and at no time does a key come back.
func TestDirectories(t *testing.T) {
	dsn := schema(t)
	nodes := []*Store{open(t, Config{DSN: dsn, patience: calm}), open(t, Config{DSN: dsn, patience: calm})}
	k := storetest.NewKeyring(rand.Uint64())
	var directories []*access.Directory
	for _, s := range nodes {
		d := k.Directory(s)
		hearKeys(t, s, d)
		directories = append(directories, d)
	}
	ended := []map[string]bool{{}, {}} // by node
	look := func() {
		for n, d := range directories {
			for _, text := range k.Revoked() {
				now := k.Ended(t.Context(), d, text)
				if ended[n][text] && !now {
					t.Errorf("node %d takes a key again that had ended", n)
				}
				ended[n][text] = now
			}
		}
	}
	for round := range 12 {
		for n := range 1 + round {
			if _, err := k.Change(t.Context(), nodes[n%2]); err != nil {
				t.Fatal(err)
			}
			look()
		}
		fresh := k.Directory(nodes[0])
		if err := fresh.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		for n, d := range directories {
			until(t, fmt.Sprintf("round %d: node %d knows what there is", round, n), func() bool {
				look()
				return k.Differ(t.Context(), d, fresh) == ""
			})
		}
	}
}

// TestToldIsVisible: what a node is told of, its next view finds. A directory rests on
// it, which reads a change once.
func TestToldIsVisible(t *testing.T) {
	dsn := schema(t)
	here, there := open(t, Config{DSN: dsn, patience: calm}), open(t, Config{DSN: dsn, patience: calm})
	heard, _ := watch(t, here)
	const writers, each = 4, 50
	var wg sync.WaitGroup
	for n := range writers {
		wg.Go(func() {
			for i := range each {
				err := there.Update(t.Context(), func(tx store.Tx) error {
					return tx.PutAPIKey(access.Key{ID: fmt.Sprintf("key_%d_%d", n, i), CreatedAt: time.UnixMilli(1)})
				})
				if err != nil {
					t.Errorf("got error %v, want none", err)
				}
			}
		})
	}
	for range writers * each {
		c := heard.next(t)
		err := here.View(t.Context(), func(r store.Reader) error {
			_, err := r.APIKey(c.ID)
			return err
		})
		if err != nil {
			t.Fatalf("%v, of which a node was told: got error %v, want none", c, err)
		}
	}
	wg.Wait()
}
