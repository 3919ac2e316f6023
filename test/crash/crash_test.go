// Package crash kills the gateway in the middle of payments, again and again,
// while the PSPs misbehave, and then compares what merchants were told with the
// PSPs' books.
package crash

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-pay/purser/test/deployment"
)

var seed = flag.Uint64("seed", 0, "draws orders, faults and kills; 0 = CRASH_SEED, else one of the clock's")

const (
	clients  = 16 // requests at a time
	patience = 60 * time.Second
	shown    = 5 // findings of each kind that are printed
)

// size is how much is to be done.
type size struct{ payments, kills int }

func chosen(t *testing.T) (uint64, size) {
	t.Helper()
	s := size{2000, 40}
	if testing.Short() {
		s = size{200, 5}
	}
	number := func(name string) uint64 {
		v := os.Getenv(name)
		if v == "" {
			return 0
		}
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("%s=%q is no number", name, v)
		}
		return n
	}
	if n := number("CRASH_PAYMENTS"); n > 0 {
		s.payments = int(n)
	}
	n := *seed
	if n == 0 {
		n = number("CRASH_SEED")
	}
	if n == 0 {
		n = uint64(time.Now().UnixNano()) % 1_000_000
	}
	return n, s
}

// TestCrash is the promise as a whole: whatever dies and whoever lies, each
// order is charged once, and in the end everybody knows what happened.
func TestCrash(t *testing.T) {
	n, size := chosen(t)
	t.Logf("seed %d: run again with CRASH_SEED=%d (orders and faults are drawn from it; the moments are the machine's)", n, n)
	w := open(t, deployment.Config{Seed: n})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d; everything is in %s\ngateway's log: %s", n, w.Path(), w.LogTail("gateway"))
		}
	})
	bounded, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()
	ctx, fail := context.WithCancelCause(bounded)
	defer fail(nil)

	began := time.Now()
	random := rand.New(rand.NewPCG(n, 1))
	orders := make([]*order, size.payments)
	for i := range orders {
		orders[i] = draw(random, i, usual)
	}
	if err := setFaults(ctx, w.Simulator, faults); err != nil {
		t.Fatal(err)
	}
	killer := release(ctx, w, size.kills, w.strike, fail)
	begun := load(ctx, w, orders, strikes(random, size.kills, size.payments), killer)
	killer.end()
	struck, err := endFaults(ctx, w.Simulator)
	if err := errors.Join(err, context.Cause(ctx)); err != nil {
		t.Fatal(err)
	}
	loaded, calm := time.Since(began), time.Now()
	begun.Wait()
	left, err := settleAll(ctx, w.merchant, patience-time.Since(calm))
	if err != nil {
		t.Fatal(err)
	}
	settled := time.Since(calm)
	unfinished := 0
	for _, o := range orders {
		switch {
		case errors.Is(o.err, errLeft):
			unfinished++
		case o.err != nil:
			t.Errorf("%s: %v", o.reference(), o.err)
		}
	}
	f, err := reconcile(ctx, w, orders)
	if err != nil {
		t.Fatal(err)
	}
	f.report(t)
	if len(left) > 0 {
		t.Errorf("%d things are in doubt after %s, the first of them %s", len(left), settled, left[0])
	}
	replays(ctx, t, w)
	canary(ctx, t, w, orders)
	enough(t, size, f, struck, killer.kills, len(orders))

	calls := sends(ctx, t, w)
	t.Logf("seed %d: payments %d (%d moved money, %d left in doubt by their merchants), kills %d that cut off %d requests, faults fired %d, sends seen by the simulator %d, merchants' requests %d of which repeats %d, double charges %d, lost %d, wrong %d, unresolved %d, load %s, settled after %.1f s, all in %s",
		n, len(orders), f.money, unfinished, killer.kills, killer.cut, total(struck), calls, w.sent.Load(), w.repeated.Load(),
		len(f.double), len(f.lost), len(f.wrong), max(len(f.undecided), len(left)),
		loaded.Round(time.Second), settled.Seconds(), time.Since(began).Round(time.Second))
}

