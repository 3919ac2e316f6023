package access

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of a [Rate].
const (
	MaxRateLimit  = 1_000_000           // calls in one period
	MinRatePeriod = time.Second         // also the grain: periods are whole seconds, as HTTP's fields tell them
	MaxRatePeriod = 30 * 24 * time.Hour // longer counts belong to a quota, which is not a rate
	MaxRates      = 4                   // windows of one limit
)

// Rate is how many calls fit into a period, written "100/1s".
type Rate struct {
	Limit  int64         // 1 … MaxRateLimit
	Period time.Duration // MinRatePeriod … MaxRatePeriod, in whole seconds
}

// ParseRate reads "100/1s": a count, a slash, and a duration of Go's.
func ParseRate(s string) (Rate, error) {
	count, period, ok := strings.Cut(s, "/")
	n, err := strconv.ParseInt(count, 10, 64)
	if !ok || err != nil || n < 1 || n > MaxRateLimit || count[0] == '+' {
		return Rate{}, fmt.Errorf("rate %.40q is not of the form 100/1s, with 1 … %d calls", s, MaxRateLimit)
	}
	d, err := time.ParseDuration(period)
	if err != nil || d < MinRatePeriod || d > MaxRatePeriod || d%MinRatePeriod != 0 {
		return Rate{}, fmt.Errorf("rate %.40q: the period is whole seconds, 1s … %s", s, short(MaxRatePeriod))
	}
	return Rate{n, d}, nil
}

// Window names the period alone, such as "1s", "15m" or "24h".
func (r Rate) Window() string { return short(r.Period) }

// String writes what [ParseRate] reads.
func (r Rate) String() string { return strconv.FormatInt(r.Limit, 10) + "/" + r.Window() }

// MarshalText writes the rate.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the rate.
func (r *Rate) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRate(string(text))
	return err
}

// short writes a duration of whole seconds without the zeros behind it.
func short(d time.Duration) string {
	s := d.String()
	if trimmed, ok := strings.CutSuffix(s, "m0s"); ok {
		s = trimmed + "m"
	}
	if trimmed, ok := strings.CutSuffix(s, "h0m"); ok {
		s = trimmed + "h"
	}
	return s
}

// CheckRates refuses the windows of one limit that are too many, or of which two
// have the same period.
func CheckRates(rates []Rate) error {
	if len(rates) > MaxRates {
		return fmt.Errorf("a limit has at most %d windows", MaxRates)
	}
	for i, r := range rates {
		if slices.ContainsFunc(rates[:i], func(o Rate) bool { return o.Period == r.Period }) {
			return fmt.Errorf("two windows of %s in one limit", r.Window())
		}
	}
	return nil
}
