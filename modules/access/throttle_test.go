package access_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/access"
)

var (
	thief = netip.MustParseAddr("203.0.113.66")
	shop  = netip.MustParseAddr("198.51.100.7")
)

const victim = "key_01h455vb4pex5vsknk084sn02q"

// address returns the nth of many.
func address(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{100, byte(n >> 16), byte(n >> 8), byte(n)})
}

// guess makes an attempt that fails, where it is let, and tells whether it was.
func guess(th *access.Throttle, id string, from netip.Addr, now time.Time) bool {
	if th.Wait(id, from, now) > 0 {
		return false
	}
	th.Failed(id, from, now)
	return true
}

// guesses makes n attempts at one moment and counts those that were let.
func guesses(th *access.Throttle, n int, id func(int) string, from netip.Addr, now time.Time) (let int) {
	for i := range n {
		if guess(th, id(i), from, now) {
			let++
		}
	}
	return let
}

func always(id string) func(int) string { return func(int) string { return id } }

func numbered(i int) string { return fmt.Sprintf("key_%026d", i) }

func TestThrottlePair(t *testing.T) {
	th := access.NewThrottle(access.Limits{})
	now := start
	for i, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute, 15 * time.Minute} {
		if got := guesses(th, 20, always(victim), thief, now); got != 10 {
			t.Errorf("round %d: got %d attempts, want 10", i, got)
		}
		if got := th.Wait(victim, thief, now); got != want {
			t.Errorf("round %d: got a wait of %s, want %s", i, got, want)
		}
		if got := th.Wait(victim, thief, now.Add(want-time.Nanosecond)); got != time.Nanosecond {
			t.Errorf("round %d, at its end: got a wait of %s, want 1ns", i, got)
		}
		if got := th.Wait(victim, shop, now); got != 0 {
			t.Errorf("round %d: the merchant waits %s, want not", i, got)
		}
		if got := th.Wait(numbered(1), thief, now); got != 0 {
			t.Errorf("round %d: another key from the same address waits %s, want not", i, got)
		}
		now = now.Add(want)
	}
	now = now.Add(31 * time.Minute) // which is over twice the longest refusal
	guesses(th, 20, always(victim), thief, now)
	if got := th.Wait(victim, thief, now); got != 30*time.Second {
		t.Errorf("after a long silence: got a wait of %s, want 30s", got)
	}
}

func TestThrottleWindow(t *testing.T) {
	th := access.NewThrottle(access.Limits{})
	for i := range 100 { // nine in a minute, again and again
		now := start.Add(time.Duration(i/9)*time.Minute + time.Duration(i%9)*time.Second)
		if !guess(th, victim, thief, now) {
			t.Fatalf("attempt %d was held back", i)
		}
	}
	// A success begins the count anew, for its pair alone.
	now := start.Add(time.Hour)
	guesses(th, 9, always(victim), thief, now)
	guesses(th, 9, always(numbered(1)), thief, now)
	th.Succeeded(victim, thief, now)
	if got := guesses(th, 20, always(victim), thief, now); got != 10 {
		t.Errorf("after a success: got %d attempts, want 10", got)
	}
	if got := guesses(th, 20, always(numbered(1)), thief, now); got != 1 {
		t.Errorf("another key after that success: got %d attempts, want 1", got)
	}
}

func TestThrottleAddress(t *testing.T) {
	th := access.NewThrottle(access.Limits{})
	// Behind one address are a merchant that works, and somebody who tries many keys.
	th.Failed(numbered(0), thief, start)
	th.Succeeded(victim, thief, start)
	if got := guesses(th, 1000, numbered, thief, start); got != 49 {
		t.Errorf("got %d attempts with many keys, want 49 after the first", got)
	}
	for name, tt := range map[string]struct {
		id    string
		from  netip.Addr
		after time.Duration
		held  bool
	}{
		"a key that was never tried":       {numbered(5000), thief, 0, true},
		"a key that was proved here":       {victim, thief, 0, false},
		"that key, just within the day":    {victim, thief, 30*time.Second - 1, false},
		"any key after the refusal":        {numbered(5000), thief, 30 * time.Second, false},
		"any key from the next address":    {numbered(5000), thief.Next(), 0, false},
		"a caller of whom nothing is said": {numbered(5000), netip.Addr{}, 0, false},
	} {
		if got := th.Wait(tt.id, tt.from, start.Add(tt.after)); (got > 0) != tt.held {
			t.Errorf("%s: got a wait of %s, want one %v", name, got, tt.held)
		}
	}
	// What was proved a day ago shares the fate of its address.
	later := start.Add(25 * time.Hour)
	guesses(th, 1000, numbered, thief, later)
	if got := th.Wait(victim, thief, later); got == 0 {
		t.Error("a key that was proved more than a day ago does not wait")
	}
	// And one that is proved can still be tried no more often than any.
	th.Succeeded(victim, shop, start)
	if got := guesses(th, 20, always(victim), shop, start); got != 10 {
		t.Errorf("a key that was proved: got %d attempts, want 10", got)
	}
}

