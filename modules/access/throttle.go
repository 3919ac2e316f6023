package access

import (
	"cmp"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Limits says how many failed attempts are borne. Zero fields have the defaults.
type Limits struct {
	// Pair is how many attempts with one key's ID may fail from one address within
	// the Window; default 10.
	Pair int
	// Address is how many may fail from one address with whatever IDs; default 50.
	Address int
	// Prefix is how many may fail with one ID from all addresses together before
	// Slow takes the place of Pair, where the ID has not been proved; default 100.
	Prefix int
	// Slow is the limit of a pair while its ID is under attack; default 2.
	Slow int
	// Window is the time in which failures are counted, from the first one on;
	// default a minute.
	Window time.Duration
	// First is how long the first refusal lasts; each that follows lasts twice as
	// long, up to Most, which is a day at most. Defaults 30 s and 15 min.
	First, Most time.Duration
	// Addresses bounds the addresses that are remembered, some 450 bytes each;
	// default 16,384, and 1,024 at least.
	Addresses int
}

func (l Limits) orDefaults() Limits {
	l.Pair, l.Address = cmp.Or(l.Pair, 10), cmp.Or(l.Address, 50)
	l.Prefix, l.Slow = cmp.Or(l.Prefix, 100), cmp.Or(l.Slow, 2)
	l.Window, l.First = cmp.Or(l.Window, time.Minute), cmp.Or(l.First, 30*time.Second)
	l.Most, l.Addresses = min(cmp.Or(l.Most, 15*time.Minute), 24*time.Hour), max(cmp.Or(l.Addresses, 1<<14), 1<<10)
	l.First = min(l.First, l.Most)
	return l
}

const (
	throttleShards = 64
	// pairs is how many IDs are told apart at one address.
	pairs = 8
	// prefixSlots is how many IDs one shard counts over all addresses. Two that share
	// a slot are counted together, which at worst makes both Slow.
	prefixSlots = 64
	// sight is how many addresses are looked at for the one to forget, and more only
	// where all of those are refused.
	sight = 8
	// provenFor is how long a success keeps a pair from sharing its address's fate.
	provenFor = 24 * time.Hour
)

// Throttle holds back those who fail to prove who they are, before anything is
// looked up or hashed for them. It counts by address, IPv6 by its first 64 bits,
// and by the ID of the key that is tried:
//
//   - An address that has failed too often with one ID is refused for that ID,
//     and one that has failed with many is refused for all but those IDs that it
//     has proved in the last day.
//   - By the ID alone nobody is refused: a stranger cannot lock a merchant out.
//     While many addresses fail with an ID, those that have not proved it have
//     fewer attempts.
//
// Attempts that run at the same time may all pass before the first of them has
// failed. A caller whose address is not known is never held back: all such callers
// would be one. An address that is shared, as that of a proxy which is not trusted
// to name its clients, is one address.
//
// Memory is bounded. Where an address more is to be remembered, one goes that has
// calmed down, or else the one of a few that has failed the least; one that is
// refused goes only where all of its shard are. To have one address forgotten thus
// takes more of them that were refused than are remembered: who has so many gains
// more by using them. Of the IDs that are tried at one address eight are told apart,
// by the same rule.
//
// A nil Throttle holds nobody back. Safe for concurrent use.
type Throttle struct {
	limits Limits
	seed   maphash.Seed
	shards [throttleShards]throttleShard
}

type throttleShard struct {
	mu    sync.Mutex
	most  int
	index map[netip.Addr]int // into offenders
	// offenders are looked at in turn by a hand that goes around.
	offenders []offender
	hand      int
	prefixes  [prefixSlots]count
}

// offender is an address that has failed.
type offender struct {
	at    netip.Addr
	last  int64 // Unix nanoseconds: when the last of its refusals ends
	all   count
	pairs [pairs]pair
}

// pair is a key's ID at an address.
type pair struct {
	id     uint64 // hashed; 0 = the slot is empty
	proven int64  // Unix nanoseconds of the last success; 0 = none
	count
}

// count is how often somebody has failed, and what it has come to. Times are Unix
// nanoseconds.
type count struct {
	start   int64 // of the window
	until   int64 // the end of the refusal
	n       int   // failures in the window
	strikes int   // refusals so far
}

// NewThrottle returns one that has seen nobody.
func NewThrottle(l Limits) *Throttle {
	t := &Throttle{limits: l.orDefaults(), seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].most = (t.limits.Addresses + throttleShards - 1) / throttleShards
		t.shards[i].index = map[netip.Addr]int{}
	}
	return t
}

