package ratelimit

import (
	"strconv"
	"time"

	"github.com/purser-pay/purser/modules/access"
)

// Fields writes the values of RateLimit-Policy and RateLimit as
// draft-ietf-httpapi-ratelimit-headers-10 has them: every window in the one, and
// the tightest in the other. Its t is the time until the window is empty again,
// and where the call was refused the time until it would pass. Both are empty
// where there are no states.
func Fields(states []State) (policy, limit string) {
	if len(states) == 0 {
		return "", ""
	}
	b := make([]byte, 0, 96)
	tightest := 0
	for i := range states {
		s := &states[i]
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(s.appendName(b), ";q="...)
		b = strconv.AppendInt(b, s.Rate.Limit, 10)
		if s.Concurrent {
			b = append(b, `;qu="concurrent-requests"`...)
		} else {
			b = append(b, ";w="...)
			b = strconv.AppendInt(b, Seconds(s.Rate.Period), 10)
		}
		if s.tighter(&states[tightest]) {
			tightest = i
		}
	}
	policy = string(b)
	s := &states[tightest]
	b = append(s.appendName(b[:0]), ";r="...)
	b = strconv.AppendInt(b, s.Remaining, 10)
	switch {
	case s.Retry > 0:
		b = append(b, ";t="...)
		b = strconv.AppendInt(b, Seconds(s.Retry), 10)
	case !s.Concurrent:
		b = append(b, ";t="...)
		b = strconv.AppendInt(b, Seconds(s.Reset), 10)
	}
	return policy, string(b)
}

// appendName appends the window's name as a structured string: "key-1s".
func (s *State) appendName(b []byte) []byte {
	b = append(append(b, '"'), s.Scope...)
	if s.Concurrent {
		return append(b, `-in-flight"`...)
	}
	b = append(append(b, '-'), access.Rate{Period: s.Rate.Period}.Window()...)
	return append(b, '"')
}

// tighter tells whether s leaves less room than o: the longer wait, then the
// smaller rest.
func (s *State) tighter(o *State) bool {
	if s.Retry != o.Retry {
		return s.Retry > o.Retry
	}
	return s.Remaining < o.Remaining
}

// Seconds rounds a duration up to whole seconds.
func Seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
