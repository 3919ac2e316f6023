package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-pay/purser/test/deployment"
)

// nodes is how many gateways share a database.
const nodes = 3

// away is for how long the database is cut off, at most.
const away = 1500 * time.Millisecond

// openCluster starts several gateways on one database, behind a balancer.
func openCluster(t *testing.T, seed uint64) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts many processes")
	}
	db, err := deployment.NewDatabase(t.Context())
	if errors.Is(err, deployment.ErrNoPostgres) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Drop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	redis, err := deployment.NewRedis(t.Context())
	if errors.Is(err, deployment.ErrNoRedis) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := redis.Close(); err != nil {
			t.Error(err)
		}
	})
	w := open(t, deployment.Config{Seed: seed, Nodes: nodes, Database: db.DSN, Redis: redis.URL})
	w.database, w.redis = db, redis
	return w
}

// clusterSize is how much is to be done: CLUSTER_PAYMENTS, and harm in
// proportion.
func clusterSize(t *testing.T) size {
	t.Helper()
	n := 800
	if v := os.Getenv("CLUSTER_PAYMENTS"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil || n < 50 {
			t.Fatalf("CLUSTER_PAYMENTS=%q is no number of at least 50", v)
		}
	}
	return size{n, max(6, n/60)}
}

// TestCluster kills nodes, cuts the database and Redis off and reloads configurations while
// PSPs misbehave, and then compares what merchants were told, by answer and by
// webhook, with the PSPs' books.
func TestCluster(t *testing.T) {
	n, _ := chosen(t)
	s := clusterSize(t)
	t.Logf("seed %d: run again with CRASH_SEED=%d", n, n)
	w := openCluster(t, n)
	bounded, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	ctx, fail := context.WithCancelCause(bounded)
	defer fail(nil)
	h := openHooks(ctx, t, w.merchant)

	began := time.Now()
	random := rand.New(rand.NewPCG(n, 2))
	orders := make([]*order, s.payments)
	for i := range orders {
		orders[i] = draw(random, i, threeDialects)
	}
	if err := setFaults(ctx, w.Simulator, withAdyen()); err != nil {
		t.Fatal(err)
	}
	harm := &harms{w: w, random: rand.New(rand.NewPCG(n, 3))}
	killer := release(ctx, w, s.kills, harm.do, fail)
	begun := load(ctx, w, orders, strikes(random, s.kills, s.payments), killer)
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
	for _, o := range orders {
		if o.err != nil && !errors.Is(o.err, errLeft) {
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
	events, repeats, slowest := h.arrived(ctx, t, w.merchant)
	replays(ctx, t, w)
	canary(ctx, t, w, orders)
	if harm.kills == 0 || harm.cuts == 0 || harm.uncounted == 0 || harm.reloads == 0 {
		t.Errorf("%d kills, %d cuts of the database, %d of Redis and %d reloads, want some of each",
			harm.kills, harm.cuts, harm.uncounted, harm.reloads)
	}
	t.Logf("seed %d: %d nodes, payments %d (%d moved money), kills %d, database away %d times, Redis away %d times, reloads %d, requests cut off %d, faults fired %d, merchants' requests %d of which repeats %d, events %d, webhooks repeated %d, the slowest after %.1f s, double charges %d, lost %d, wrong %d, unresolved %d, load %s, settled after %.1f s, all in %s",
		n, nodes, len(orders), f.money, harm.kills, harm.cuts, harm.uncounted, harm.reloads, killer.cut, total(struck), w.sent.Load(), w.repeated.Load(),
		events, repeats, slowest.Seconds(), len(f.double), len(f.lost), len(f.wrong), max(len(f.undecided), len(left)),
		loaded.Round(time.Second), settled.Seconds(), time.Since(began).Round(time.Second))
}

// harms is what befalls a cluster.
type harms struct {
	w                               *world
	random                          *rand.Rand
	kills, cuts, uncounted, reloads int
}

// what befalls it, in turn.
const (
	aKill = iota
	aCut
	anotherKill
	aRedisCut
	aReload
	harmKinds
)

func (h *harms) do(ctx context.Context, s strike) error {
	pause := time.Duration(h.random.Int64N(int64(away)))
	switch (h.kills + h.cuts + h.uncounted + h.reloads) % harmKinds {
	case aRedisCut:
		h.uncounted++
		h.w.redis.Cut()
		wait(ctx, pause)
		h.w.redis.Mend()
		return nil
	case aCut:
		h.cuts++
		if crashed, err := h.w.database.Crash(ctx); crashed || err != nil {
			return err
		}
		if err := h.w.database.Cut(ctx); err != nil {
			return err
		}
		wait(ctx, pause)
		return h.w.database.Mend(ctx)
	case aReload:
		h.reloads++
		node := h.w.Nodes[s.node%nodes]
		if err := node.Ready(ctx); err != nil {
			return err
		}
		return node.Reload(ctx)
	default:
		h.kills++
		return h.w.strike(ctx, s)
	}
}

// TestOneKeyTwoNodes sends each request to two nodes at the same moment: the two
// answers are one and the same, and there is one charge.
func TestOneKeyTwoNodes(t *testing.T) {
	w := openCluster(t, 1)
	ctx := t.Context()
	tries := 1000
	var wg sync.WaitGroup
	var bad atomic.Int64
	room := make(chan struct{}, 8)
	for i := range tries {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			body := object{
				"amount": 1000 + i, "currency": "EUR",
				"payment_method": object{"type": "card_token", "card_token": object{"token": "pm_card_visa"}},
			}
			var answers [2]payment
			var errs [2]error
			var both sync.WaitGroup
			for n := range answers {
				both.Go(func() {
					m := newMerchant(w.Nodes[(i+n)%nodes].URL, w.key, 1)
					m.client = w.client
					errs[n] = m.post(ctx, "/v1/payments", fmt.Sprintf("both-%d", i), body, &answers[n])
				})
			}
			both.Wait()
			if err := errors.Join(errs[:]...); err != nil || answers[0].ID != answers[1].ID || answers[0].Status != "succeeded" {
				if bad.Add(1) <= shown {
					t.Errorf("try %d: got %s %s and %s (error %v), want one payment that succeeded", i, answers[0].ID, answers[0].Status, answers[1].ID, err)
				}
			}
		})
	}
	wg.Wait()
	var books struct{ Charges []charge }
	if err := w.Simulator.Get(ctx, "/books", &books); err != nil {
		t.Fatal(err)
	}
	charges := 0
	for i := range books.Charges {
		if books.Charges[i].Authorized > 0 {
			charges++
		}
	}
	if charges != tries {
		t.Errorf("%d keys made %d charges", tries, charges)
	}
}

