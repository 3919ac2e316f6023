package sqlite

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/purser-pay/purser/modules/store"
)

// TestCommitted holds that commits are told with the updates that share them,
// and that what failed is not among them.
func TestCommitted(t *testing.T) {
	var told []int
	d, name := newDisk(t)
	s := open(t, Config{Path: filepath.Join(t.TempDir(), "purser.db"), vfs: name, Committed: func(n int) { told = append(told, n) }})
	fail := func(store.Tx) error { return errors.New("mine") }
	together(t, s, put("pay_1"), fail, put("pay_2"), put("pay_3"))
	if want := []int{4}; !slices.Equal(told, want) { // the first one of the batch counts as well
		t.Errorf("told of %v, want %v", told, want)
	}
	if err := s.Update(t.Context(), fail); err == nil {
		t.Error("got no error")
	}
	d.set(func(d *disk) { d.full = true })
	if err := s.Update(t.Context(), put("pay_4")); err == nil {
		t.Error("got no error from a full disk")
	}
	d.set(func(d *disk) { d.full = false })
	if len(told) != 1 {
		t.Errorf("told of %v, want no more than before", told)
	}
}
