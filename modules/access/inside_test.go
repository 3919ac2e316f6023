package access

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTable: a table holds what a map would hold, and a change of it leaves the tables
// before it as they were.
func TestTable(t *testing.T) {
	type record struct {
		ID      string
		Version int
	}
	id := func(r *record) string { return r.ID }
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	name := func() string { return fmt.Sprint("key_", random.IntN(3000)) }

	want := map[string]record{}
	var first []record
	for n := range 1500 {
		r := record{name(), n}
		first, want[r.ID] = append(first, r), r
	}
	now := newTable(first, id)
	for step := range 200 {
		before, was := now, now.records()
		var ids []string
		var there []record
		for n := range random.IntN(20) {
			r := record{name(), 10_000*step + n}
			ids = append(ids, r.ID)
			if random.IntN(3) > 0 {
				there = append(there, r)
			}
		}
		for _, id := range ids {
			delete(want, id)
		}
		for _, r := range there {
			want[r.ID] = r
		}
		now = now.with(ids, byID(there, id))
		if diff := cmp.Diff(want, now.records()); diff != "" {
			t.Fatalf("seed %d, step %d (-want +got):\n%s", seed, step, diff)
		}
		if diff := cmp.Diff(was, before.records()); diff != "" {
			t.Fatalf("seed %d, step %d: the table before it has changed:\n%s", seed, step, diff)
		}
		for _, id := range ids {
			if got := now.get(id); (got != nil) != (want[id].ID == id) || got != nil && *got != want[id] {
				t.Fatalf("seed %d, step %d: got %v for %s, want %v", seed, step, got, id, want[id])
			}
		}
	}
}
