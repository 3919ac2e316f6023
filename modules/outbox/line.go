package outbox

import (
	"time"
)

// How one endpoint is treated. An endpoint that is slow or dead may cost the
// others nothing: it gets few connections, and what waits for it waits in the
// store and not in memory.
const (
	// holdAfter failures in a row, an endpoint is held back: nothing is tried
	// there but one item when a hold ends.
	holdAfter = 3
	// The first hold, and the longest; each is twice as long as the one before.
	firstHold, longestHold = 10 * time.Second, 10 * time.Minute
	// minPutOff and maxPutOff bound for how long an item is put off that finds its
	// endpoint busy.
	minPutOff, maxPutOff = 250 * time.Millisecond, 5 * time.Minute
	// guess is how long a try takes at an endpoint that is not known yet.
	guess = 20 * time.Millisecond
	// leastTook keeps items that are put off apart, however quick an endpoint is.
	leastTook = 5 * time.Millisecond
	// maxLine bounds the items that wait in memory for one endpoint.
	maxLine = 64
	// forget is how long an endpoint must be idle before it is forgotten.
	forget = time.Hour
)

// line is what one process knows of one endpoint, in memory. The lock of the
// Outbox guards it.
type line struct {
	endpoint string
	url      string // as of the last try

	waiting []job
	running int
	listed  bool // among the lines that are ready
	// width is how many tries may run at once: 1 for an endpoint that is new or
	// failing, twice as many with every success.
	width int
	// failures in a row.
	failures int
	// notBefore is when a hold ends.
	notBefore time.Time
	// turn is when the next item that is put off may come back, so that they come
	// one after the other, at the pace of the endpoint.
	turn time.Time
	// took is how long a try takes, as a moving average.
	took time.Duration
	used time.Time
}

// takes tells whether one more item may wait in memory. A failing endpoint has
// no line; plenty says that there is memory for longer ones.
func (l *line) takes(now time.Time, plenty bool) bool {
	n := len(l.waiting) + l.running
	switch {
	case now.Before(l.notBefore):
		return false
	case l.failures > 0:
		return n == 0
	case n < 3*l.width:
		return true
	}
	return plenty && len(l.waiting) < maxLine
}

// ready tells whether a try may start.
func (l *line) ready() bool { return len(l.waiting) > 0 && l.running < l.width }

// place returns when an item comes back that cannot wait in memory.
func (l *line) place(now time.Time, chance float64) time.Time {
	at := now.Add(minPutOff)
	for _, t := range []time.Time{l.notBefore, l.turn} {
		if t.After(at) {
			at = t
		}
	}
	if latest := now.Add(max(maxPutOff, l.notBefore.Sub(now))); at.After(latest) {
		// There are more than come to their turn in that time; they try again,
		// not all at once.
		return latest.Add(vary(maxPutOff/4, chance))
	}
	l.turn = at.Add(max(l.took, leastTook) / time.Duration(l.width))
	return at
}

// learn takes in how a try went.
func (l *line) learn(now time.Time, a answer, took time.Duration, widest int, chance float64) {
	l.took += (took - l.took) / 4
	if a.result == Delivered {
		l.failures, l.notBefore = 0, time.Time{}
		l.width = min(2*l.width, widest)
		return
	}
	l.width = 1
	l.failures++
	if n := l.failures - holdAfter; n >= 0 {
		hold := longestHold
		if n < 6 { // 2^6 times the first is longer than the longest
			hold = min(firstHold<<n, longestHold)
		}
		l.notBefore = now.Add(vary(hold, chance))
	}
	if asked := now.Add(retryAfter(a.retryAfter, now)); asked.After(l.notBefore) && asked.After(now) {
		l.notBefore = asked
	}
}

// reset forgets what is held against an endpoint.
func (l *line) reset() {
	l.failures, l.notBefore, l.turn, l.took, l.width = 0, time.Time{}, time.Time{}, guess, 1
}

// idle tells that a line may be forgotten.
func (l *line) idle(now time.Time) bool {
	return l.running == 0 && len(l.waiting) == 0 && now.Sub(l.used) > forget && now.After(l.notBefore)
}
