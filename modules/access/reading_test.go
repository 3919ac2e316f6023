package access_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
)

// shelf is a store of merchants and keys whose readings are told of, and can be held
// up after they have seen what there is.
type shelf struct {
	mu        sync.Mutex
	merchants map[string]access.Merchant
	keys      map[string]access.Key
	fail      error
	reads     []string      // "all", or the IDs
	held      chan struct{} // a reading that has seen what there is waits here; nil = none does
	seen      chan struct{} // and says so here
}

func newShelf() *shelf {
	return &shelf{merchants: map[string]access.Merchant{}, keys: map[string]access.Key{}, seen: make(chan struct{}, 1)}
}

func (s *shelf) put(keys ...access.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		s.keys[k.ID] = k
	}
}

// hold has the next reading wait until the function that it returns is called.
func (s *shelf) hold() (goOn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := make(chan struct{})
	s.held = held
	return func() { close(held) }
}

// read yields what there is now, but not before it may.
func (s *shelf) read(what string, merchant, key func(id string) bool) (merchants []access.Merchant, keys []access.Key, err error) {
	s.mu.Lock()
	s.reads = append(s.reads, what)
	for id, m := range s.merchants {
		if merchant(id) {
			merchants = append(merchants, m)
		}
	}
	for id, k := range s.keys {
		if key(id) {
			keys = append(keys, k)
		}
	}
	held := s.held
	s.held, err = nil, s.fail
	s.mu.Unlock()
	if held != nil {
		s.seen <- struct{}{}
		<-held
	}
	return merchants, keys, err
}

func (s *shelf) all(context.Context) ([]access.Merchant, []access.Key, error) {
	every := func(string) bool { return true }
	return s.read("all", every, every)
}

func (s *shelf) some(_ context.Context, merchants, keys []string) ([]access.Merchant, []access.Key, error) {
	ids := slices.Concat(slices.Sorted(slices.Values(merchants)), slices.Sorted(slices.Values(keys)))
	in := func(all []string) func(string) bool { return func(id string) bool { return slices.Contains(all, id) } }
	return s.read(fmt.Sprint(ids), in(merchants), in(keys))
}

// take returns the readings since the last call.
func (s *shelf) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	reads := s.reads
	s.reads = nil
	return reads
}

// directory returns one that has read nothing yet.
func (s *shelf) directory(now func() time.Time) *access.Directory {
	d := access.NewDirectory(pepper, s.all, now)
	d.ReadSome(s.some)
	return d
}

