package access

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// UsageEvery is how often the use of one key is written down by one node.
	UsageEvery = time.Minute
	// maxUsage bounds the keys that are remembered. Beyond it all are forgotten, at
	// the cost of one write more for each that is in use.
	maxUsage = 100_000
)

// Usage tells when the use of a key is worth a write to the store: at its first
// use, and then once in [UsageEvery]. The zero value is ready. Safe for concurrent
// use.
type Usage struct {
	last sync.Map // *atomic.Int64 by the key's ID: Unix nanoseconds of the last write
	size atomic.Int64
}

// Due tells whether a key that is used at now should be written down; it answers
// true to one of those who ask at once. A clock that was set back far is believed.
func (u *Usage) Due(key string, now time.Time) bool {
	at := now.UnixNano()
	v, ok := u.last.Load(key)
	if !ok {
		first := new(atomic.Int64)
		first.Store(at)
		if v, ok = u.last.LoadOrStore(key, first); !ok {
			if u.size.Add(1) > maxUsage {
				u.size.Store(0)
				u.last.Clear()
			}
			return true
		}
	}
	last, _ := v.(*atomic.Int64)
	was := last.Load()
	if d := time.Duration(at - was); d < UsageEvery && d > -UsageEvery {
		return false
	}
	return last.CompareAndSwap(was, at)
}
