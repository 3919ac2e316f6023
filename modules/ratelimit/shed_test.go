package ratelimit_test

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/purser-pay/purser/modules/ratelimit"
)

// crowd is a simulated node: calls arrive by chance and take some time, and the
// clock moves from one event to the next. One seed is one history.
type crowd struct {
	t       *testing.T
	clock   *clock
	random  *rand.Rand
	load    *ratelimit.Load
	shedder *ratelimit.Shedder
	most    int64 // calls in flight that there may be
	ends    endings
	calls   [4]tally
	told    [4]int     // by the shedder
	windows [][4]tally // a second each
	levels  []float64  // at the end of each second
}

// tally is what became of the calls of one class.
type tally struct{ in, out int }

// share is the part that was turned away.
func (c tally) share() float64 { return float64(c.out) / max(float64(c.in+c.out), 1) }

// ending is a call in flight.
type ending struct {
	at    int64
	leave func()
}

type endings []ending

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i].at < e[j].at }
func (e endings) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *endings) Push(x any)        { *e = append(*e, x.(ending)) }
func (e *endings) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

const capacity = 200

func newCrowd(t *testing.T, cfg ratelimit.ShedConfig) *crowd {
	t.Helper()
	c := &crowd{t: t, clock: newClock(), random: rand.New(rand.NewPCG(7, 1)), most: cfg.InFlight}
	if cfg.DryRun {
		c.most = math.MaxInt64
	}
	c.load = ratelimit.NewLoad(c.clock.now, rand.New(rand.NewPCG(7, 2)).Float64)
	cfg.Shed = func(class ratelimit.Class) { c.told[class]++ }
	c.shedder = ratelimit.NewShedder(c.load, cfg)
	return c
}

// duration is what a call takes on average: from a tenth to ten times as long.
const duration = 400 * time.Millisecond

// run lets a number of seconds pass. offered is how many calls of each class would
// be in flight if all were let in.
func (c *crowd) run(seconds int, offered [4]float64) {
	for range seconds {
		before, end := c.calls, c.clock.nanos.Load()+int64(time.Second)
		total := offered[0] + offered[1] + offered[2] + offered[3]
		for total > 0 {
			at := c.clock.nanos.Load() + int64(c.random.ExpFloat64()*float64(duration)/total)
			if at >= end {
				break
			}
			c.until(at)
			c.arrive(c.pick(offered, total))
		}
		c.until(end)
		var w [4]tally
		for i := range w {
			w[i] = tally{c.calls[i].in - before[i].in, c.calls[i].out - before[i].out}
		}
		c.windows, c.levels = append(c.windows, w), append(c.levels, c.load.Level())
	}
}

func (c *crowd) pick(offered [4]float64, total float64) ratelimit.Class {
	x := c.random.Float64() * total
	for i, o := range offered {
		if x -= o; x < 0 {
			return ratelimit.Class(i)
		}
	}
	return ratelimit.LiveMoney
}

// until ends the calls that end before a time, which it is then.
func (c *crowd) until(at int64) {
	for len(c.ends) > 0 && c.ends[0].at <= at {
		e := heap.Pop(&c.ends).(ending)
		c.clock.nanos.Store(e.at)
		e.leave()
	}
	c.clock.nanos.Store(at)
}

func (c *crowd) arrive(class ratelimit.Class) {
	leave, ok := c.shedder.Enter(class)
	if !ok {
		c.calls[class].out++
		return
	}
	c.calls[class].in++
	took := min(max(c.random.ExpFloat64(), .1), 10) * float64(duration)
	heap.Push(&c.ends, ending{c.clock.nanos.Load() + int64(took), leave})
	if n := c.load.InFlight(); n > c.most {
		c.t.Fatalf("%d calls are in flight, of at most %d", n, c.most)
	}
}

// low is 45 % of the capacity, of all classes.
var low = [4]float64{30, 30, 20, 10}

// rushes are loads that are too much.
var rushes = []struct {
	name    string
	offered [4]float64
	// want is the part of each class that is let in in the end, within .15.
	want [4]float64
}{
	{"test alone", [4]float64{400, 0, 0, 0}, [4]float64{.3, 0, 0, 0}},
	{"a little too much", [4]float64{100, 50, 50, 10}, [4]float64{.1, 1, 1, 1}},
	{"reads", [4]float64{50, 400, 25, 10}, [4]float64{0, .25, 1, 1}},
	{"twice of all", [4]float64{100, 100, 100, 100}, [4]float64{0, 0, .35, 1}},
	{"sales", [4]float64{20, 20, 400, 20}, [4]float64{0, 0, .3, 1}},
	{"money alone", [4]float64{0, 0, 0, 250}, [4]float64{0, 0, 0, .8}},
	{"money and all else", [4]float64{50, 50, 50, 250}, [4]float64{0, 0, 0, .8}},
}

