package access

import (
	"hash/maphash"
	"maps"
)

// tableShards makes a shard of 100,000 records a hundred of them, and the list of the
// shards, which each change copies, 8 KiB.
const tableShards = 1 << 10

// table holds records by their IDs. It never changes, so that it is read without a
// lock; a changed one shares with it all shards but those of what has changed.
type table[V any] struct {
	seed   maphash.Seed
	shards [tableShards]map[string]*V
}

// newTable returns a table of records, which it keeps pointers to.
func newTable[V any](records []V, id func(*V) string) *table[V] {
	t := &table[V]{seed: maphash.MakeSeed()}
	for i := range records {
		name := id(&records[i])
		shard := &t.shards[t.shardOf(name)]
		if *shard == nil {
			*shard = make(map[string]*V, len(records)/tableShards+1)
		}
		(*shard)[name] = &records[i]
	}
	return t
}

func (t *table[V]) shardOf(id string) int {
	return int(maphash.String(t.seed, id) % tableShards)
}

// get returns the record of an ID, which must not be changed; nil = there is none.
func (t *table[V]) get(id string) *V { return t.shards[t.shardOf(id)][id] }

// with returns a table in which what is there takes the place of the records of these
// IDs. Those of them that are not there are gone.
func (t *table[V]) with(ids []string, there map[string]*V) *table[V] {
	next, own := *t, map[int]bool{}
	for _, id := range ids {
		n := next.shardOf(id)
		shard := &next.shards[n]
		if !own[n] {
			own[n] = true
			if *shard = maps.Clone(*shard); *shard == nil {
				*shard = map[string]*V{}
			}
		}
		if v, ok := there[id]; ok {
			(*shard)[id] = v
		} else {
			delete(*shard, id)
		}
	}
	return &next
}
