package books_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func open(t interface{ Cleanup(func()) }, change ...func(*books.Config)) (*books.Books, *books.Clock) {
	clock := books.NewClock(start)
	cfg := books.Config{Now: clock.Now, AfterFunc: clock.AfterFunc, Seed: 1}
	for _, c := range change {
		c(&cfg)
	}
	b := books.New(cfg)
	t.Cleanup(b.Close)
	return b, clock
}

// TestInvariants drives one charge through random operations, legal or not:
// the sums of the books hold after each, and a refusal changes nothing.
func TestInvariants(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		b, clock := open(rt)
		amount := rapid.Int64Range(1, 1000).Draw(rt, "amount")
		c, err := b.Create(books.Charge{
			Connector: "stripe", Account: "a", PSPReference: "pi", Reference: "r", Currency: "EUR", Amount: amount,
			Status: payment.RequiresConfirmation, Manual: rapid.Bool().Draw(rt, "manual"), MultiCapture: rapid.Bool().Draw(rt, "multi"),
		}, true)
		if err != nil {
			rt.Fatal(err)
		}
		n := rapid.Int64Range(-1, 1001)
		refunds := 0
		held := c.Captured
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			before := c
			op := rapid.SampledFrom([]string{"authorize", "decline", "capture", "void", "expire", "refund", "settle"}).Draw(rt, "op")
			x, final := n.Draw(rt, "n"), rapid.Bool().Draw(rt, "final")
			to := rapid.SampledFrom([]payment.RefundStatus{payment.RefundPending, payment.RefundSucceeded, payment.RefundFailed}).Draw(rt, "to")
			c, err = b.Update("stripe", "a", "pi", func(p *books.Charge) error {
				switch op {
				case "authorize":
					return p.Authorize(clock.Now())
				case "decline":
					return p.Decline(books.Failure{Code: "card_declined"})
				case "capture":
					return p.Capture(x, final)
				case "void":
					return p.Void(clock.Now())
				case "expire":
					return p.Expire(clock.Now())
				case "refund":
					refunds++
					return p.Refund(books.Refund{ID: fmt.Sprint("re", refunds), Amount: x, Status: payment.RefundPending})
				default:
					return p.SettleRefund(fmt.Sprint("re", 1+x%max(1, int64(refunds))), to, "why")
				}
			})
			if err != nil && cmp.Diff(before, c) != "" {
				rt.Fatalf("%s was refused (%v) and changed the charge: %s", op, err, cmp.Diff(before, c))
			}
			if c.Captured < held {
				rt.Fatalf("captured money vanished: %d, then %d", held, c.Captured)
			}
			held = c.Captured
			checkSums(rt, c)
		}
	})
}

func checkSums(t *rapid.T, c books.Charge) {
	var refunded int64
	for _, r := range c.Refunds {
		if r.Status != payment.RefundFailed {
			refunded += r.Amount
		}
	}
	switch {
	case c.Refunded != refunded:
		t.Fatalf("got refunded %d, the refunds sum up to %d", c.Refunded, refunded)
	case c.Refunded < 0 || c.Refunded > c.Captured || c.Captured+c.Released > c.Authorized || c.Released < 0:
		t.Fatalf("sums do not hold: %+v", c)
	case c.Authorized != 0 && c.Authorized != c.Amount:
		t.Fatalf("got authorized %d of %d", c.Authorized, c.Amount)
	case c.Status == payment.Succeeded && c.Captured == 0, c.Status == payment.Canceled && c.Captured > 0,
		(c.Status == payment.Failed || c.Status == payment.Expired) && c.Authorized > 0:
		t.Fatalf("status and sums disagree: %+v", c)
	case c.Status.Terminal() && c.Capturable() != 0:
		t.Fatalf("got %d capturable in %s", c.Capturable(), c.Status)
	}
}

// TestConcurrency lets many hands capture and refund one charge.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	b, clock := open(t)
	if _, err := b.Create(books.Charge{
		Connector: "stripe", PSPReference: "pi", Amount: 1000, Currency: "EUR", Status: payment.RequiresConfirmation, Manual: true, MultiCapture: true,
	}, false); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Update("stripe", "", "pi", func(c *books.Charge) error { return c.Authorize(clock.Now()) }); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 100 {
				_, _ = b.Update("stripe", "", "pi", func(c *books.Charge) error { return c.Capture(7, false) })
				_, _ = b.Update("stripe", "", "pi", func(c *books.Charge) error {
					return c.Refund(books.Refund{ID: fmt.Sprint(i, "-", j), Amount: 5, Status: payment.RefundSucceeded})
				})
				_, _ = b.Get("stripe", "", "pi")
			}
		})
	}
	group.Wait()
	c, _ := b.Get("stripe", "", "pi")
	if c.Captured != 994 || c.Refunded != 990 {
		t.Errorf("got %d captured, %d refunded; want 994 (142 of 7) and 990 (198 of 5)", c.Captured, c.Refunded)
	}
}