// TestShedOrder looks at every second of a rush: no class is turned away while one
// that matters less is let in. Where a class begins to be shut out, a tenth
// may overlap; in the first second the node has to fill before it knows. Once the
// level has settled, it wanders by little.
func TestShedOrder(t *testing.T) {
	for _, tt := range rushes {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCrowd(t, ratelimit.ShedConfig{InFlight: capacity})
			c.run(90, tt.offered)
			c.ordered(.1)
			for i, w := range c.calls {
				late := tally{}
				for _, s := range c.windows[60:] {
					late.in, late.out = late.in+s[i].in, late.out+s[i].out
				}
				if w.in > 0 && math.Abs(1-late.share()-tt.want[i]) > .12 {
					t.Errorf("in the end %.2f of %v is let in, want %.2f", 1-late.share(), ratelimit.Class(i), tt.want[i])
				}
				if c.told[i] != w.out {
					t.Errorf("%d of %v were told, and %d turned away", c.told[i], ratelimit.Class(i), w.out)
				}
			}
			c.settled(40)
		})
	}
}

// ordered looks at the order of the classes in every second but the first.
func (c *crowd) ordered(tolerance float64) {
	c.t.Helper()
	for n, w := range c.windows[1:] {
		for i, less := range w {
			for j := i + 1; j < len(w); j++ {
				if less.in > 0 && w[j].share() > tolerance && 1-less.share() > tolerance {
					c.t.Errorf("second %d: %.2f of %v is turned away, and %.2f of %v let in",
						n+1, w[j].share(), ratelimit.Class(j), 1-less.share(), ratelimit.Class(i))
				}
			}
		}
	}
}

// settled looks at the way of the level from a second on.
func (c *crowd) settled(from int) {
	c.t.Helper()
	levels := c.levels[from:]
	way, least, most := 0.0, levels[0], levels[0]
	for i := 1; i < len(levels); i++ {
		way += math.Abs(levels[i] - levels[i-1])
		least, most = min(least, levels[i]), max(most, levels[i])
	}
	if most-least > .3 || way > .05*float64(len(levels)) {
		c.t.Errorf("the level is between %.2f and %.2f, and has gone %.2f in %d s", least, most, way, len(levels))
	}
}

func TestShedNothingUnderLowLoad(t *testing.T) {
	c := newCrowd(t, ratelimit.ShedConfig{InFlight: capacity})
	c.run(200, low)
	for i, n := range c.calls {
		if n.out != 0 {
			t.Errorf("%d of %d calls of %v were turned away at 45 %% of the capacity", n.out, n.in+n.out, ratelimit.Class(i))
		}
	}
	if got := c.load.Level(); got != 0 {
		t.Errorf("the level is %v, want 0", got)
	}
}

// TestShedShortRush lets a rush pass that the capacity holds: it is over before
// anybody is shut out.
func TestShedShortRush(t *testing.T) {
	c := newCrowd(t, ratelimit.ShedConfig{InFlight: capacity})
	for range 10 {
		for range 2 * capacity / 3 {
			c.arrive(ratelimit.TestMode)
		}
		c.run(5, [4]float64{})
	}
	if got := c.calls[ratelimit.TestMode].out; got != 0 || c.load.Level() != 0 {
		t.Errorf("%d calls were turned away, level %v; want none", got, c.load.Level())
	}
}

// TestShedRecovers ends a rush: at first what was shut out stays out, half a
// minute later every class is whole, and the level is not remembered over a pause.
func TestShedRecovers(t *testing.T) {
	c := newCrowd(t, ratelimit.ShedConfig{InFlight: capacity})
	c.run(30, [4]float64{100, 100, 100, 100})
	peak := c.load.Level()
	if peak < 2.3 {
		t.Fatalf("the level is %.2f after the rush, want two classes and a half", peak)
	}
	c.run(60, low)
	if got := c.windows[31][ratelimit.TestMode].share(); got < .99 {
		t.Errorf("a second after the rush %.2f of the calls in mode test is turned away, want all: slowly off", got)
	}
	for i := 1; i < 60; i++ {
		if before, after := c.levels[29+i], c.levels[30+i]; after > before || before-after > 1.2/15 {
			t.Errorf("second %d: the level goes from %.2f to %.2f, want down by a fifteenth", i, before, after)
		}
	}
	for i, w := range c.windows[len(c.windows)-1] {
		if w.out != 0 || w.in == 0 {
			t.Errorf("a minute after the rush %d calls of %v are let in and %d are not", w.in, ratelimit.Class(i), w.out)
		}
	}

	c.run(30, [4]float64{100, 100, 100, 100})
	c.run(2, [4]float64{}) // all end
	c.clock.move(time.Hour)
	c.arrive(ratelimit.TestMode)
	if got := c.load.Level(); got != 0 {
		t.Errorf("the level is %.2f an hour later, want 0", got)
	}
}

