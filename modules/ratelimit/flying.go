package ratelimit

import (
	"hash/maphash"
	"sync"
)

// flying counts calls in flight, in this process alone: a node that dies takes
// its calls along, and leaves no count behind. It holds as many entries as calls
// are in flight.
type flying struct {
	seed   maphash.Seed
	shards [shards]struct {
		mu    sync.Mutex
		count map[berth]int64
	}
}

// berth is where one limit counts.
type berth struct {
	group, name, mode string
	scope             Scope
}

func newFlying() *flying {
	f := &flying{seed: maphash.MakeSeed()}
	for i := range f.shards {
		f.shards[i].count = map[berth]int64{}
	}
	return f
}

// board lets one more call in at every berth of a group where all have room,
// else at none, and appends how they stand to states. Limits of 0 do not count.
func (f *flying) board(group string, berths []berth, limits []int64, states []State) (_ []State, in bool) {
	s := &f.shards[maphash.String(f.seed, group)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	in = true
	for i, b := range berths {
		in = in && (limits[i] == 0 || s.count[b] < limits[i])
	}
	for i, b := range berths {
		if limits[i] == 0 {
			continue
		}
		st := State{Scope: b.scope, Concurrent: true}
		st.Rate.Limit = limits[i]
		if in {
			s.count[b]++
		} else if s.count[b] >= limits[i] {
			st.Retry = concurrentRetry
		}
		// A limit that was lowered by a reload may be under the count.
		st.Remaining = max(limits[i]-s.count[b], 0)
		states = append(states, st)
	}
	return states, in
}

// leave ends one call at every berth that counts.
func (f *flying) leave(group string, berths []berth, limits []int64) {
	s := &f.shards[maphash.String(f.seed, group)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, b := range berths {
		if limits[i] == 0 {
			continue
		}
		if s.count[b]--; s.count[b] <= 0 {
			delete(s.count, b)
		}
	}
}