func TestThrottleAddressForms(t *testing.T) {
	for name, tt := range map[string]struct {
		fails, asks string
		one         bool
	}{
		"IPv4 and IPv4 in IPv6":  {"192.0.2.1", "::ffff:192.0.2.1", true},
		"two of IPv4":            {"192.0.2.1", "192.0.2.2", false},
		"one /64":                {"2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true},
		"two /64":                {"2001:db8:0:1::1", "2001:db8:0:2::1", false},
		"a zone":                 {"fe80::1%a", "fe80::2%b", true},
		"IPv4 and IPv6 of zeros": {"0.0.0.0", "::", false},
	} {
		th := access.NewThrottle(access.Limits{})
		guesses(th, 10, always(victim), netip.MustParseAddr(tt.fails), start)
		if got := th.Wait(victim, netip.MustParseAddr(tt.asks), start); (got > 0) != tt.one {
			t.Errorf("%s: got a wait of %s, want one %v", name, got, tt.one)
		}
	}
}

// TestThrottleManyAddresses: an attack on one key from everywhere makes strangers
// slow, and the merchant not at all.
func TestThrottleManyAddresses(t *testing.T) {
	th := access.NewThrottle(access.Limits{})
	th.Failed(victim, shop, start) // a typo
	th.Succeeded(victim, shop, start)
	let := 0
	for i := range 2000 {
		let += guesses(th, 10, always(victim), address(i), start)
	}
	if want := 10*10 + 2*1990; let > want {
		t.Errorf("got %d attempts from 2000 addresses, want at most %d", let, want)
	}
	for name, from := range map[string]netip.Addr{"the merchant": shop, "a new address of the merchant": shop.Next()} {
		if got := th.Wait(victim, from, start); got != 0 {
			t.Errorf("%s waits %s, want not", name, got)
		}
	}
	if got := guesses(th, 20, always(victim), shop, start); got != 10 {
		t.Errorf("the merchant has %d attempts, want 10", got)
	}
	if got := guesses(th, 20, always(victim), address(5000), start); got != 2 {
		t.Errorf("a stranger has %d attempts, want 2", got)
	}
	if got := guesses(th, 20, always(victim), address(5001), start.Add(time.Minute)); got != 10 {
		t.Errorf("when it is over, a stranger has %d attempts, want 10", got)
	}
}

// TestThrottleClock: a clock that is set back locks nobody out for good.
func TestThrottleClock(t *testing.T) {
	th := access.NewThrottle(access.Limits{})
	guesses(th, 10, always(victim), thief, start)
	if got := th.Wait(victim, thief, start.Add(-time.Hour)); got != 0 {
		t.Errorf("an hour earlier: got a wait of %s, want none", got)
	}
	if got := guesses(th, 20, always(victim), thief, start.Add(-time.Hour)); got != 10 {
		t.Errorf("an hour earlier: got %d attempts, want 10", got)
	}
}

// TestNoThrottle: a nil one holds nobody back.
func TestNoThrottle(t *testing.T) {
	var th *access.Throttle
	th.Succeeded(victim, thief, start)
	if got := guesses(th, 100, always(victim), thief, start); got != 100 {
		t.Errorf("got %d attempts, want 100", got)
	}
}

// TestThrottleBounded floods the memory from many addresses. It stays bounded, and
// who is refused is not forgotten for it.
func TestThrottleBounded(t *testing.T) {
	const most = 1024
	th := access.NewThrottle(access.Limits{Addresses: most, Most: time.Hour, First: time.Hour})
	refused := make([]netip.Addr, 200)
	for i := range refused {
		refused[i] = address(1<<20 + i)
		guesses(th, 10, always(victim), refused[i], start)
	}
	for i := range 20 * most {
		guess(th, numbered(i%7), address(i), start.Add(time.Duration(i)*time.Millisecond/2))
	}
	if got := th.Len(); got > most {
		t.Errorf("%d addresses are remembered, want at most %d", got, most)
	}
	for _, from := range refused {
		if th.Wait(victim, from, start.Add(50*time.Second)) == 0 {
			t.Errorf("%s was forgotten", from)
		}
	}
	// Where all of them are refused, it is the newcomer that counts.
	for i := range 4 * most {
		guesses(th, 10, always(victim), address(2<<20+i), start.Add(time.Minute))
	}
	fresh := address(3 << 20)
	if got := guesses(th, 20, always(numbered(99)), fresh, start.Add(time.Minute)); got != 10 {
		t.Errorf("a fresh address among many that are refused has %d attempts, want 10", got)
	}
	if got := th.Wait(victim, shop, start.Add(time.Minute)); got != 0 {
		t.Errorf("who has not failed waits %s, want not", got)
	}
	if got := th.Len(); got > most {
		t.Errorf("%d addresses are remembered, want at most %d", got, most)
	}
}

// TestThrottleManyIDs: to try one key after the other brings no attempts more than
// the address has.
func TestThrottleManyIDs(t *testing.T) {
	th := access.NewThrottle(access.Limits{})
	let := 0
	for second := range 3600 {
		now := start.Add(time.Duration(second) * time.Second)
		let += guesses(th, 20, func(i int) string { return numbered(second*20 + i) }, thief, now)
	}
	// 0:00, 0:30, 1:30, 3:30, 7:30, 15:30, 30:30, 45:30 and so on.
	if got, want := let, 8*50; got != want {
		t.Errorf("got %d attempts in an hour, want %d", got, want)
	}
	// Between attempts with throw-away keys, a pair is not forgotten.
	th = access.NewThrottle(access.Limits{})
	let = 0
	for i := range 40 {
		if guess(th, victim, thief, start) {
			let++
		}
		guess(th, numbered(i), thief, start)
	}
	if let > 10 {
		t.Errorf("got %d attempts with one key among others, want at most 10", let)
	}
}

// TestThrottleStrangers is a property: whatever others do, who has not failed is
// never held back; who fails has no more attempts than the limits say.
func TestThrottleStrangers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 20 {
		th := access.NewThrottle(access.Limits{Address: 1 << 30})
		now, let := start, map[string]int{}
		honest := address(1 << 20)
		for range 2000 {
			now = now.Add(time.Duration(random.Int64N(int64(20 * time.Millisecond))))
			id, from := numbered(random.IntN(4)), address(random.IntN(20))
			if random.IntN(50) == 0 {
				th.Succeeded(id, honest, now)
			} else if guess(th, id, from, now) {
				let[id+from.String()]++
			}
			if wait := th.Wait(id, honest, now); wait > 0 {
				t.Fatalf("round %d: an address that never failed waits %s for %s", round, wait, id)
			}
		}
		for pair, n := range let {
			if n > 10 { // all of it took less than the first refusal and the window
				t.Errorf("round %d: %s had %d attempts, want at most 10", round, pair, n)
			}
		}
	}
}