// TestShedIsOrderedAtOnce asks for all classes at the same moment, with the same
// chance: who is let in is let in before all that matter less.
func TestShedIsOrderedAtOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock, chance := newClock(), 0.0
		load := ratelimit.NewLoad(clock.now, func() float64 { return chance })
		n := rapid.Int64Range(1, 40).Draw(t, "capacity")
		s := ratelimit.NewShedder(load, ratelimit.ShedConfig{InFlight: n})
		var leaves []func()
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			clock.move(time.Duration(rapid.Int64Range(0, 300).Draw(t, "wait")) * time.Millisecond)
			chance = rapid.Float64Range(0, .999).Draw(t, "chance")
			var in [4]bool
			for _, class := range ratelimit.Classes {
				leave, ok := s.Enter(class)
				if in[class] = ok; ok {
					leave()
				}
			}
			for i := 1; i < len(in); i++ {
				if in[i-1] && !in[i] {
					t.Fatalf("with %d of %d in flight, level %.2f: %v is let in, and %v is not", len(leaves), n, load.Level(), ratelimit.Class(i-1), ratelimit.Class(i))
				}
			}
			if free := int64(len(leaves)) < n; in[ratelimit.LiveMoney] != free {
				t.Fatalf("with %d of %d in flight, money is let in: %v", len(leaves), n, in[ratelimit.LiveMoney])
			}
			if len(leaves) > 0 && rapid.Bool().Draw(t, "ends") {
				leaves[0]()
				leaves = leaves[1:]
			} else if leave, ok := s.Enter(ratelimit.LiveMoney); ok {
				leaves = append(leaves, leave)
			}
			if got := load.InFlight(); got != int64(len(leaves)) {
				t.Fatalf("%d calls are said to be in flight, want %d", got, len(leaves))
			}
		}
	})
}

// TestShedDryRun turns nobody away, and tells what it would have.
func TestShedDryRun(t *testing.T) {
	offered := [4]float64{100, 100, 100, 100}
	wet := newCrowd(t, ratelimit.ShedConfig{InFlight: capacity})
	wet.run(60, offered)
	dry := newCrowd(t, ratelimit.ShedConfig{InFlight: capacity, DryRun: true})
	dry.run(60, offered)
	if got := dry.load.InFlight(); got < 3*capacity/2 || got != int64(len(dry.ends)) {
		t.Errorf("%d calls are in flight, want all %d", got, len(dry.ends))
	}
	for i := range dry.calls {
		if dry.calls[i].out != 0 {
			t.Errorf("%d calls of %v were turned away", dry.calls[i].out, ratelimit.Class(i))
		}
		want, all := float64(wet.calls[i].out), float64(wet.calls[i].in+wet.calls[i].out)
		if got := float64(dry.told[i]); math.Abs(got-want) > .05*all {
			t.Errorf("%v of %v are told, want about %v as where they are turned away", got, ratelimit.Class(i), want)
		}
	}
}

func TestShedEnter(t *testing.T) {
	load := ratelimit.NewLoad(newClock().now, func() float64 { return .5 })
	enter := func(s *ratelimit.Shedder, class ratelimit.Class, want int64) func() {
		t.Helper()
		leave, ok := s.Enter(class)
		if !ok || load.InFlight() != want {
			t.Fatalf("%v: let in %v, %d in flight; want true and %d", class, ok, load.InFlight(), want)
		}
		return leave
	}
	unbounded := ratelimit.NewShedder(load, ratelimit.ShedConfig{})
	first := enter(unbounded, ratelimit.TestMode, 1)
	enter(unbounded, ratelimit.Always, 1)()
	enter(nil, ratelimit.TestMode, 1)()

	// A reload: the calls under way still count.
	one := ratelimit.NewShedder(load, ratelimit.ShedConfig{InFlight: 1})
	if _, ok := one.Enter(ratelimit.LiveMoney); ok {
		t.Error("two calls are let in where one may be")
	}
	first()
	first()
	if got := load.InFlight(); got != 0 {
		t.Errorf("%d calls are in flight after one ended twice, want 0", got)
	}
	enter(one, ratelimit.TestMode, 1)()

	if got := one.Retry(); got < time.Second || got > 10*time.Second {
		t.Errorf("come again in %v, want some seconds", got)
	}
	if got := (*ratelimit.Shedder)(nil).Retry(); got != 0 {
		t.Errorf("without a shedder: come again in %v", got)
	}
}

