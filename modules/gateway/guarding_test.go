package gateway

import (
	"testing"
	"time"
)

// Who floods the gateway does not flood its log, and what is left out is counted.
func TestTrickle(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f := newTrickle(func() time.Time { return now })
	told := 0
	for range 3 * maxTold {
		if ok, skipped := f.take("a"); ok {
			if told++; skipped != 0 {
				t.Errorf("%d left out before number %d", skipped, told)
			}
		}
	}
	if ok, _ := f.take("b"); told != maxTold || !ok {
		t.Errorf("%d of a kind were told in a second, want %d, and another kind: %t", told, maxTold, ok)
	}
	now = now.Add(time.Second)
	if ok, skipped := f.take("a"); !ok || skipped != 2*maxTold {
		t.Errorf("the next second: told %t, %d left out; want %d", ok, skipped, 2*maxTold)
	}
	if _, skipped := f.take("a"); skipped != 0 {
		t.Errorf("%d are told to be left out twice", skipped)
	}
}

// All nodes sign with one key, which nothing tells of the seal key.
func TestResponseKey(t *testing.T) {
	one, err := responseKey(make([]byte, keyBytes))
	if err != nil {
		t.Fatal(err)
	}
	again, err := responseKey(make([]byte, keyBytes))
	if err != nil {
		t.Fatal(err)
	}
	other, err := responseKey([]byte("another seal key of 32 bytes ..."))
	if err != nil {
		t.Fatal(err)
	}
	if one.ID() != again.ID() || string(one.Public().PEM()) != string(again.Public().PEM()) {
		t.Error("the same seal key makes two response keys")
	}
	if one.ID() == other.ID() || string(one.Public().PEM()) == string(other.Public().PEM()) {
		t.Error("two seal keys make one response key")
	}
}
