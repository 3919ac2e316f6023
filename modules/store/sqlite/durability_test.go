package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

func put(id string) func(store.Tx) error {
	return func(t store.Tx) error {
		p := payment.Payment{
			ID: id, Merchant: "mer_a", Mode: payment.Test, Version: 1, Status: payment.Processing,
			Outcome: payment.Known, Description: strings.Repeat("x", 2000),
		}
		return t.PutPayment(&p)
	}
}

// missing names those of the payments that a store does not have.
func missing(t *testing.T, s store.Store, ids ...string) (absent []string) {
	t.Helper()
	err := s.View(t.Context(), func(r store.Reader) error {
		for _, id := range ids {
			_, err := r.Payment(id)
			if errors.Is(err, store.ErrNotFound) {
				absent = append(absent, id)
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("view: got error %v, want none", err)
	}
	return absent
}

// TestPowerLoss cuts the power after updates were answered. The rows with a
// weaker level of synchronous show that the test notices a missing fsync.
func TestPowerLoss(t *testing.T) {
	for _, test := range []struct {
		lax  string
		lose bool
	}{{"", false}, {"normal", true}, {"off", true}} {
		t.Run("synchronous "+test.lax, func(t *testing.T) {
			d, name := newDisk(t)
			path := filepath.Join(t.TempDir(), "purser.db")
			s := open(t, Config{Path: path, vfs: name, lax: test.lax})
			var ids []string
			lost := 0
			for round := range 4 {
				var wg sync.WaitGroup
				for i := range 100 << round { // the later rounds have checkpoints
					id := fmt.Sprintf("pay_%d_%d", round, i)
					ids = append(ids, id)
					wg.Go(func() {
						if err := s.Update(t.Context(), put(id)); err != nil {
							t.Errorf("update: got error %v, want none", err)
						}
					})
				}
				wg.Wait()
				lost += lostAfter(t, d.cut(t, path), ids)
			}
			if (lost > 0) != test.lose {
				t.Errorf("got %d payments lost, want losses %v", lost, test.lose)
			}
		})
	}
}

// TestPowerLossSpent cuts the power after nonces were spent and counters raised:
// none of them is good again. The row with a weaker level of synchronous shows that
// the test notices a missing fsync.
func TestPowerLossSpent(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	nonce := func(i int) store.Nonce {
		return store.Nonce{Space: "s", Value: fmt.Sprint(i), Expires: now.Add(time.Hour)}
	}
	one := store.Addition{Counter: "c", Delta: 1, Limit: 1 << 40, Expires: now.Add(time.Hour)}
	for _, test := range []struct {
		lax  string
		lose bool
	}{{"", false}, {"off", true}} {
		t.Run("synchronous "+test.lax, func(t *testing.T) {
			d, name := newDisk(t)
			path := filepath.Join(t.TempDir(), "purser.db")
			s := open(t, Config{Path: path, vfs: name, lax: test.lax})
			const spent = 200
			var wg sync.WaitGroup
			for i := range spent {
				wg.Go(func() {
					err := s.Update(t.Context(), func(x store.Tx) error { _, err := x.AddToCounter(one, now); return err })
					if err := errors.Join(err, s.SpendNonce(t.Context(), nonce(i), now)); err != nil {
						t.Errorf("spend: got error %v, want none", err)
					}
				})
			}
			wg.Wait()
			lost, total := spent, int64(0)
			if after, err := Open(t.Context(), Config{Path: d.cut(t, path)}); err == nil {
				lost = 0
				for i := range spent {
					if err := after.SpendNonce(t.Context(), nonce(i), now); !errors.Is(err, store.ErrConflict) {
						lost++
					}
				}
				err := after.Update(t.Context(), func(x store.Tx) (err error) {
					total, err = x.AddToCounter(store.Addition{Counter: one.Counter}, now)
					return err
				})
				if err := errors.Join(err, after.Close()); err != nil {
					t.Errorf("after the cut: got error %v, want none", err)
				}
			}
			if (lost > 0) != test.lose || (total < spent) != test.lose {
				t.Errorf("got %d nonces to spend again, and a counter at %d of %d, want losses %v", lost, total, spent, test.lose)
			}
		})
	}
}

// lostAfter counts what a store has lost: all of it, where it cannot be opened.
func lostAfter(t *testing.T, path string, ids []string) int {
	t.Helper()
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		return len(ids)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: got error %v, want none", err)
		}
	}()
	return len(missing(t, s, ids...))
}

func TestDiskFullAtCommit(t *testing.T) {
	d, name := newDisk(t)
	path := filepath.Join(t.TempDir(), "purser.db")
	s := open(t, Config{Path: path, vfs: name})
	d.set(func(d *disk) { d.full = true })
	for range 3 {
		if err := s.Update(t.Context(), put("pay_full")); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("update: got error %v, want %v", err, store.ErrUnavailable)
		}
		if err := s.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("ping: got error %v, want %v", err, store.ErrUnavailable)
		}
	}
	if got := missing(t, s, "pay_full"); len(got) != 1 {
		t.Error("view: got the payment, want none")
	}
	d.set(func(d *disk) { d.full = false })
	if err := s.Update(t.Context(), put("pay_later")); err != nil {
		t.Errorf("update after the disk had room: got error %v, want none", err)
	}
	after := open(t, Config{Path: d.cut(t, path)})
	if got := missing(t, after, "pay_full", "pay_later"); len(got) != 1 || got[0] != "pay_full" {
		t.Errorf("after a power cut: got %v missing, want pay_full", got)
	}
}

