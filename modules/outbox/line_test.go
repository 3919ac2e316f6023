package outbox

import (
	"testing"
	"time"
)

func TestDelays(t *testing.T) {
	var sum time.Duration
	for n := 1; n <= len(Delays); n++ {
		if n > 1 && Delays[n-1] < Delays[n-2] {
			t.Errorf("delay %d is shorter than the one before", n)
		}
		sum += Delays[n-1]
		for _, chance := range []float64{0, 0.5, 0.999} {
			got, ok := next(n, chance)
			if low, high := Delays[n-1]*9/10, Delays[n-1]*11/10; !ok || got < low || got > high {
				t.Errorf("after try %d: got %v %t, want %v … %v", n, got, ok, low, high)
			}
		}
	}
	if sum > Lifetime || sum*9/10 < nearly {
		t.Errorf("all delays: got %v, want %v … %v", sum, nearly, Lifetime)
	}
	if _, ok := next(len(Delays)+1, 0.5); ok {
		t.Error("there is a try after the last")
	}
	if got, ok := next(0, 0.5); !ok || got != Delays[0] {
		t.Errorf("no try yet: got %v %t", got, ok)
	}
}

func TestRetryAfter(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "x": 0, "-5": 0, "1.5": 0, "0": 0, "30": 30 * time.Second, "3600": time.Hour, "4000000000": MaxRetryAfter,
		"99999999999999999999":          0,
		"Wed, 01 Jul 2026 12:00:10 GMT": 10 * time.Second,
		"Wed, 01 Jul 2026 11:00:00 GMT": 0,
		"Wed, 01 Jul 2099 12:00:00 GMT": MaxRetryAfter,
	} {
		if got := retryAfter(value, started); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
}

func TestLineHolds(t *testing.T) {
	l := &line{}
	l.reset()
	bad := answer{result: Unreachable}
	now := started
	for n, want := range []time.Duration{
		0, 0, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second,
		320 * time.Second, longestHold, longestHold, longestHold,
	} {
		l.learn(now, bad, time.Millisecond, 8, 0.5)
		if got := max(l.notBefore.Sub(now), 0); got != want {
			t.Errorf("after %d failures: held %v, want %v", n+1, got, want)
		}
		if l.width != 1 {
			t.Errorf("after %d failures: got width %d, want 1", n+1, l.width)
		}
		if want > 0 && l.takes(now, true) {
			t.Errorf("after %d failures: it takes one while it is held back", n+1)
		}
		now = now.Add(want)
		if !l.takes(now, true) {
			t.Errorf("after %d failures: it takes none when the hold is over", n+1)
		}
		l.running = 1
		if l.takes(now, true) {
			t.Errorf("after %d failures: it takes a second one", n+1)
		}
		l.running = 0
	}
	for _, want := range []int{2, 4, 8, 8} {
		l.learn(now, answer{result: Delivered}, time.Millisecond, 8, 0.5)
		if l.width != want || l.failures != 0 || !l.notBefore.IsZero() {
			t.Errorf("a success: got width %d, %d failures, held until %v; want width %d", l.width, l.failures, l.notBefore, want)
		}
	}
	l.learn(now, answer{result: Rejected, retryAfter: "60"}, time.Millisecond, 8, 0.5)
	if got := l.notBefore.Sub(now); got != time.Minute {
		t.Errorf("Retry-After: held %v, want a minute", got)
	}
}

// What is put off comes back one after the other, at the endpoint's pace, and
// within a bound.
func TestLinePlaces(t *testing.T) {
	l := &line{}
	l.reset()
	l.took, l.width = 100*time.Millisecond, 2
	last := started
	for n := range 100 {
		at := l.place(started, 0.5)
		if want := started.Add(minPutOff + time.Duration(n)*50*time.Millisecond); !at.Equal(want) {
			t.Fatalf("item %d: got %v, want %v", n, at.Sub(started), want.Sub(started))
		}
		last = at
	}
	for range 100_000 {
		at := l.place(started, 0.999)
		if at.Before(last) || at.Sub(started) > maxPutOff*3/2 {
			t.Fatalf("got %v after %v", at.Sub(started), last.Sub(started))
		}
	}
	l.notBefore = started.Add(time.Hour)
	if at := l.place(started, 0.5); at.Before(l.notBefore) {
		t.Errorf("a hold of an hour: got %v", at.Sub(started))
	}
}

func TestLineBounds(t *testing.T) {
	l := &line{}
	l.reset()
	for l.takes(started, true) {
		l.waiting = append(l.waiting, job{})
		if len(l.waiting) > maxLine {
			t.Fatalf("a line of %d", len(l.waiting))
		}
	}
	if l.takes(started, false) {
		t.Error("it takes one where memory is short")
	}
	l.waiting = l.waiting[:2]
	if !l.takes(started, false) {
		t.Error("a new endpoint gets no chance where memory is short")
	}
	l.waiting = nil
	l.used = started
	if l.idle(started.Add(forget)) || !l.idle(started.Add(forget+time.Second)) {
		t.Error("it is forgotten at another time than it should")
	}
}
