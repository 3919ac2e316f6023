package ratelimit

import (
	"context"
	"hash/maphash"
	"sync"
	"time"
)

const (
	shards = 16 // of one kind: calls of different merchants seldom wait for each other
	// DefaultSlots bounds the windows that one kind may have in memory: some 10 MB.
	DefaultSlots = 1 << 16
	// sample is how many windows are looked at for the one that goes.
	sample = 8
)

// Memory counts in this process. It keeps a bounded number of windows: where one
// more is needed, the emptiest of a random few is forgotten, which at worst
// gives somebody their limit anew. Safe for concurrent use.
type Memory struct {
	Contract
	now   func() time.Time
	seed  maphash.Seed
	kinds [kinds][shards]shard
}

var _ Store = (*Memory)(nil)

type shard struct {
	mu      sync.Mutex
	most    int
	drained map[slot]*int64 // Unix nanoseconds
}

// slot is one window of one who is counted.
type slot struct {
	group, name, mode, rule string
	scope                   Scope
	period                  time.Duration
}

// NewMemory returns an empty store with room for a number of windows of each
// kind, rounded up; 0 = [DefaultSlots].
func NewMemory(now func() time.Time, slots int) *Memory {
	if slots <= 0 {
		slots = DefaultSlots
	}
	m := &Memory{now: now, seed: maphash.MakeSeed()}
	m.Contract = Contract{Taker: m, Now: now}
	for k := range m.kinds {
		for s := range m.kinds[k] {
			m.kinds[k][s] = shard{most: (slots + shards - 1) / shards, drained: map[slot]*int64{}}
		}
	}
	return m
}

func (m *Memory) shard(g Group) *shard {
	return &m.kinds[g.Kind][maphash.String(m.seed, g.ID)%shards]
}

// Take implements [Store].
func (m *Memory) Take(_ context.Context, g Group, charges []Charge, states []State) ([]State, error) {
	d, err := Weigh(charges)
	if err != nil {
		return states, err
	}
	var levels [MaxCharges]int64
	fit := m.pour(g, &d, &levels)
	return d.States(states, fit, levels[:]), nil
}

// Give implements [Store].
func (m *Memory) Give(_ context.Context, g Group, charges []Charge, ago time.Duration) error {
	d, err := Unweigh(charges, ago)
	if err != nil {
		return err
	}
	var levels [MaxCharges]int64
	m.pour(g, &d, &levels)
	return nil
}

// pour puts the needs of a decision in where all of them fit, and tells whether
// they did and how the windows stood before.
func (m *Memory) pour(g Group, d *Decision, levels *[MaxCharges]int64) (fit bool) {
	now := m.now().UnixNano()
	s := m.shard(g)
	s.mu.Lock()
	defer s.mu.Unlock()
	fit = true
	var cells [MaxCharges]*int64 // nil: nobody has called yet, or long ago
	for i := range d.charges {
		if cells[i] = s.drained[slotOf(g, &d.charges[i])]; cells[i] != nil {
			// A clock that was set back makes no window more than full.
			levels[i] = min(max(*cells[i]-now, 0), d.Capacity[i])
		}
		fit = fit && levels[i]+d.Need[i] <= d.Capacity[i]
	}
	if !fit {
		return false
	}
	for i := range d.charges {
		switch drained := now + max(levels[i]+d.Need[i], 0); {
		case d.Need[i] == 0:
		case cells[i] != nil:
			*cells[i] = drained
		case d.Need[i] > 0:
			s.add(slotOf(g, &d.charges[i]), now, drained)
		}
	}
	return true
}

// Forget implements [Taker].
func (m *Memory) Forget(_ context.Context, g Group, c Charge) error {
	s := m.shard(g)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.drained, slotOf(g, &c))
	return nil
}

// Len is the number of windows in memory, those that have drained included.
func (m *Memory) Len() int {
	n := 0
	for k := range m.kinds {
		for i := range m.kinds[k] {
			s := &m.kinds[k][i]
			s.mu.Lock()
			n += len(s.drained)
			s.mu.Unlock()
		}
	}
	return n
}

func slotOf(g Group, c *Charge) slot {
	return slot{g.ID, c.Name, c.Mode, c.Rule, c.Scope, c.Rate.Period}
}

// add begins one window, and makes room for it where there is none.
func (s *shard) add(at slot, now, drained int64) {
	if len(s.drained) >= s.most {
		s.evict(now)
	}
	s.drained[at] = &drained
}

// evict forgets the windows of a random few that have drained, which nobody can
// tell from new ones, and where there are none the one that drains first.
func (s *shard) evict(now int64) {
	var first slot
	var least int64
	seen, gone := 0, 0
	for at, drained := range s.drained { // the order of a map's range is random
		if *drained <= now {
			delete(s.drained, at)
			gone++
		} else if least == 0 || *drained < least {
			first, least = at, *drained
		}
		if seen++; seen == sample {
			break
		}
	}
	if gone == 0 {
		delete(s.drained, first)
	}
}
