package engine_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/store"
)

// twice runs every transaction two times, as a store does that has to repeat one.
type twice struct{ store.Store }

func (s twice) Update(ctx context.Context, fn func(store.Tx) error) error {
	again := errors.New("again")
	if err := s.Store.Update(ctx, func(tx store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return again
	}); !errors.Is(err, again) {
		return err
	}
	return s.Store.Update(ctx, fn)
}

// TestFailoverTwice repeats the transaction that takes a payment to another account.
func TestFailoverTwice(t *testing.T) {
	t.Parallel()
	w, g := gated(t, map[string]int{"keyed": 1, "second": 1})
	w.cfg.Store = twice{w.store}
	w.eng = engine.New(w.cfg)
	w.psps["keyed"].fault = []string{"refused"}
	a, err := create2(w, "k")
	if err != nil || read(t, a).Status != "succeeded" {
		t.Errorf("%v %s, want succeeded", err, a.Body)
	}
	if got := fmt.Sprint(g.sent); got != "map[keyed:1 second:1]" {
		t.Errorf("%s was counted, want one each", got)
	}
	w.reconcile()
}