func TestOldChargesAreForgotten(t *testing.T) {
	t.Parallel()
	b, _ := open(t, func(c *books.Config) { c.MaxCharges = 100 })
	put := func(i int, s payment.Status) {
		name := fmt.Sprint(i)
		if _, err := b.Create(books.Charge{Connector: "stripe", PSPReference: "pi" + name, Reference: name, AttemptReference: "ch" + name, Status: s}, true); err != nil {
			t.Fatal(err)
		}
	}
	put(0, payment.RequiresCapture)
	for i := 1; i < 1000; i++ {
		put(i, payment.Succeeded)
	}
	if n := len(b.All()); n != 100 {
		t.Errorf("got %d charges, want 100", n)
	}
	if _, err := b.Get("stripe", "", "pi0"); err != nil {
		t.Errorf("the charge that is not finished was forgotten: %v", err)
	}
	for _, name := range []string{"pi1", "ch1"} {
		if _, err := b.Get("stripe", "", name); !errors.Is(err, books.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", name, err)
		}
	}
	if _, err := b.ByReference("stripe", "", "1"); !errors.Is(err, books.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	if _, err := b.Get("stripe", "", "ch999"); err != nil {
		t.Errorf("the newest is gone: %v", err)
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	a, _ := open(t)
	b, _ := open(t)
	seen := map[string]bool{}
	for range 10_000 {
		x := a.ID("pi_", 24)
		if y := b.ID("pi_", 24); x != y || len(x) != 27 || seen[x] {
			t.Fatalf("got %s and %s; want the same, new, 27 long", x, y)
		}
		seen[x] = true
	}
	other, _ := open(t, func(c *books.Config) { c.Seed = 2 })
	if x := other.ID("pi_", 24); seen[x] {
		t.Errorf("another seed made %s too", x)
	}
}

func TestFaultProbability(t *testing.T) {
	t.Parallel()
	b, _ := open(t)
	if err := b.Faults.Add(books.Fault{Kind: books.E429, Probability: 0.25}); err != nil {
		t.Fatal(err)
	}
	if got := b.Faults.List(); len(got) != 1 || got[0].Times != 0 {
		t.Errorf("got %+v, want one rule without an end", got)
	}
	for _, bad := range []books.Fault{
		{},
		{Kind: "x"},
		{Kind: books.E429, Operation: "x"},
		{Kind: books.E429, Probability: 2},
		{Kind: books.E429, Times: -1},
		{Kind: books.E429, Times: 2, Probability: 0.5},
		{Kind: books.E429, Struck: 1},
	} {
		if err := b.Faults.Add(bad); !errors.Is(err, books.ErrFault) {
			t.Errorf("%+v: got %v, want ErrFault", bad, err)
		}
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	b, clock := open(t)
	m, one, two := b.Memory, [32]byte{1}, [32]byte{2}
	if _, replay, err := m.Begin("k", one, clock.Now()); replay || err != nil {
		t.Errorf("got %v, %v; want a fresh claim", replay, err)
	}
	if _, _, err := m.Begin("k", one, clock.Now()); !errors.Is(err, books.ErrKeyInUse) {
		t.Errorf("got %v, want ErrKeyInUse", err)
	}
	if _, _, err := m.Begin("k", two, clock.Now()); !errors.Is(err, books.ErrKeyReused) {
		t.Errorf("got %v, want ErrKeyReused", err)
	}
	m.Keep("k", 402, []byte("no"))
	if a, replay, err := m.Begin("k", one, clock.Now()); !replay || err != nil || a.Status != 402 || string(a.Body) != "no" {
		t.Errorf("got %+v, %v, %v; want the answer again", a, replay, err)
	}
	m.Forget("k")
	if _, replay, err := m.Begin("k", two, clock.Now()); replay || err != nil {
		t.Errorf("got %v, %v; want a fresh claim", replay, err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	a, clock := open(t)
	r := rand.New(rand.NewPCG(1, 2)) // repeatable on purpose
	for i := range 20 {
		c := books.Charge{Connector: "stripe", Account: "a", PSPReference: a.ID("pi_", 24), Reference: fmt.Sprint(i), Amount: 1 + r.Int64N(1000), Currency: "EUR", Status: payment.RequiresConfirmation, Metadata: map[string]string{"k": "ü"}}
		if _, err := a.Create(c, true); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Update("stripe", "a", c.PSPReference, func(p *books.Charge) error {
			if err := p.Authorize(clock.Now()); err != nil {
				return err
			}
			return p.Refund(books.Refund{ID: fmt.Sprint("re", i), Amount: 1, Status: payment.RefundPending, Created: clock.Now()})
		}); err != nil {
			t.Fatal(err)
		}
		a.Received("stripe", c.Reference, books.OpAuthorize)
	}
	a.PutMethod(books.Method{ID: "pm_1", Account: "a", Card: "pm_card_visa"})
	a.Ask(books.Challenge{ID: "chl", Connector: "stripe", PSPReference: "x"})
	_, _, _ = a.Memory.Begin("done", [32]byte{1}, clock.Now())
	a.Memory.Keep("done", 200, []byte(`{}`))
	_, _, _ = a.Memory.Begin("running", [32]byte{1}, clock.Now())
	a.Later(time.Hour, books.Task{Connector: "stripe", Charge: "x", What: "settle"})
	if _, err := a.Webhooks.Register(books.Endpoint{Connector: "stripe", URL: "http://127.0.0.1/", Secret: "s"}); err != nil {
		t.Fatal(err)
	}

	var file bytes.Buffer
	if err := a.Save(&file); err != nil {
		t.Fatal(err)
	}
	b, _ := open(t)
	if err := b.Faults.Add(books.Fault{Kind: books.E429}); err != nil {
		t.Fatal(err)
	}
	if err := b.Load(bytes.NewReader(file.Bytes())); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(a.All(), b.All()); d != "" {
		t.Errorf("charges (-saved +loaded):\n%s", d)
	}
	if d := cmp.Diff(a.Counts("", ""), b.Counts("", "")); d != "" {
		t.Errorf("counts (-saved +loaded):\n%s", d)
	}
	if d := cmp.Diff(a.Tasks(), b.Tasks()); d != "" {
		t.Errorf("tasks (-saved +loaded):\n%s", d)
	}
	if _, err := b.Get("stripe", "a", "re7"); err != nil {
		t.Errorf("a refund is not found: %v", err)
	}
	if _, ok := b.Method("a", "pm_1"); !ok {
		t.Error("the payment method is gone")
	}
	if _, ok := b.Challenge("chl"); !ok {
		t.Error("the challenge is gone")
	}
	if _, replay, err := b.Memory.Begin("done", [32]byte{1}, clock.Now()); !replay || err != nil {
		t.Errorf("got %v, %v; want the answer again", replay, err)
	}
	if _, replay, err := b.Memory.Begin("running", [32]byte{1}, clock.Now()); replay || err != nil {
		t.Errorf("got %v, %v; want a fresh claim: nobody will finish the old one", replay, err)
	}
	if n := len(b.Faults.List()); n != 1 {
		t.Errorf("got %d faults, want the one set before loading", n)
	}
	if err := b.Load(bytes.NewReader([]byte("{"))); err == nil {
		t.Error("a broken file was loaded")
	}
}

func TestTasks(t *testing.T) {
	t.Parallel()
	b, clock := open(t)
	var done []string
	b.OnDue("stripe", func(task books.Task) { done = append(done, task.What) })
	b.Later(2*time.Second, books.Task{Connector: "stripe", What: "second"})
	b.Later(time.Second, books.Task{Connector: "stripe", What: "first"})
	b.Later(time.Hour, books.Task{Connector: "stripe", What: "fourth"})
	b.Later(time.Minute, books.Task{Connector: "stripe", What: "third"})
	clock.Advance(2 * time.Second)
	if n := b.Advance(); n != 2 {
		t.Errorf("got %d advanced, want 2", n)
	}
	clock.Advance(2 * time.Hour)
	if d := cmp.Diff([]string{"first", "second", "third", "fourth"}, done); d != "" {
		t.Errorf("tasks (-want +got):\n%s", d)
	}
}

func TestCards(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range books.Cards {
		if !payment.ValidPAN(c.Number) || c.Brand() == "" || c.Means == "" || c.Token == "" {
			t.Errorf("%s (%s): not a card that can be used", c.Number, c.Token)
		}
		if seen[c.Number] || seen[c.Token] {
			t.Errorf("%s (%s): twice in the table", c.Number, c.Token)
		}
		seen[c.Number], seen[c.Token] = true, true
	}
}