// Wait tells how long an attempt with a key's ID from an address has to wait; 0 =
// it may be made.
func (t *Throttle) Wait(id string, from netip.Addr, now time.Time) time.Duration {
	at, ok := t.address(from)
	if !ok {
		return 0
	}
	s := t.shard(at)
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.find(at)
	if o == nil {
		return 0
	}
	p, n := o.find(t.hash(id)), now.UnixNano()
	if p == nil {
		return o.all.wait(n, &t.limits)
	}
	wait := p.wait(n, &t.limits)
	if !p.isProven(n) {
		wait = max(wait, o.all.wait(n, &t.limits))
	}
	return wait
}

// Failed notes an attempt that failed. One that [Throttle.Wait] held back is not
// noted.
func (t *Throttle) Failed(id string, from netip.Addr, now time.Time) {
	at, ok := t.address(from)
	if !ok {
		return
	}
	h, n := t.hash(id), now.UnixNano()
	attacked := t.attacked(h, n)
	s := t.shard(at)
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.take(at, n, &t.limits)
	p, limit := o.find(h), t.limits.Pair
	if p == nil {
		p = o.claim(h, n, &t.limits)
	}
	if attacked && !p.isProven(n) {
		limit = t.limits.Slow
	}
	p.fail(n, limit, &t.limits)
	o.all.fail(n, t.limits.Address, &t.limits)
	o.last = max(p.until, o.all.until, min(o.last, n+int64(t.limits.Most)))
}

// Succeeded notes that an ID was proved from an address. Of an address that has
// not failed lately nothing is kept.
func (t *Throttle) Succeeded(id string, from netip.Addr, now time.Time) {
	at, ok := t.address(from)
	if !ok {
		return
	}
	s := t.shard(at)
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.find(at)
	if o == nil {
		return
	}
	h, n := t.hash(id), now.UnixNano()
	p := o.find(h)
	if p == nil {
		p = o.claim(h, n, &t.limits)
	}
	p.proven, p.count = n, count{}
}

// Len is how many addresses are remembered.
func (t *Throttle) Len() (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.offenders)
		s.mu.Unlock()
	}
	return n
}

// address is what of an address is counted; false = nobody is.
func (t *Throttle) address(from netip.Addr) (netip.Addr, bool) {
	if t == nil || !from.IsValid() {
		return from, false
	}
	from = from.Unmap().WithZone("")
	if from.Is6() {
		b := from.As16()
		clear(b[8:]) // one subscriber has a /64 at least
		from = netip.AddrFrom16(b)
	}
	return from, true
}

func (t *Throttle) shard(at netip.Addr) *throttleShard {
	return &t.shards[maphash.Comparable(t.seed, at)%throttleShards]
}

func (t *Throttle) hash(id string) uint64 { return max(maphash.String(t.seed, id), 1) }

