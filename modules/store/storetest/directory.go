package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// Keyring makes, rotates, revokes and ends keys at random, and knows all of them.
type Keyring struct {
	issuer    *access.Issuer
	random    *rand.Rand
	clock     atomic.Int64 // Unix milliseconds
	merchants []string
	keys      []string
	texts     []string
	revoked   []string // texts
}

// Written names the merchants and keys of one change.
type Written struct{ Merchants, Keys []string }

// NewKeyring returns one without keys, whose dice fall as seed says.
func NewKeyring(seed uint64) *Keyring {
	k := &Keyring{random: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // a test can be repeated
	k.clock.Store(start.UnixMilli())
	source := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%32d", seed))))
	k.issuer = &access.Issuer{
		Pepper: bytes.Repeat([]byte{7}, 32), Random: io.Reader(source), IDs: &payment.IDs{Now: k.Now, Random: source}, Now: k.Now,
	}
	return k
}

// Now is the keyring's clock, which goes forth and back.
func (k *Keyring) Now() time.Time { return time.UnixMilli(k.clock.Load()).UTC() }

// Directory returns one that has read nothing yet.
func (k *Keyring) Directory(s store.Store) *access.Directory {
	d := access.NewDirectory(k.issuer.Pepper, store.AllKeys(s), k.Now)
	d.ReadSome(store.SomeKeys(s))
	return d
}

// Ended tells whether a directory knows of a key that it is revoked or has an end,
// whatever the time is.
func (k *Keyring) Ended(ctx context.Context, d *access.Directory, text string) bool {
	was := k.clock.Load()
	defer k.clock.Store(was)
	k.clock.Store(start.AddDate(100, 0, 0).UnixMilli())
	_, err := d.Authenticate(ctx, text)
	return errors.Is(err, access.ErrUnauthenticated) && !errors.Is(err, access.ErrWrongKey)
}

// Revoked returns the texts of keys that were revoked or made to expire.
func (k *Keyring) Revoked() []string { return k.revoked }

// Change makes one change in a store.
func (k *Keyring) Change(ctx context.Context, s store.Store) (Written, error) {
	k.clock.Add(int64(k.random.IntN(7_200_000)) - 3_600_000) // an hour forth or back
	switch n := k.random.IntN(10); {
	case len(k.merchants) == 0 || n == 0:
		return k.merchant(ctx, s)
	case len(k.keys) == 0 || n < 5:
		return k.create(ctx, s)
	case n < 7:
		return k.alter(ctx, s, k.rotate)
	case n < 9:
		return k.alter(ctx, s, func(old access.Key) ([]access.Key, error) { return []access.Key{access.RevokeKey(old, k.Now())}, nil })
	default:
		return k.alter(ctx, s, func(old access.Key) ([]access.Key, error) {
			old.ExpiresAt = k.Now()
			return []access.Key{old}, nil
		})
	}
}

// merchant makes one, or renames one.
func (k *Keyring) merchant(ctx context.Context, s store.Store) (Written, error) {
	m, err := k.issuer.CreateMerchant("Shop")
	if err != nil {
		return Written{}, err
	}
	if len(k.merchants) > 0 && k.random.IntN(2) == 0 {
		m.ID, m.Name = k.merchants[k.random.IntN(len(k.merchants))], fmt.Sprint("Shop ", k.random.IntN(1000))
	} else {
		k.merchants = append(k.merchants, m.ID)
	}
	return Written{Merchants: []string{m.ID}}, s.Update(ctx, func(tx store.Tx) error { return tx.PutMerchant(m) })
}

func (k *Keyring) create(ctx context.Context, s store.Store) (Written, error) {
	r := access.KeyRequest{Merchant: k.merchants[k.random.IntN(len(k.merchants))], Mode: payment.Test}
	if k.random.IntN(4) == 0 {
		r.ExpiresAt = k.Now().Add(time.Hour)
	}
	made, err := k.issuer.Issue(r)
	if err != nil {
		return Written{}, err
	}
	k.keys, k.texts = append(k.keys, made.Key.ID), append(k.texts, made.Text)
	return Written{Keys: []string{made.Key.ID}}, s.Update(ctx, func(tx store.Tx) error { return tx.PutAPIKey(made.Key) })
}

// rotate yields a key and its successor, or nothing where the key is void.
func (k *Keyring) rotate(old access.Key) ([]access.Key, error) {
	retired, made, err := k.issuer.RotateKey(old, time.Duration(k.random.IntN(2))*time.Hour)
	if errors.Is(err, access.ErrIssue) {
		return nil, nil
	}
	if err == nil {
		k.keys, k.texts = append(k.keys, made.Key.ID), append(k.texts, made.Text)
	}
	return []access.Key{retired, made.Key}, err
}

// alter writes what becomes of a key.
func (k *Keyring) alter(ctx context.Context, s store.Store, become func(access.Key) ([]access.Key, error)) (w Written, err error) {
	n := k.random.IntN(len(k.keys))
	var old access.Key
	err = s.View(ctx, func(r store.Reader) error {
		old, err = r.APIKey(k.keys[n])
		return err
	})
	if err != nil {
		return w, err
	}
	all, err := become(old)
	if err != nil {
		return w, err
	}
	for i := range all {
		w.Keys = append(w.Keys, all[i].ID)
	}
	err = s.Update(ctx, func(tx store.Tx) error {
		for i := range all {
			if err := tx.PutAPIKey(all[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && len(all) == 1 {
		k.revoked = append(k.revoked, k.texts[n])
	}
	return w, err
}

// Differ tells how two directories differ in what they say of everybody, and of those
// who were made up; "" = they do not.
func (k *Keyring) Differ(ctx context.Context, got, want *access.Directory) string {
	type answer struct {
		Principal access.Principal
		Error     string
	}
	was := k.clock.Load()
	defer k.clock.Store(was)
	for _, ahead := range []time.Duration{0, time.Hour, -time.Hour} {
		k.clock.Store(was + ahead.Milliseconds())
		for _, text := range k.texts {
			var answers [2]answer
			for i, d := range []*access.Directory{got, want} {
				p, err := d.Authenticate(ctx, text)
				answers[i] = answer{p, fmt.Sprint(err)}
			}
			if diff := cmp.Diff(answers[1], answers[0], cmpopts.EquateEmpty()); diff != "" {
				return diff
			}
		}
	}
	for _, id := range append(slices.Clone(k.merchants), "mer_unknown") {
		m, known := got.Merchant(id)
		if w, wanted := want.Merchant(id); m != w || known != wanted {
			return fmt.Sprintf("merchant %s: got %v %t, want %v %t", id, m, known, w, wanted)
		}
	}
	return ""
}

// testDirectory: a directory that reads what has changed says the same as one that
// reads everything, after whatever has happened, and never reads everything again.
func testDirectory(t *testing.T, b *bench) {
	const changes = 120
	seed := rand.Uint64() //nolint:gosec // it is told where the test fails
	k := NewKeyring(seed)
	whole := 0
	d := access.NewDirectory(k.issuer.Pepper, func(ctx context.Context) ([]access.Merchant, []access.Key, error) {
		whole++
		return store.AllKeys(b)(ctx)
	}, k.Now)
	d.ReadSome(store.SomeKeys(b))
	dice := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // a test can be repeated
	for n := range changes {
		w, err := k.Change(t.Context(), b)
		if err != nil {
			t.Fatalf("seed %d, change %d: got error %v, want none", seed, n, err)
		}
		w.Note(d)
		if dice.IntN(4) == 0 { // those who tell of changes may repeat themselves, and err
			w.Note(d)
			d.KeyChanged("key_unknown")
			d.MerchantChanged(strings.Repeat("x", 1+dice.IntN(9)))
		}
		if n != changes-1 && dice.IntN(3) > 0 {
			continue
		}
		fresh := k.Directory(b)
		if err := errors.Join(d.CatchUp(t.Context()), fresh.Refresh(t.Context())); err != nil {
			t.Fatal(err)
		}
		if diff := k.Differ(t.Context(), d, fresh); diff != "" {
			t.Fatalf("seed %d, change %d (-all anew, +what has changed):\n%s", seed, n, diff)
		}
	}
	if whole != 1 {
		t.Errorf("seed %d: everything was read %d times, want once", seed, whole)
	}
}

// Note tells a directory what was written.
func (w Written) Note(d *access.Directory) {
	for _, id := range w.Merchants {
		d.MerchantChanged(id)
	}
	for _, id := range w.Keys {
		d.KeyChanged(id)
	}
}