// TestDiskFullInStatement fills the file rather than the disk, so that SQLite
// finds out in mid-statement and rolls back the whole batch by itself.
func TestDiskFullInStatement(t *testing.T) {
	s := open(t, Config{Path: filepath.Join(t.TempDir(), "purser.db")})
	limit := func(pages string) {
		t.Helper()
		err := s.Update(t.Context(), func(x store.Tx) error {
			return x.(*tx).c.db.Exec("PRAGMA max_page_count = " + pages)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	limit("1") // SQLite takes that for "as large as it is now"
	var stored []string
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		id := fmt.Sprintf("pay_%d", i)
		if err = s.Update(t.Context(), put(id)); err == nil {
			stored = append(stored, id)
		}
	}
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("update: got error %v, want %v", err, store.ErrUnavailable)
	}
	// One that hides the error is not believed.
	err = s.Update(t.Context(), func(x store.Tx) error {
		_ = put("pay_hidden")(x)
		return nil
	})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("update that hides the error: got error %v, want %v", err, store.ErrUnavailable)
	}
	// Those that shared the batch are told as well.
	errs := together(t, s, put("pay_ok?"), func(x store.Tx) error { return x.PutSetting("a", "b") })
	for i, err := range errs {
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("update %d: got error %v, want none or %v", i, err, store.ErrUnavailable)
		}
	}
	limit("1000000")
	if err := s.Update(t.Context(), put("pay_later")); err != nil {
		t.Errorf("update after the file may grow: got error %v, want none", err)
	}
	if got := missing(t, s, append(stored, "pay_later")...); len(got) > 0 {
		t.Errorf("got %v missing, want none", got)
	}
}

// TestUncertainCommit fails the fsync of a commit, while the disk has the data
// all the same: the worst that can be.
func TestUncertainCommit(t *testing.T) {
	t.Run("settled at once", func(t *testing.T) {
		d, s, path := doubtful(t)
		d.set(func(d *disk) { d.failSyncs, d.keep = 1, true })
		if err := s.Update(t.Context(), put("pay_1")); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("update: got error %v, want %v", err, store.ErrUnavailable)
		}
		if got := missing(t, open(t, Config{Path: d.cut(t, path)}), "pay_1"); len(got) != 1 {
			t.Error("after a power cut: got the payment, want none: its caller was told that nothing was written")
		}
	})
	t.Run("settled later", func(t *testing.T) {
		d, s, path := doubtful(t)
		d.set(func(d *disk) { d.failSyncs, d.keep = 1000, true })
		err := s.Update(t.Context(), put("pay_1"))
		if !errors.Is(err, store.ErrUncertain) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("update: got error %v, want %v", err, store.ErrUncertain)
		}
		if got := missing(t, open(t, Config{Path: d.cut(t, path)}), "pay_1"); len(got) > 0 {
			t.Error("after a power cut in doubt: got no payment, want it: this test tests nothing")
		}
		if err := s.View(t.Context(), func(store.Reader) error { return nil }); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("view in doubt: got error %v, want %v", err, store.ErrUnavailable)
		}
		if err := s.Update(t.Context(), put("pay_2")); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("update in doubt: got error %v, want %v", err, store.ErrUnavailable)
		}
		d.set(func(d *disk) { d.failSyncs = 0 })
		if got := missing(t, s, "pay_1", "pay_2"); len(got) != 2 {
			t.Errorf("settled: got %v missing, want both", got)
		}
		if err := s.Update(t.Context(), put("pay_3")); err != nil {
			t.Errorf("update, settled: got error %v, want none", err)
		}
		got := missing(t, open(t, Config{Path: d.cut(t, path)}), "pay_1", "pay_2", "pay_3")
		if len(got) != 2 || got[0] != "pay_1" || got[1] != "pay_2" {
			t.Errorf("after a power cut: got %v missing, want pay_1 and pay_2", got)
		}
	})
}

// doubtful returns a store whose log has begun, so that the next sync of it is
// that of a commit.
func doubtful(t *testing.T) (*disk, *Store, string) {
	t.Helper()
	d, name := newDisk(t)
	path := filepath.Join(t.TempDir(), "purser.db")
	s := open(t, Config{Path: path, vfs: name})
	if err := s.Ping(t.Context()); err != nil {
		t.Fatalf("ping: got error %v, want none", err)
	}
	return d, s, path
}