// TestCatchUp: what is noted is read, once, and nothing else.
func TestCatchUp(t *testing.T) {
	key := func(id string, version int) access.Key {
		return access.Key{ID: id, Merchant: "mer_a", Name: fmt.Sprint(version)}
	}
	many := func(d *access.Directory) {
		for n := range 10_001 {
			d.KeyChanged(fmt.Sprint("key_", n))
		}
	}
	away := errors.New("away")
	for _, tt := range []struct {
		name  string
		fail  error
		note  func(*access.Directory)
		reads []string
		knows map[string]string // of keys a, b, c: the version
	}{
		{"nothing", nil, func(*access.Directory) {}, nil, map[string]string{"key_a": "1", "key_b": "1"}},
		{"a change", nil, func(d *access.Directory) { d.KeyChanged("key_a") }, []string{"[key_a]"}, map[string]string{"key_a": "2", "key_b": "1"}},
		{"twice the same", nil, func(d *access.Directory) { d.KeyChanged("key_a"); d.KeyChanged("key_a") }, []string{"[key_a]"}, map[string]string{"key_a": "2", "key_b": "1"}},
		{"a new key", nil, func(d *access.Directory) { d.KeyChanged("key_c") }, []string{"[key_c]"}, map[string]string{"key_a": "1", "key_b": "1", "key_c": "2"}},
		{"one that is gone", nil, func(d *access.Directory) { d.KeyChanged("key_b") }, []string{"[key_b]"}, map[string]string{"key_a": "1"}},
		{"one that never was", nil, func(d *access.Directory) { d.KeyChanged("key_x") }, []string{"[key_x]"}, map[string]string{"key_a": "1", "key_b": "1"}},
		{"a merchant", nil, func(d *access.Directory) { d.MerchantChanged("mer_a") }, []string{"[mer_a]"}, map[string]string{"key_a": "1", "key_b": "1"}},
		{"several", nil, func(d *access.Directory) { d.MerchantChanged("mer_a"); d.KeyChanged("key_a"); d.KeyChanged("key_b") }, []string{"[mer_a key_a key_b]"}, map[string]string{"key_a": "2"}},
		{"anything", nil, func(d *access.Directory) { d.KeyChanged("key_a"); d.KeyChanged(""); d.KeyChanged("key_b") }, []string{"all"}, map[string]string{"key_a": "2", "key_c": "2"}},
		{"any merchant", nil, func(d *access.Directory) { d.MerchantChanged("") }, []string{"all"}, map[string]string{"key_a": "2", "key_c": "2"}},
		{"very many", nil, many, []string{"all"}, map[string]string{"key_a": "2", "key_c": "2"}},
		{"a change, and the store is away", away, func(d *access.Directory) { d.KeyChanged("key_a") }, []string{"[key_a]", "[key_a]"}, map[string]string{"key_a": "2", "key_b": "1"}},
		{"anything, and the store is away", away, func(d *access.Directory) { d.KeyChanged("") }, []string{"all", "all"}, map[string]string{"key_a": "2", "key_c": "2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newShelf()
			s.merchants["mer_a"] = access.Merchant{ID: "mer_a"}
			s.put(key("key_a", 1), key("key_b", 1))
			d := s.directory(func() time.Time { return start })
			if err := d.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := s.take(); !slices.Equal(got, []string{"all"}) {
				t.Fatalf("at first it reads %q, want all", got)
			}
			s.put(key("key_a", 2), key("key_c", 2))
			delete(s.keys, "key_b")
			tt.note(d)
			if s.fail = tt.fail; s.fail != nil {
				_, before := d.Known()
				if err := d.CatchUp(t.Context()); !errors.Is(err, away) {
					t.Errorf("got error %v, want %v", err, away)
				}
				if _, keys := d.Known(); !cmp.Equal(before, keys) {
					t.Errorf("a reading that failed left %v, want %v", keys, before)
				}
				s.fail = nil
			}
			for range 2 { // the second time there is nothing left to read
				if err := d.CatchUp(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.reads, s.take()); diff != "" {
				t.Errorf("readings (-want +got):\n%s", diff)
			}
			knows := map[string]string{}
			_, keys := d.Known()
			for id, k := range keys {
				knows[id] = k.Name
			}
			if diff := cmp.Diff(tt.knows, knows); diff != "" {
				t.Errorf("knows (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReadAnew: one that cannot read a part reads everything, and one that did so owes
// nothing.
func TestReadAnew(t *testing.T) {
	s := newShelf()
	d := access.NewDirectory(pepper, s.all, func() time.Time { return start })
	d.KeyChanged("key_a")
	if err := errors.Join(d.Refresh(t.Context()), d.CatchUp(t.Context())); err != nil {
		t.Fatal(err)
	}
	d.KeyChanged("key_a")
	if err := d.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"all", "all"}, s.take()); diff != "" {
		t.Errorf("readings (-want +got):\n%s", diff)
	}
}

// TestHeldReading: a reading that saw a key before its revocation, and ends after one
// that saw it later has begun, does not bring it back.
func TestHeldReading(t *testing.T) {
	part := func(d *access.Directory, id string) func(context.Context) error {
		return func(ctx context.Context) error {
			d.KeyChanged(id)
			return d.CatchUp(ctx)
		}
	}
	for _, tt := range []struct {
		name     string
		old, new func(d *access.Directory, id string) func(context.Context) error
	}{
		{"part, part", part, part},
		{"all, part", func(d *access.Directory, _ string) func(context.Context) error { return d.Refresh }, part},
		{"part, all", part, func(d *access.Directory, _ string) func(context.Context) error { return d.Refresh }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := start
			is := issuer(&now)
			shop, _ := is.CreateMerchant("Shop")
			key, text, err := is.CreateKey(access.KeyRequest{Merchant: shop.ID, Mode: payment.Test})
			if err != nil {
				t.Fatal(err)
			}
			s := newShelf()
			s.merchants[shop.ID] = shop
			s.put(key)
			d := s.directory(func() time.Time { return now })
			if err := d.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			goOn := s.hold()
			slow, quick := make(chan error, 1), make(chan error, 1)
			go func() { slow <- tt.old(d, key.ID)(t.Context()) }()
			<-s.seen
			s.put(access.RevokeKey(key, now))
			go func() { quick <- tt.new(d, key.ID)(t.Context()) }()
			select {
			case err := <-quick: // it may have been quicker: then it must not be undone
				quick <- err
			case <-time.After(50 * time.Millisecond):
			}
			goOn()
			if err := errors.Join(<-slow, <-quick); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Authenticate(t.Context(), text); !errors.Is(err, access.ErrUnauthenticated) {
				t.Errorf("a revoked key: got error %v, want %v", err, access.ErrUnauthenticated)
			}
		})
	}
}

// TestNotedMeanwhile: a change that is noted while a reading is under way, which has not
// seen it, is read by the next one.
func TestNotedMeanwhile(t *testing.T) {
	for _, first := range []string{"key_a", ""} {
		s := newShelf()
		s.put(access.Key{ID: "key_a", Name: "old"})
		d := s.directory(func() time.Time { return start })
		if err := d.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.KeyChanged(first)
		goOn := s.hold()
		slow := make(chan error, 1)
		go func() { slow <- d.CatchUp(t.Context()) }()
		<-s.seen
		s.put(access.Key{ID: "key_a", Name: "new"})
		d.KeyChanged("key_a")
		goOn()
		if err := errors.Join(<-slow, d.CatchUp(t.Context())); err != nil {
			t.Fatal(err)
		}
		if _, keys := d.Known(); keys["key_a"].Name != "new" {
			t.Errorf("noted during a reading of %q: got %v, want new", first, keys)
		}
	}
}

// TestManyReaders: whoever reads at once, and however the clock jumps, no key that was
// seen revoked is seen otherwise, and in the end a directory knows what there is.
func TestManyReaders(t *testing.T) {
	const names, writers, readers, writes = 40, 3, 3, 300
	s := newShelf()
	var clock sync.Map // holds what now returns, under ""
	clock.Store("", start)
	now := func() time.Time {
		at, _ := clock.Load("")
		moment, _ := at.(time.Time)
		return moment
	}
	d := s.directory(now)
	if err := d.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	write := func(random *rand.Rand) {
		for range writes {
			at := start.Add(time.Duration(random.IntN(1000)-500) * time.Minute)
			clock.Store("", at)
			id := fmt.Sprint("key_", random.IntN(names))
			s.mu.Lock()
			k, known := s.keys[id]
			switch {
			case !known:
				k = access.Key{ID: id}
			case random.IntN(4) == 0:
				k = access.RevokeKey(k, at)
			default:
				k.Name = fmt.Sprint(random.IntN(1000))
			}
			s.keys[id] = k
			s.mu.Unlock()
			if d.KeyChanged(id); random.IntN(50) == 0 {
				d.KeyChanged("")
			}
		}
	}
	done := make(chan struct{})
	var writing, reading sync.WaitGroup
	for n := range uint64(writers) {
		writing.Go(func() { write(rand.New(rand.NewPCG(seed, n))) })
	}
	for range readers {
		reading.Go(func() {
			revoked := map[string]bool{}
			for {
				if err := d.CatchUp(t.Context()); err != nil {
					t.Error(err)
				}
				_, keys := d.Known()
				for id := range revoked {
					if keys[id].RevokedAt.IsZero() {
						t.Errorf("seed %d: %s is back", seed, id)
						return
					}
				}
				for id, k := range keys {
					if !k.RevokedAt.IsZero() {
						revoked[id] = true
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	if err := d.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh := s.directory(now)
	if err := fresh.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, got := d.Known()
	if _, want := fresh.Known(); !maps.EqualFunc(want, got, func(a, b access.Key) bool { return cmp.Equal(a, b) }) {
		t.Errorf("seed %d (-all anew, +what has changed):\n%s", seed, cmp.Diff(want, got))
	}
}

// BenchmarkOneChange is what a change of one key costs a directory of 100,000, the store
// not included.
func BenchmarkOneChange(b *testing.B) {
	keys := make([]access.Key, 100_000)
	for i := range keys {
		keys[i] = access.Key{ID: fmt.Sprintf("key_01h455vb4pex5vsk%010d", i), Merchant: "mer_a", Scopes: access.DefaultScopes()}
	}
	d := access.NewDirectory(pepper, func(context.Context) ([]access.Merchant, []access.Key, error) {
		return []access.Merchant{{ID: "mer_a"}}, slices.Clone(keys), nil
	}, func() time.Time { return start })
	d.ReadSome(func(_ context.Context, _, ids []string) ([]access.Merchant, []access.Key, error) {
		return nil, []access.Key{{ID: ids[0], Merchant: "mer_a"}}, nil
	})
	if err := d.Refresh(b.Context()); err != nil {
		b.Fatal(err)
	}
	for _, bb := range []struct {
		name string
		id   func(n int) string
	}{
		{"everything", func(int) string { return "" }},
		{"what has changed", func(n int) string { return keys[n%len(keys)].ID }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				d.KeyChanged(bb.id(n))
				if err := d.CatchUp(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