// report fails the test for each finding.
func (f *findings) report(t *testing.T) {
	t.Helper()
	for name, some := range map[string][]string{"double": f.double, "lost": f.lost, "wrong": f.wrong, "unresolved": f.undecided} {
		for _, text := range some[:min(shown, len(some))] {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// open builds the binary and starts gateways with a merchant: one, or as many as
// cfg says. What a failure leaves is kept.
func open(t *testing.T, cfg deployment.Config) *world {
	t.Helper()
	var err error
	if cfg.Dir, err = os.MkdirTemp("", "purser-crash-"); err != nil { //nolint:usetesting // see above
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("everything is in %s", cfg.Dir)
			return
		}
		_ = os.RemoveAll(cfg.Dir)
	})
	if cfg.Binary, err = deployment.Build(t.Context(), t.TempDir(), false); err != nil {
		t.Fatal(err)
	}
	cfg.Timeout, cfg.NotFoundAfter = 3*time.Second, 5*time.Second
	d, err := deployment.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	// All at once: of several nodes one migrates the schema, and the others wait.
	if err := errors.Join(d.Start(), d.Ready(t.Context())); err != nil {
		t.Fatal(err, d.LogTail(d.Nodes[0].Name))
	}
	key, err := d.Key(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &world{Deployment: d, merchant: newMerchant(d.URL, key, clients)}
}

// load begins the orders, and has the killer strike in the midst of them. When
// it returns, the last of the orders are still under way.
func load(ctx context.Context, w *world, orders []*order, plan []strike, k *killer) *sync.WaitGroup {
	group := new(sync.WaitGroup)
	room := make(chan struct{}, 2*clients) // orders under way: some of them only wait
	for i, o := range orders {
		for len(plan) > 0 && plan[0].order <= i {
			k.strikes <- plan[0]
			plan = plan[1:]
		}
		room <- struct{}{}
		group.Go(func() {
			o.err = o.carry(ctx, w)
			<-room
		})
	}
	return group
}

// replays asks for every answer twice more.
func replays(ctx context.Context, t *testing.T, w *world) {
	t.Helper()
	var group sync.WaitGroup
	var bad atomic.Int64
	room := make(chan struct{}, clients)
	for _, t1 := range slices.Clone(w.told) {
		room <- struct{}{}
		group.Go(func() {
			for range 2 {
				if err := w.replay(ctx, t1); err != nil && bad.Add(1) <= shown {
					t.Error(err)
				}
			}
			<-room
		})
	}
	group.Wait()
	if bad.Load() > 0 {
		t.Errorf("%d of %d replays differ from the first answer", bad.Load(), 2*len(w.told))
	}
}

// canary looks for secrets where none may be.
func canary(ctx context.Context, t *testing.T, w *world, orders []*order) {
	t.Helper()
	events, err := list[json.RawMessage](ctx, w.merchant, "/v1/events?limit=100")
	if err != nil {
		t.Error(err)
		return
	}
	if len(events) < len(orders) {
		t.Errorf("%d payments made %d events", len(orders), len(events))
	}
	b, err := json.Marshal(events)
	if err != nil {
		t.Error(err)
		return
	}
	found, err := leaks(ctx, w, orders, b)
	if err != nil {
		t.Error(err)
	}
	for _, leak := range found {
		t.Error(leak)
	}
}

// enough looks whether the run has shown anything.
func enough(t *testing.T, s size, f findings, struck map[string]int64, kills, payments int) {
	t.Helper()
	if kills < s.kills {
		t.Errorf("%d kills, want %d", kills, s.kills)
	}
	if f.money < payments/2 {
		t.Errorf("%d of %d payments moved money, want half of them", f.money, payments)
	}
	var never []string
	for _, rule := range faults {
		if struck[rule.Fault] == 0 {
			never = append(never, rule.Fault)
		}
	}
	if len(never) > 0 && !testing.Short() && payments >= 1000 {
		t.Errorf("faults that never struck: %s", strings.Join(never, ", "))
	}
}

func total(struck map[string]int64) (n int64) {
	for _, s := range struck {
		n += s
	}
	return n
}

// sends is how many requests have reached the simulator.
func sends(ctx context.Context, t *testing.T, w *world) (n int64) {
	t.Helper()
	var seen struct {
		Requests []struct {
			Requests map[string]struct{ Received int64 }
		}
	}
	if err := w.Simulator.Get(ctx, "/requests", &seen); err != nil {
		t.Error(fmt.Errorf("count sends: %w", err))
	}
	for _, r := range seen.Requests {
		for _, c := range r.Requests {
			n += c.Received
		}
	}
	return n
}