// TestThrottleTogether runs many at once, for the race detector.
func TestThrottleTogether(t *testing.T) {
	th := access.NewThrottle(access.Limits{Addresses: 1})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				from, id := address(i%1999), numbered(i%20)
				if i%7 == worker {
					th.Succeeded(id, from, start)
				}
				guess(th, id, from, start.Add(time.Duration(i)*time.Millisecond))
				_ = th.Len()
			}
		})
	}
	wg.Wait()
	if got := th.Len(); got > 1024 {
		t.Errorf("%d addresses are remembered, want at most 1024", got)
	}
}

func BenchmarkThrottle(b *testing.B) {
	flood := func(b *testing.B) (*access.Throttle, []netip.Addr) {
		b.Helper()
		th := access.NewThrottle(access.Limits{})
		var all []netip.Addr
		for i := range 1 << 17 { // eight times what is remembered
			var a [16]byte
			binary.BigEndian.PutUint64(a[:], uint64(i)*0x9e3779b97f4a7c15)
			all = append(all, netip.AddrFrom16(a))
			th.Failed(numbered(i), all[i], start)
		}
		b.ReportAllocs()
		b.ResetTimer()
		return th, all
	}
	b.Run("success", func(b *testing.B) { // of one who has never failed: what every call pays
		th, _ := flood(b)
		for b.Loop() {
			th.Wait(victim, shop, start)
			th.Succeeded(victim, shop, start)
		}
	})
	b.Run("refused", func(b *testing.B) {
		th, _ := flood(b)
		guesses(th, 10, always(victim), thief, start)
		for b.Loop() {
			th.Wait(victim, thief, start)
		}
	})
	b.Run("flood", func(b *testing.B) { // each from an address that takes another's place
		th, all := flood(b)
		for i := 0; b.Loop(); i++ {
			from := all[i%len(all)]
			th.Wait(victim, from, start)
			th.Failed(victim, from, start)
		}
	})
}