// attacked counts a failure with an ID, and tells whether there have been many.
func (t *Throttle) attacked(h uint64, now int64) bool {
	s := &t.shards[h%throttleShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.prefixes[h/throttleShards%prefixSlots]
	c.roll(now, &t.limits)
	c.n++
	return c.n > t.limits.Prefix
}

func (s *throttleShard) find(at netip.Addr) *offender {
	if i, ok := s.index[at]; ok {
		return &s.offenders[i]
	}
	return nil
}

// take returns the offender of an address; a new one may take another's place.
func (s *throttleShard) take(at netip.Addr, now int64, l *Limits) *offender {
	if o := s.find(at); o != nil {
		return o
	}
	i := len(s.offenders)
	if i < s.most {
		s.offenders = append(s.offenders, offender{})
	} else {
		i = s.leastWorth(now, l)
		delete(s.index, s.offenders[i].at)
	}
	s.index[at] = i
	s.offenders[i] = offender{at: at}
	return &s.offenders[i]
}

// leastWorth finds who is forgotten: of the next few the first one that has
// calmed down, or else the one with the least to its name. Where all of those are
// refused, it looks further.
func (s *throttleShard) leastWorth(now int64, l *Limits) int {
	least, lowest := 0, int64(-1)
	for n := 0; n < sight || n < len(s.offenders) && lowest > int64(l.Address); n++ {
		i := s.hand
		s.hand = (s.hand + 1) % len(s.offenders)
		worth := s.offenders[i].worth(now, l)
		if worth == 0 {
			return i
		}
		if lowest < 0 || worth < lowest {
			least, lowest = i, worth
		}
	}
	return least
}

// worth orders offenders by how much it would take to forget them: first those
// that have calmed down (0), then by their failures, then, refused, by the time
// that is left.
func (o *offender) worth(now int64, l *Limits) int64 {
	switch left := (&count{until: o.last}).wait(now, l); {
	case left > 0:
		return int64(l.Address) + int64(left)
	case o.all.stale(now, l):
		return 0
	default:
		return int64(o.all.n)
	}
}

func (o *offender) find(h uint64) *pair {
	for i := range o.pairs {
		if o.pairs[i].id == h {
			return &o.pairs[i]
		}
	}
	return nil
}

// claim gives an ID a slot: an empty one, or that of the ID that has failed the
// least. Who tries many IDs in turn, so that none fails often, meets the limit of
// the address.
func (o *offender) claim(h uint64, now int64, l *Limits) *pair {
	best, lowest := &o.pairs[0], int64(-1)
	for i := range o.pairs {
		p := &o.pairs[i]
		var worth int64
		switch {
		case p.id == 0:
		case p.isProven(now):
			worth = 1<<62 + p.proven/2 // the one whose success is the longest ago
		case p.wait(now, l) > 0:
			worth = int64(l.Pair) + int64(p.wait(now, l))
		case !p.stale(now, l):
			worth = int64(p.n)
		}
		if lowest < 0 || worth < lowest {
			best, lowest = p, worth
		}
	}
	*best = pair{id: h}
	return best
}

func (p *pair) isProven(now int64) bool {
	return p.proven != 0 && time.Duration(now-p.proven) < provenFor
}

// wait is how long a refusal lasts still. One that would last longer than any can
// comes from a clock that was set back, and is void.
func (c *count) wait(now int64, l *Limits) time.Duration {
	if d := time.Duration(c.until - now); d > 0 && d <= l.Most {
		return d
	}
	return 0
}

// stale tells that nothing of it counts any more but perhaps its strikes.
func (c *count) stale(now int64, l *Limits) bool {
	age := time.Duration(now - c.start)
	return c.wait(now, l) == 0 && (age >= l.Window || age <= -l.Window)
}

// roll begins a new window where the last one is over, and forgives after a
// silence of twice the longest refusal.
func (c *count) roll(now int64, l *Limits) {
	if !c.stale(now, l) {
		return
	}
	if time.Duration(now-max(c.start, c.until)) > 2*l.Most {
		c.strikes = 0
	}
	c.start, c.n = now, 0
}

// fail counts one failure, and refuses what follows where it is one too many.
func (c *count) fail(now int64, limit int, l *Limits) {
	if c.wait(now, l) > 0 {
		return // one of many that ran at the same time
	}
	c.roll(now, l)
	c.n++
	if c.n < limit {
		return
	}
	c.until = now + int64(min(l.First<<min(c.strikes, 10), l.Most))
	c.start, c.n = now, 0
	c.strikes++
}
