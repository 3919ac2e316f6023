package engine

import (
	"errors"
	"testing"
	"time"
)

// TestLanes: an account gets its share of the places, and what comes beyond it comes
// back one by one, at the pace of the account.
func TestLanes(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	l := newLanes(func() time.Time { return now }, 8, 2)
	var leave []func()
	enter := func(account string) time.Duration {
		t.Helper()
		out, err := l.enter(account)
		if crowded, ok := errors.AsType[*crowdedError](err); ok {
			return crowded.until.Sub(now)
		}
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, out)
		return 0
	}
	leaveAll := func() {
		for _, out := range leave {
			out()
		}
		leave = nil
	}
	for i, want := range []time.Duration{0, 0, leastOff, leastOff + laneGuess/2, leastOff + laneGuess} {
		if got := enter("dead"); got != want {
			t.Errorf("item %d of the dead account: put off by %s, want %s", i, got, want)
		}
	}
	if got := enter("good"); got != 0 {
		t.Errorf("the other account: put off by %s, want a place", got)
	}
	for range 20 { // looks of 20 s
		now = now.Add(20 * time.Second)
		leaveAll()
		enter("dead")
		enter("dead")
	}
	first, second := enter("dead"), enter("dead")
	if first != leastOff || second < 9*time.Second || second > 11*time.Second {
		t.Errorf("at an account that takes 20 s and has two places: put off by %s and %s, want at once and 10 s", first, second)
	}
	for range 100 {
		if got := enter("dead"); got > mostOff {
			t.Fatalf("put off by %s, want %s at most", got, mostOff)
		}
	}
	leaveAll()
	if got := enter("dead"); got != 0 {
		t.Errorf("with free places: put off by %s", got)
	}

	alone := newLanes(func() time.Time { return now }, 8, 1)
	for range 100 {
		if _, err := alone.enter("only"); err != nil {
			t.Fatalf("the only account: %v", err)
		}
	}
}
