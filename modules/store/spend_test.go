package store

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestAdditionTo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                string
		total, delta, limit int64
		want                int64
		rest                int64 // -1 = it fits
	}{
		{"from nothing", 0, 5, 10, 5, -1},
		{"to the limit", 5, 5, 10, 10, -1},
		{"one over", 5, 6, 10, 5, 5},
		{"full", 10, 1, 10, 10, 0},
		{"limit was lowered", 20, 1, 10, 20, 0},
		{"no room at all", 0, 1, 0, 0, 0},
		{"negative limit", 0, 1, -5, 0, 0},
		{"lowest limit", math.MaxInt64, 1, math.MinInt64, math.MaxInt64, 0},
		{"look", 20, 0, 10, 20, -1},
		{"given back", 8, -5, 10, 3, -1},
		{"given back over the limit", 20, -5, 10, 15, -1},
		{"more given back than there is", 3, -5, 10, 0, -1},
		{"all there can be", 0, math.MaxInt64, math.MaxInt64, math.MaxInt64, -1},
		{"overflow", 1, math.MaxInt64, math.MaxInt64, 1, math.MaxInt64 - 1},
		{"lowest delta", math.MaxInt64, math.MinInt64, 0, 0, -1},
	} {
		a := Addition{Counter: "c", Delta: test.delta, Limit: test.limit}
		got, err := a.To(test.total)
		if got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
		limit, refused := IsLimit(err)
		switch {
		case refused != (test.rest >= 0) || refused != errors.Is(err, ErrConflict):
			t.Errorf("%s: got error %v, want a refusal %v", test.name, err, test.rest >= 0)
		case refused && limit.Rest() != test.rest:
			t.Errorf("%s: got rest %d, want %d", test.name, limit.Rest(), test.rest)
		}
	}
}

func TestAdditionCheck(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{
		"daily key_1 EUR 2026-03-01": true, "ä": true, strings.Repeat("x", MaxCounterName): true,
		"": false, strings.Repeat("x", MaxCounterName+1): false, "a\x00b": false, "\xff": false,
	} {
		if err := (&Addition{Counter: name}).Check(); (err == nil) != good {
			t.Errorf("%.40q: got error %v, want none %v", name, err, good)
		}
	}
}

// TestNonceDigest: where the space ends and the value begins makes a difference.
func TestNonceDigest(t *testing.T) {
	t.Parallel()
	seen := map[[32]byte]Nonce{}
	for _, n := range []Nonce{
		{Space: "ab", Value: "c"},
		{Space: "a", Value: "bc"},
		{Space: "", Value: "abc"},
		{Space: "abc", Value: ""},
		{Space: "ab", Value: "C"},
		{Space: "ab", Value: "c\x00"},
		{Space: "ab\x00", Value: "c"},
	} {
		if other, ok := seen[n.Digest()]; ok {
			t.Errorf("%q and %q have one digest", n, other)
		}
		seen[n.Digest()] = n
	}
	a, b := Nonce{Space: "s", Value: "v"}, Nonce{Space: "s", Value: "v", Expires: time.Unix(1, 0)}
	if a.Digest() != b.Digest() {
		t.Error("the expiry is part of the digest")
	}
}