// TestShedClockSetBack goes on where the clock is set back by an hour.
func TestShedClockSetBack(t *testing.T) {
	c := newCrowd(t, ratelimit.ShedConfig{InFlight: capacity})
	c.run(1, low)
	c.run(2, [4]float64{})
	c.clock.move(-time.Hour)
	c.run(20, [4]float64{100, 100, 100, 100})
	if got := c.load.Level(); got < 2 {
		t.Errorf("the level is %.2f after 20 s of rush, want 2 or more", got)
	}
}

func TestShedConcurrently(t *testing.T) {
	const most = 10
	load := ratelimit.NewLoad(time.Now, rand.Float64)
	s := ratelimit.NewShedder(load, ratelimit.ShedConfig{InFlight: most, Shed: func(ratelimit.Class) {}})
	var inside, money atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := range 2000 {
				class := ratelimit.Classes[(i+n)%4]
				leave, ok := s.Enter(class)
				if !ok {
					continue
				}
				if got := inside.Add(1); got > most {
					t.Errorf("%d calls are inside, of at most %d", got, most)
				}
				if class == ratelimit.LiveMoney {
					money.Add(1)
				}
				runtime.Gosched()
				inside.Add(-1)
				leave()
			}
		})
	}
	wg.Wait()
	if got := load.InFlight(); got != 0 || money.Load() == 0 {
		t.Errorf("%d calls are left in flight, and %d of money were let in", got, money.Load())
	}
}

func TestClassOf(t *testing.T) {
	tests := []struct {
		mode, method, route string
		want                ratelimit.Class
	}{
		{"", "GET", "/healthz", ratelimit.Always},
		{"", "GET", "/readyz", ratelimit.Always},
		{"", "POST", "/webhooks/stripe_us", ratelimit.Always},
		{"", "GET", "/return/abc", ratelimit.Always},
		{"", "POST", "/payments/reload", ratelimit.Always},
		{"", "GET", "/docs", ratelimit.TestMode},
		{"", "POST", "/v1/payments", ratelimit.TestMode},
		{"test", "POST", "/v1/payments", ratelimit.TestMode},
		{"test", "POST", "/v1/refunds", ratelimit.TestMode},
		{"test", "GET", "/v1/payments", ratelimit.TestMode},
		{"live", "GET", "/v1/payments", ratelimit.LiveRead},
		{"live", "HEAD", "/v1/payments/{id}", ratelimit.LiveRead},
		{"live", "GET", "/v1/refunds", ratelimit.LiveRead},
		{"live", "POST", "/v1/payments", ratelimit.LiveCreate},
		{"live", "PATCH", "/v1/payments/{id}", ratelimit.LiveCreate},
		{"live", "POST", "/v1/webhook_endpoints", ratelimit.LiveCreate},
		{"live", "DELETE", "/v1/webhook_endpoints/{id}", ratelimit.LiveCreate},
		{"live", "POST", "/v1/proxy/{account}/{path}", ratelimit.LiveCreate},
		{"live", "GET", "/v1/proxy/{account}/{path}", ratelimit.LiveRead},
		{"live", "POST", "/v1/payments/{id}/confirm", ratelimit.LiveMoney},
		{"live", "POST", "/v1/payments/{id}/capture", ratelimit.LiveMoney},
		{"live", "POST", "/v1/payments/{id}/cancel", ratelimit.LiveMoney},
		{"live", "POST", "/v1/refunds", ratelimit.LiveMoney},
		{"live", "POST", "POST /v1/refunds", ratelimit.LiveMoney},
		{"live", "HEAD", "GET /v1/refunds", ratelimit.LiveRead},
		{"live", "POST", "POST /v1/payments/{id}/capture", ratelimit.LiveMoney},
	}
	for _, tt := range tests {
		if got := ratelimit.ClassOf(tt.mode, tt.method, tt.route); got != tt.want {
			t.Errorf("%q %s %s is %v, want %v", tt.mode, tt.method, tt.route, got, tt.want)
		}
	}
	var names []string
	for _, c := range append(slices.Clone(ratelimit.Classes), ratelimit.Always, 99) {
		names = append(names, c.String())
	}
	if diff := cmp.Diff([]string{"test", "live_read", "live_create", "live_money", "always", "always"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func BenchmarkShedder(b *testing.B) {
	s := ratelimit.NewShedder(ratelimit.NewLoad(time.Now, rand.Float64), ratelimit.ShedConfig{InFlight: 1000})
	b.ReportAllocs()
	for b.Loop() {
		if leave, ok := s.Enter(ratelimit.LiveCreate); ok {
			leave()
		}
	}
}
