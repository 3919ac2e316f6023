package outbox

import (
	"net/http"
	"strconv"
	"time"
)

// Delays are the pauses after the first try, the second, and so on, before
// jitter; after the last of them comes the last try. Together they are just
// under [Lifetime].
var Delays = []time.Duration{
	5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 3 * time.Hour, 7 * time.Hour,
	12 * time.Hour, 12 * time.Hour, 12 * time.Hour, 12 * time.Hour, 12 * time.Hour,
}

const (
	// Lifetime is how long an event is tried at an endpoint, and how long an
	// endpoint may do nothing but fail before it is paused.
	Lifetime = 72 * time.Hour
	// Jitter is the part of a delay by which it may be shorter or longer.
	Jitter = 0.1
	// MaxRetryAfter bounds what an endpoint's Retry-After can ask for.
	MaxRetryAfter = time.Hour
)

// next returns the pause after a try. tries counts those so far; ok is false if
// there is none to come. chance is in [0, 1).
func next(tries int, chance float64) (pause time.Duration, ok bool) {
	if tries < 1 {
		tries = 1
	}
	if tries > len(Delays) {
		return 0, false
	}
	return vary(Delays[tries-1], chance), true
}

// vary spreads a pause evenly between 1 − Jitter and 1 + Jitter of its length.
func vary(pause time.Duration, chance float64) time.Duration {
	return time.Duration(float64(pause) * (1 + Jitter*(2*chance-1)))
}

// retryAfter reads the header of that name (RFC 9110 §10.2.3): seconds, or a
// date. What is malformed or past is 0.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, MaxRetryAfter)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}
