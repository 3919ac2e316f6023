package ratelimit

import (
	"strconv"
	"time"

	"github.com/purser-pay/purser/modules/access"
)

// maxFields bounds the windows that one answer tells, whatever policies add.
const maxFields = 16

// Fields writes the values of RateLimit-Policy and RateLimit as
// draft-ietf-httpapi-ratelimit-headers-10 has them: every window in the one, up to
// 16, and the tightest in the other. Its t is the time until the window is empty
// again, and where the call was refused the time until it would pass. Both are
// empty where there are no states.
func Fields(states []State) (policy, limit string) { return FieldsAfter(states, 0) }

// FieldsAfter is [Fields] for an answer with a Retry-After, which may be about
// something else: the draft wants it to be no earlier than t, so a t that is later
// is left out. 0 = the answer has none.
func FieldsAfter(states []State, retry time.Duration) (policy, limit string) {
	if len(states) == 0 {
		return "", ""
	}
	tightest := 0
	for i := range states {
		if states[i].tighter(&states[tightest]) {
			tightest = i
		}
	}
	b := make([]byte, 0, 96)
	for i := range states {
		room := i < maxFields-1 || i == maxFields-1 && tightest < maxFields
		if !room && i != tightest {
			continue
		}
		s := &states[i]
		if len(b) > 0 {
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
	}
	policy = string(b)
	s := &states[tightest]
	b = append(s.appendName(b[:0]), ";r="...)
	b = strconv.AppendInt(b, s.Remaining, 10)
	wait, told := s.Reset, !s.Concurrent
	if s.Retry > 0 {
		wait, told = s.Retry, true
	}
	if told && (retry <= 0 || Seconds(wait) <= Seconds(retry)) {
		b = append(b, ";t="...)
		b = strconv.AppendInt(b, Seconds(wait), 10)
	}
	return policy, string(b)
}

// appendName appends the window's name as a structured string: "key-1s", and
// "cards:key-1s" for one that the rule cards asks for.
func (s *State) appendName(b []byte) []byte {
	b = append(b, '"')
	if s.Rule != "" {
		b = append(appendPlain(b, s.Rule), ':')
	}
	b = append(b, s.Scope...)
	if s.Concurrent {
		return append(b, `-in-flight"`...)
	}
	b = append(append(b, '-'), access.Rate{Period: s.Rate.Period}.Window()...)
	return append(b, '"')
}

// appendPlain appends what a string of RFC 9651 §3.3.3 may hold as it is, and _
// for the rest.
func appendPlain(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			c = '_'
		}
		b = append(b, c)
	}
	return b
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
