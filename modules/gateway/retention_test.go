package gateway

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestSweepAll(t *testing.T) {
	t.Parallel()
	left, calls := 2*sweepBite+1, 0
	g := &ground{sweep: func(_ context.Context, _ time.Time, limit int) (int, error) {
		calls++
		n := min(left, limit)
		left -= n
		return n, nil
	}}
	if err := sweepAll(t.Context(), g, time.Time{}); err != nil || left != 0 || calls != 3 {
		t.Errorf("%v: %d left after %d bites, want 0 after 3", err, left, calls)
	}
	away := errors.New("away")
	g.sweep = func(context.Context, time.Time, int) (int, error) { return 0, away }
	if err := sweepAll(t.Context(), g, time.Time{}); !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
}
