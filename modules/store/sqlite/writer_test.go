package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/purser-pay/purser/modules/store"
)

// together runs updates in one batch: the first of the batch waits inside its fn
// until the others are queued, in order. It returns their errors.
func together(t *testing.T, s *Store, fns ...func(store.Tx) error) []error {
	t.Helper()
	inside, leave, first := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		first <- s.Update(t.Context(), func(store.Tx) error {
			close(inside)
			<-leave
			return nil
		})
	}()
	<-inside
	errs := make([]error, len(fns))
	var wg sync.WaitGroup
	for i, fn := range fns {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					errs[i] = fmt.Errorf("panic: %v", p)
				}
			}()
			errs[i] = errors.New("exited")
			errs[i] = s.Update(t.Context(), fn)
		})
		for len(s.write.queue) <= i {
			runtime.Gosched()
		}
	}
	close(leave)
	wg.Wait()
	<-first
	return errs
}

// TestGroupCommit shows that updates which queue up share one fsync, and that
// one which fails takes nobody with it.
func TestGroupCommit(t *testing.T) {
	d, name := newDisk(t)
	s := open(t, Config{Path: filepath.Join(t.TempDir(), "purser.db"), vfs: name})
	if err := s.Ping(t.Context()); err != nil { // the first commit syncs the head of the log as well
		t.Fatalf("ping: got error %v, want none", err)
	}
	mine := errors.New("mine")
	var fns []func(store.Tx) error
	var want []error
	var ids []string
	for i := range 60 {
		ids = append(ids, fmt.Sprintf("pay_%02d", i))
		fn, err := put(ids[i]), error(nil)
		switch i % 4 {
		case 1:
			fn, err = func(x store.Tx) error { return errors.Join(put(ids[i])(x), mine) }, mine
		case 2:
			fn, err = func(x store.Tx) error { return errors.Join(put(ids[i])(x), put(ids[i])(x)) }, store.ErrConflict
		case 3:
			fn, err = func(x store.Tx) error {
				_ = put(ids[i])(x)
				panic("fn")
			}, errors.New("panic: fn")
		}
		fns, want = append(fns, fn), append(want, err)
	}
	var before int
	d.set(func(d *disk) { before = d.syncs })
	got := together(t, s, fns...)
	var after int
	d.set(func(d *disk) { after = d.syncs })
	if after-before != 1 {
		t.Errorf("got %d fsyncs of the log, want 1", after-before)
	}
	var absent []string
	for i := range got {
		if !errors.Is(got[i], want[i]) && fmt.Sprint(got[i]) != fmt.Sprint(want[i]) {
			t.Errorf("update %d: got error %v, want %v", i, got[i], want[i])
		}
		if want[i] != nil {
			absent = append(absent, ids[i])
		}
	}
	if got := missing(t, s, ids...); fmt.Sprint(got) != fmt.Sprint(absent) {
		t.Errorf("got %v missing, want %v", got, absent)
	}
}

// TestBatchWithoutSuccess lets the first updates of a batch fail: the ones
// behind them start afresh.
func TestBatchWithoutSuccess(t *testing.T) {
	s := open(t, Config{Path: filepath.Join(t.TempDir(), "purser.db")})
	mine := errors.New("mine")
	fail := func(id string) func(store.Tx) error {
		return func(x store.Tx) error { return errors.Join(put(id)(x), mine) }
	}
	got := together(t, s, fail("pay_1"), fail("pay_2"), put("pay_3"), fail("pay_4"))
	for i, want := range []error{mine, mine, nil, mine} {
		if !errors.Is(got[i], want) {
			t.Errorf("update %d: got error %v, want %v", i, got[i], want)
		}
	}
	if got := missing(t, s, "pay_1", "pay_2", "pay_3", "pay_4"); fmt.Sprint(got) != "[pay_1 pay_2 pay_4]" {
		t.Errorf("got %v missing, want all but pay_3", got)
	}
}

// TestExitInside lets an fn end its goroutine, as FailNow does. The writer goes
// on; those that shared the batch learn that nothing was written.
func TestExitInside(t *testing.T) {
	s := open(t, Config{Path: filepath.Join(t.TempDir(), "purser.db")})
	got := together(t, s, put("pay_1"),
		func(x store.Tx) error {
			_ = put("pay_2")(x)
			runtime.Goexit()
			return nil
		}, put("pay_3"))
	if !errors.Is(got[0], store.ErrUnavailable) || fmt.Sprint(got[1]) != "exited" || got[2] != nil {
		t.Errorf("got errors %v, want unavailable, exited, none", got)
	}
	if got := missing(t, s, "pay_1", "pay_2", "pay_3"); fmt.Sprint(got) != "[pay_1 pay_2]" {
		t.Errorf("got %v missing, want pay_1 and pay_2", got)
	}
}

// TestCloseDrains queues updates and closes: all of them are on disk.
func TestCloseDrains(t *testing.T) {
	path := filepath.Join(t.TempDir(), "purser.db")
	s := open(t, Config{Path: path})
	var ids []string
	var fns []func(store.Tx) error
	for i := range 20 {
		ids = append(ids, fmt.Sprintf("pay_%d", i))
		fns = append(fns, put(ids[i]))
	}
	closed := make(chan error, 1)
	fns = append(fns, func(store.Tx) error {
		go func() { closed <- s.Close() }()
		return nil
	})
	for i, err := range together(t, s, fns...) {
		if err != nil {
			t.Errorf("update %d: got error %v, want none", i, err)
		}
	}
	if err := <-closed; err != nil {
		t.Errorf("close: got error %v, want none", err)
	}
	if got := missing(t, open(t, Config{Path: path}), ids...); len(got) > 0 {
		t.Errorf("got %v missing, want none", got)
	}
}

// TestHiddenFailure lets an fn hide that one of its writes failed, in a way that
// leaves the transaction open: the rest of it must not be committed.
func TestHiddenFailure(t *testing.T) {
	s := open(t, Config{Path: filepath.Join(t.TempDir(), "purser.db")})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Update(t.Context(), func(x store.Tx) error {
		if err := put("pay_1")(x); err != nil {
			return err
		}
		db := x.(*tx).c.db
		defer db.SetInterrupt(db.SetInterrupt(canceled))
		_ = put("pay_2")(x)
		return nil
	})
	if !errors.Is(err, sqlite3.INTERRUPT) {
		t.Errorf("update: got error %v, want %v", err, sqlite3.INTERRUPT)
	}
	if got := missing(t, s, "pay_1", "pay_2"); len(got) != 2 {
		t.Errorf("got %v missing, want both", got)
	}
}