// TestRevocation holds that a key that was made at one node is good at all of them at
// once, and that a key or a token that is revoked is refused by all within a second.
func TestRevocation(t *testing.T) {
	w := openCluster(t, 1)
	ctx := t.Context()
	status := func(n *deployment.Node, key string) int {
		a, err := newMerchant(n.URL, key, 1).once(ctx, http.MethodGet, "/v1/account", "", nil)
		if err != nil {
			t.Error(err)
		}
		return a.status
	}
	token := func(ctx context.Context) (id, text string, err error) {
		id = fmt.Sprintf("token-%d", time.Now().UnixNano())
		text, err = w.NewToken(id)
		return id, text, err
	}
	for _, kind := range []struct {
		name   string
		make   func(context.Context) (id, text string, err error)
		revoke func(ctx context.Context, id string) error
	}{
		{"key", w.NewKey, w.RevokeKey},
		{"token", token, w.RevokeToken},
	} {
		var slowest time.Duration
		for range 10 {
			id, text, err := kind.make(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range w.Nodes {
				if got := status(n, text); got != http.StatusOK {
					t.Fatalf("%s answers a %s that was made just now with %d", n.Name, kind.name, got)
				}
			}
			began := time.Now()
			if err := kind.revoke(ctx, id); err != nil {
				t.Fatal(err)
			}
			revoked := time.Now() // it took effect between the two
			for _, n := range w.Nodes {
				for status(n, text) != http.StatusUnauthorized {
					if time.Since(revoked) > time.Second {
						t.Fatalf("%s takes a %s %s after its revocation", n.Name, kind.name, time.Since(revoked))
					}
				}
			}
			slowest = max(slowest, time.Since(began))
		}
		t.Logf("the revocation of a %s held on all nodes after %s at most, the command included", kind.name, slowest)
	}
}

// TestStoreAway holds how fast a node says that its store is away, that no PSP is
// called meanwhile, and how fast it is back.
func TestStoreAway(t *testing.T) {
	w := openCluster(t, 1)
	ctx := t.Context()
	before := sends(ctx, t, w)
	if err := w.database.Cut(ctx); err != nil {
		t.Fatal(err)
	}
	body := object{"amount": 1000, "currency": "EUR", "payment_method": object{"type": "card_token", "card_token": object{"token": "pm_card_visa"}}}
	for _, n := range w.Nodes {
		m := newMerchant(n.URL, w.key, 1)
		began := time.Now()
		a, err := m.try(ctx, "away-"+n.Name, body)
		if took := time.Since(began); err != nil || a.status != http.StatusServiceUnavailable || refusal(a).Code != "store_unavailable" || a.later == "" || took > 2*time.Second {
			t.Errorf("%s: got %d %s, Retry-After %q, after %s (error %v), want 503 store_unavailable within 2 s and when to come again",
				n.Name, a.status, refusal(a).Code, a.later, took, err)
		}
	}
	if got := sends(ctx, t, w); got != before {
		t.Errorf("the PSP was called %d times while the store was away", got-before)
	}
	if err := w.database.Mend(ctx); err != nil {
		t.Fatal(err)
	}
	mended := time.Now()
	var wg sync.WaitGroup
	for _, n := range w.Nodes {
		m := newMerchant(n.URL, w.key, 1)
		wg.Go(func() {
			for {
				a, err := m.try(ctx, "back-"+n.Name, body)
				if err == nil && a.status == http.StatusCreated {
					break
				}
				if time.Since(mended) > 5*time.Second {
					t.Errorf("%s is not back: %d %s (%v)", n.Name, a.status, a.body, err)
					return
				}
				wait(ctx, 10*time.Millisecond) // the machine has more to do than to refuse
			}
			if took := time.Since(mended); took > time.Second {
				t.Errorf("%s was back after %s, want less than 1 s", n.Name, took)
			}
		})
	}
	wg.Wait()
	t.Logf("all nodes were back after %s", time.Since(mended))
}

// TestRollingRestart stops and starts every node in turn, and reloads
// configurations, under load: every request of a merchant is answered at its first
// try. (The balancer may have tried twice, under the merchant's Idempotency-Key.)
func TestRollingRestart(t *testing.T) {
	w := openCluster(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var done, dropped atomic.Int64
	for c := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				a, err := w.try(ctx, fmt.Sprintf("rolling-%d-%d", c, i), object{
					"amount": 1000 + i, "currency": "EUR",
					"payment_method": object{"type": "card_token", "card_token": object{"token": "pm_card_visa"}},
				})
				done.Add(1)
				if (err != nil || a.status != http.StatusCreated) && dropped.Add(1) <= shown {
					t.Errorf("request %d of client %d: %d %.200s (error %v), want 201", i, c, a.status, a.body, err)
				}
			}
		})
	}
	err := roll(ctx, w)
	close(stop)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a restart of each of %d nodes, and 10 reloads of them and 10 of the balancer under load: %d requests, %d dropped", nodes, done.Load(), dropped.Load())
	if done.Load() < 200 {
		t.Errorf("%d requests are no load", done.Load())
	}
}

// roll restarts every node, one after the other, and reloads them and their balancer
// ten times.
func roll(ctx context.Context, w *world) error {
	for _, n := range w.Nodes {
		if err := errors.Join(n.Stop(ctx), n.Start(), n.Ready(ctx)); err != nil {
			return err
		}
		wait(ctx, 500*time.Millisecond) // the balancer looks five times a second
	}
	for i := range 10 {
		if err := errors.Join(w.Nodes[i%nodes].Reload(ctx), w.ReloadBalancer(ctx)); err != nil {
			return err
		}
	}
	return nil
}
