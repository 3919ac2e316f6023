package ratelimit

import (
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Class is how much a call matters to those who have money in motion. A node with
// too much to do turns the least of them away first.
type Class uint8

// The classes, the least important first.
const (
	// TestMode is every call in mode test, and every call of nobody known.
	TestMode Class = iota
	// LiveRead looks, and changes nothing.
	LiveRead
	// LiveCreate begins a payment, or changes what is not money.
	LiveCreate
	// LiveMoney ends what was begun: confirm, capture, cancel, refund.
	LiveMoney
	// Always is never turned away, and not counted: probes, operators, the news of
	// PSPs and the payers whom they send back.
	Always
	classes = Always
)

// Classes lists the classes that can be turned away, the least important first.
var Classes = []Class{TestMode, LiveRead, LiveCreate, LiveMoney}

// String names the class.
func (c Class) String() string {
	return [...]string{"test", "live_read", "live_create", "live_money", "always"}[min(c, Always)]
}

// ceilings are how much of the capacity each class may fill, at any moment and
// before any smoothing: a fifth is kept for money. They stand apart, so that a
// sudden rush that reaches one of them has long shut out what matters less.
var ceilings = [classes]float64{.70, .75, .80, 1}

// high and low steer the level. A class is shut out little by little while the
// load is over its high, let in again while it is under its low, and left as it is
// between them, which keeps it from swinging. high is under the ceiling, or a
// class would run along that for ever.
var (
	high = [classes - 1]float64{.65, .70, .75}
	low  = [classes - 1]float64{.55, .60, .65}
)

const (
	// smoothing is the time constant of the load's moving average.
	smoothing = 300 * time.Millisecond
	// rise and fall are how long one class takes from being let in whole to being
	// shut out, and back. They are slow beside smoothing: what the level does shows
	// in the average before it has gone too far, and the ceilings hold meanwhile.
	rise = 5 * time.Second
	fall = 15 * time.Second
	// pause is how long the load is not looked at again; then the next call does.
	pause = 10 * time.Millisecond
	// maxPause bounds by how much one look raises the level where no call has come
	// for longer: nobody knows what the load was meanwhile.
	maxPause = 100 * time.Millisecond
)

// topLevel shuts every class out but the last.
const topLevel = float64(LiveMoney)

// Load is how much a node has to do, and how many of the classes it shuts out for
// that. One is kept for all the shedders of a process that follow each other over
// reloads. It is safe for concurrent use.
type Load struct {
	now    func() time.Time
	random func() float64

	flying atomic.Int64 // let in by the rules
	spared atomic.Int64 // let in although the rules were against it
	// level is in classes, 0 … topLevel: those under its whole part are shut out,
	// and of the next one as much as its fraction says. It holds the bits of a
	// float64.
	level atomic.Uint64
	due   atomic.Int64 // of the next look, in Unix nanoseconds

	mu       sync.Mutex // of what follows
	last     int64      // look
	smoothed float64    // load, as a part of the capacity
}

// NewLoad returns a load of nothing. random yields 0 ≤ x < 1, and is safe for
// concurrent use.
func NewLoad(now func() time.Time, random func() float64) *Load {
	return &Load{now: now, random: random}
}

// InFlight is the number of calls that were let in and have not ended.
func (l *Load) InFlight() int64 { return l.flying.Load() + l.spared.Load() }

// Level is how many classes are shut out: 1.5 is the first and half of the second.
func (l *Load) Level() float64 { return math.Float64frombits(l.level.Load()) }

// ShedConfig says how a [Shedder] sheds.
type ShedConfig struct {
	// InFlight is the capacity: so many calls may be under way at this node. 0 = no
	// bound; the calls are still counted.
	InFlight int64
	// DryRun lets every call in, and tells Shed of those that it would have turned
	// away. They count for no load, so that what is told is what would have been.
	DryRun bool
	// Shed hears of each call that is turned away; nil hears nothing. It is called
	// by many at once.
	Shed func(Class)
}

// Shedder keeps a node that has too much to do from doing nothing well. The least
// important calls go first; a fifth of the capacity is kept for those that settle
// money. It begins slowly and ends slowly, so that neither a short rush nor a
// short rest makes it swing: while the load stays over 65, 70 and 75 % of the
// capacity, calls in mode test, reads and creations are shut out one after the
// other, each over 5 s, and come back over 15 s while it is 10 points lower. The
// ceilings of 70, 75, 80 and 100 % alone hold at once. A load that has not been
// over 65 % turns nobody away.
//
// It is safe for concurrent use. A nil Shedder lets everything in.
type Shedder struct {
	load *Load
	cfg  ShedConfig
	full [classes]int64 // calls in flight at which a class is shut out at once
}

// NewShedder returns a shedder of a load.
func NewShedder(load *Load, cfg ShedConfig) *Shedder {
	s := &Shedder{load: load, cfg: cfg}
	for c, part := range ceilings {
		s.full[c] = max(int64(part*float64(cfg.InFlight)), 1)
		if cfg.InFlight <= 0 {
			s.full[c] = math.MaxInt64
		}
	}
	return s
}

// Enter asks whether a call may be let in. Where it may, leave is called when it
// has ended; a second time does nothing. Where it may not, [Shedder.Retry] says
// when to come again.
func (s *Shedder) Enter(class Class) (leave func(), ok bool) {
	if s == nil || class >= Always {
		return stay, true
	}
	in := &s.load.flying
	if !s.admit(class) {
		if s.cfg.Shed != nil {
			s.cfg.Shed(class)
		}
		if !s.cfg.DryRun {
			return nil, false
		}
		in = &s.load.spared
		in.Add(1)
	}
	var left atomic.Bool
	return func() {
		if !left.Swap(true) {
			in.Add(-1)
		}
	}, true
}

// stay is the end of a call that is not counted.
func stay() {}

// admit counts a call where it is let in. Nothing is counted that is not, not even
// for a moment: a crowd before the door would shut out who may still enter.
func (s *Shedder) admit(class Class) bool {
	l := s.load
	flying := l.flying.Load()
	if s.cfg.InFlight > 0 {
		l.look(float64(flying) / float64(s.cfg.InFlight))
		if shut := l.Level() - float64(class); shut > 0 && (shut >= 1 || l.random() < shut) {
			return false
		}
	}
	for ; flying < s.full[class]; flying = l.flying.Load() {
		if l.flying.CompareAndSwap(flying, flying+1) {
			return true
		}
	}
	return false
}

// look takes the load into the average and moves the level, every now and then.
func (l *Load) look(load float64) {
	now := l.now().UnixNano()
	if wait := l.due.Load() - now; wait > 0 && wait <= int64(pause) { // else the clock was set back
		return
	}
	if !l.mu.TryLock() {
		return // somebody looks already
	}
	defer l.mu.Unlock()
	passed := time.Duration(now - l.last)
	if l.last == 0 || passed < 0 {
		passed = pause
	}
	l.last = now
	l.due.Store(now + int64(pause))
	l.smoothed += (load - l.smoothed) * -math.Expm1(-float64(passed)/float64(smoothing))
	l.level.Store(math.Float64bits(steer(l.Level(), l.smoothed, passed)))
}

// steer moves a level after a time with a load. It changes one class at a time: the
// next one has other bounds.
func steer(level, load float64, passed time.Duration) float64 {
	if level < topLevel && load > high[int(level)] {
		return min(level+float64(min(passed, maxPause))/float64(rise), math.Floor(level)+1)
	}
	for left := float64(passed) / float64(fall); left > 0 && level > 0; {
		class := math.Ceil(level) - 1 // the last one that is shut out, or a part of it
		if load >= low[int(class)] {
			break
		}
		step := min(left, level-class)
		level, left = level-step, left-step
	}
	return level
}

// Retry is when a call that was turned away may come again: a second or more, by
// chance, so that not all come at once; longer where more is shut out.
func (s *Shedder) Retry() time.Duration {
	if s == nil {
		return 0
	}
	return time.Second + time.Duration(s.load.random()*(1+s.load.Level())*float64(2*time.Second))
}

// ClassOf is the class of a call by its mode ("test" or "live"; "" = nobody has
// shown who they are), its method and its route: a pattern such as
// "/v1/payments/{id}/capture", with or without the method before it.
func ClassOf(mode, method, route string) Class {
	if _, pattern, ok := strings.Cut(route, " "); ok {
		route = pattern
	}
	switch {
	case route == "/healthz" || route == "/readyz" || strings.HasPrefix(route, "/webhooks/") ||
		strings.HasPrefix(route, "/return/") || strings.HasPrefix(route, "/payments/"):
		return Always
	case mode != "live":
		return TestMode
	case method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions:
		return LiveRead
	case method == http.MethodPost && settles[route]:
		return LiveMoney
	default:
		return LiveCreate
	}
}

// settles are the calls that end what was begun.
var settles = map[string]bool{
	"/v1/payments/{id}/confirm": true,
	"/v1/payments/{id}/capture": true,
	"/v1/payments/{id}/cancel":  true,
	"/v1/refunds":               true,
}
