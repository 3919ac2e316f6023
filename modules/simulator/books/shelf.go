package books

import (
	"iter"
	"time"
)

// shelf is a map that remembers the order in which things came, and forgets
// the oldest. Its holder locks.
type shelf[K comparable, V any] struct {
	max   int
	items map[K]V
	order []K // with holes: a key that is gone is skipped
	head  int
}

func newShelf[K comparable, V any](limit int) *shelf[K, V] {
	return &shelf[K, V]{max: limit, items: map[K]V{}}
}

func (s *shelf[K, V]) len() int { return len(s.items) }

func (s *shelf[K, V]) get(k K) (V, bool) {
	v, ok := s.items[k]
	return v, ok
}

func (s *shelf[K, V]) put(k K, v V) {
	if _, have := s.items[k]; !have {
		s.order = append(s.order, k)
	}
	s.items[k] = v
}

// remove forgets k. The hole in the order is closed by [shelf.evict].
func (s *shelf[K, V]) remove(k K) { delete(s.items, k) }

// evictScan bounds how many unfinished old items one eviction steps over.
const evictScan = 64

// evict drops old items for which may holds, until the bound is kept; an item
// that must stay goes to the back of the order.
func (s *shelf[K, V]) evict(may func(V) bool, dropped func(V)) {
	for range evictScan {
		if len(s.order)-s.head <= s.max {
			break
		}
		k := s.order[s.head]
		s.head++
		v, ok := s.items[k]
		switch {
		case !ok:
		case may(v):
			delete(s.items, k)
			if dropped != nil {
				dropped(v)
			}
		default:
			s.order = append(s.order, k)
		}
	}
	if s.head > len(s.order)/2 && s.head > evictScan {
		s.order = append(s.order[:0:0], s.order[s.head:]...)
		s.head = 0
	}
}

func (s *shelf[K, V]) newest() iter.Seq[V] {
	return func(yield func(V) bool) {
		for i := len(s.order) - 1; i >= s.head; i-- {
			if v, ok := s.items[s.order[i]]; ok && !yield(v) {
				return
			}
		}
	}
}

func (s *shelf[K, V]) oldest() iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, k := range s.order[s.head:] {
			if v, ok := s.items[k]; ok && !yield(v) {
				return
			}
		}
	}
}

// afterFunc is the default of [Config.AfterFunc].
func afterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop // the default of the timer that is handed in
}
