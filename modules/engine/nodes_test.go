package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
	"github.com/purser-pay/purser/modules/store"
)

// What nodes do to each other that stand still, know other accounts, or are busy with
// the same thing at the same time.

func (w *world) mustCreate(t *testing.T, key string, in engine.Create) engine.Answer {
	t.Helper()
	a, err := w.eng.Create(t.Context(), claim(key), in)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// funcExchange is a transport that a test writes.
type funcExchange func(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange

func (f funcExchange) Exchange(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange {
	return f(ctx, a, c)
}

// then does something after each exchange, before its answer is read.
func (w *world) then(after func()) funcExchange {
	return func(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange {
		x := w.Exchange(ctx, a, c)
		after()
		return x
	}
}

// once has f run at its first call alone.
func once(f func()) func() {
	done := false
	return func() {
		if !done {
			done = true
			f()
		}
	}
}

// TestOneAnswer: a caller that outlives its lease does not write over the answer that
// a repeat at another node has heard.
func TestOneAnswer(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault []string // of the first PSP
	}{
		{"paid in the end", nil},
		{"taken to another account", []string{"refused"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.psps["keyed"].fault = tt.fault
			var second engine.Answer
			w.psps["keyed"].during = func(context.Context) {
				if second.Status != 0 {
					return
				}
				w.pass(25 * time.Second) // the lease is of the timeout and 10 s more
				var err error
				if second, err = engine.New(w.cfg).Create(context.Background(), claim("k"), cardPayment(1000, payment.CaptureAutomatic)); err != nil {
					t.Fatalf("the repeat: %v", err)
				}
			}
			w.psps["second"].during = func(context.Context) {
				third, err := engine.New(w.cfg).Create(context.Background(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
				if err != nil || !bytes.Equal(third.Body, second.Body) {
					t.Errorf("a repeat while another account is tried: got %s, %v; want %s", third.Body, err, second.Body)
				}
			}
			first := w.mustCreate(t, "k", cardPayment(1000, payment.CaptureAutomatic))
			last := w.mustCreate(t, "k", cardPayment(1000, payment.CaptureAutomatic))
			for name, got := range map[string]engine.Answer{"the first caller": first, "the last repeat": last} {
				if !bytes.Equal(got.Body, second.Body) {
					t.Errorf("%s: got %s, want what the repeat has heard: %s", name, got.Body, second.Body)
				}
			}
			w.calm(time.Minute)
			if p := w.payment(read(t, first).ID); p.Status != payment.Succeeded {
				t.Errorf("in the end: %s, want %s", p.Status, payment.Succeeded)
			}
		})
	}
}

// TestClosingKeepsTheKey: closing what one account holds, before the next is tried,
// takes an exchange of its own, for which the caller's key is held as well.
func TestClosingKeepsTheKey(t *testing.T) {
	w := newWorld(t, 1)
	for _, a := range w.cfg.Accounts {
		a.Timeout = 20 * time.Second
	}
	asked := false
	cfg := w.cfg
	cfg.Exchange = funcExchange(func(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange {
		w.pass(9 * time.Second) // a slow PSP, well inside its timeout
		switch kind := c.Op.Kind(); {
		case kind == payment.KindAuthorize && a.Name != "second" && c.Step != "card":
			return connector.Exchange{Outcome: connector.Answered, Sends: 1, Result: connector.Result{
				State: connector.Declined, Payable: true, Failure: payment.Fail(payment.PSPUnavailable), PSPReference: "pi_1",
			}}
		case kind == payment.KindVoid:
			w.pass(9 * time.Second)
			asked = true
			_, err := engine.New(w.cfg).Create(context.Background(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
			if pe, ok := errors.AsType[*payment.Error](err); !ok || pe.Code != payment.CodeKeyInUse {
				t.Errorf("a repeat while the first account is closed: got %v, want %s", err, payment.CodeKeyInUse)
			}
			return connector.Exchange{Outcome: connector.Answered, Sends: 1, Result: connector.Result{State: connector.Canceled}}
		}
		return w.Exchange(ctx, a, c)
	})
	a, err := engine.New(cfg).Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
	if err != nil || read(t, a).Status != string(payment.Succeeded) || !asked {
		t.Errorf("got %s, %v, closed %t; want %s", a.Body, err, asked, payment.Succeeded)
	}
}

// TestUnknownAccountKeepsWebhook: a node that does not know an account leaves its
// webhooks to those that do, for three days.
func TestUnknownAccountKeepsWebhook(t *testing.T) {
	w := newWorld(t, 1)
	w.psps["keyed"].fault = []string{"", "lost after"}
	id := read(t, w.mustCreate(t, "k", cardPayment(1000, payment.CaptureAutomatic))).ID
	ch := w.psps["keyed"].order[0]
	event := connector.Event{Of: payment.KindAuthorize, Reference: ch.ref, PSPReference: ch.psp, Result: ch.result()}
	receive := func() {
		t.Helper()
		if err := w.eng.Receive(t.Context(), "keyed", []connector.Event{event}); err != nil {
			t.Fatal(err)
		}
	}
	left := func() bool {
		t.Helper()
		_, ok, err := w.store.Due(t.Context(), store.Inbound)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	old := w.cfg
	old.Accounts = map[string]*connector.Account{"second": w.cfg.Accounts["second"]}
	work := func(cfg engine.Config) {
		t.Helper()
		if _, err := engine.New(cfg).Work(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	receive()
	work(old)
	if !left() {
		t.Fatal("the node that does not know the account has dropped the webhook")
	}
	w.pass(5 * time.Second)
	inbound := w.cfg
	inbound.Store = busyStore{w.store}
	work(inbound)
	if p := w.payment(id); p.Status != payment.Succeeded || left() {
		t.Errorf("at the node that knows it: %s, left %t; want %s and nothing", p.Status, left(), payment.Succeeded)
	}

	receive()
	w.pass(3*24*time.Hour - time.Second)
	work(old)
	if !left() {
		t.Error("dropped before three days are over")
	}
	w.pass(time.Hour)
	work(old)
	if left() {
		t.Error("still there after three days")
	}
}

// busyStore hands out no recovery: all places are taken.
type busyStore struct{ store.Store }

func (s busyStore) Lease(ctx context.Context, q store.Queue, now time.Time, limit int, hold time.Duration) ([]store.Item, error) {
	if q == store.Recover {
		return nil, nil
	}
	return s.Store.Lease(ctx, q, now, limit, hold)
}

// TestLooksAreNotLost: a PSP's news that something has changed is followed until the
// PSP has said what, and news that come meanwhile are followed as well.
func TestLooksAreNotLost(t *testing.T) {
	refund := func(w *world, total int64) {
		ch := w.psps["keyed"].order[0]
		ch.refund = total
		event := connector.Event{Of: payment.KindAuthorize, Reference: ch.ref, PSPReference: ch.psp, Result: ch.result()}
		if err := w.eng.Receive(context.Background(), "keyed", []connector.Event{event}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name  string
		begin func(w *world)
		want  int64
	}{
		{"the question is lost", func(w *world) {
			w.psps["keyed"].fault = []string{"lost before"}
			refund(w, 100)
		}, 100},
		{"more news while the answer is on its way", func(w *world) {
			refund(w, 100)
			cfg := w.cfg
			cfg.Exchange = w.then(once(func() {
				refund(w, 300)
				other := w.cfg
				other.Store = busyStore{w.store}
				if _, err := engine.New(other).Work(context.Background()); err != nil {
					t.Fatal(err)
				}
			}))
			if _, err := engine.New(cfg).Work(context.Background()); err != nil {
				t.Fatal(err)
			}
		}, 300},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 1)
			id := read(t, w.mustCreate(t, "k", cardPayment(1000, payment.CaptureAutomatic))).ID
			tt.begin(w)
			for range 120 {
				w.pass(time.Second)
				w.work()
			}
			if p := w.payment(id); p.AmountRefunded() != tt.want {
				t.Errorf("two minutes later: refunded %d, want %d as at the PSP", p.AmountRefunded(), tt.want)
			}
			if due, ok, err := w.store.Due(t.Context(), store.Recover); ok || err != nil {
				t.Errorf("in the end there is still a look due at %v (%v)", due, err)
			}
		})
	}
}

// TestStoodStill: a node that stands still between its intent and its first byte sends
// nothing once recovery has had the time to settle the payment.
func TestStoodStill(t *testing.T) {
	w := newWorld(t, 1)
	cfg := w.cfg
	cfg.Store = &stillStore{w.store, once(func() {
		for range 60 {
			w.pass(time.Second)
			w.work()
		}
		if p := w.payments()[0]; p.Status != payment.Failed {
			t.Fatalf("while the node stood still: %s, want %s, or the test tests nothing", p.Status, payment.Failed)
		}
	})}
	if _, err := engine.New(cfg).Create(t.Context(), claim("k"), walletPayment(1000, payment.FlowBarcode)); err != nil {
		t.Fatal(err)
	}
	w.calm(5 * time.Minute)
	if p := w.payments()[0]; p.Status != payment.Failed || p.Outcome != payment.Known {
		t.Errorf("in the end: %s %s, want %s %s", p.Status, p.Outcome, payment.Failed, payment.Known)
	}
	for _, ch := range w.psps["named"].order {
		if ch.captured != 0 {
			t.Errorf("the PSP was made to take %d after the payment had ended", ch.captured)
		}
	}
}

// stillStore does something after each commit.
type stillStore struct {
	store.Store
	after func()
}

func (s *stillStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	err := s.Store.Update(ctx, fn)
	if err == nil {
		s.after()
	}
	return err
}

// TestNotFoundIsBelievedLate: what a PSP does not know is believed only where it was
// asked not_found_after the last byte may have left.
func TestNotFoundIsBelievedLate(t *testing.T) {
	const notFoundAfter = 10 * time.Second
	for _, tt := range []struct {
		name     string
		exchange time.Duration // until the exchange has ended without an answer; its last send is 5 s before
		dies     bool          // the node dies at that moment, and writes nothing down
		question time.Duration // until a question has been answered
	}{
		{"at once", 0, false, 0},
		{"repeated until the end", 20 * time.Second, false, 0},
		{"repeated until the end, which nobody has written down", 20 * time.Second, true, 0},
		{"a slow answer", 0, false, 9 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 1)
			acct := w.cfg.Accounts["named"]
			acct.Timeout, acct.NotFoundAfter = 20*time.Second, notFoundAfter
			w.psps["named"].fault = []string{"lost before"}
			lastSend := w.now()
			cfg := w.cfg
			dead := &deadStore{Store: w.store}
			cfg.Store = dead
			cfg.Exchange = funcExchange(func(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange {
				x := w.Exchange(ctx, a, c)
				if tt.exchange > 0 {
					w.pass(tt.exchange - 5*time.Second)
					lastSend = w.now()
					w.pass(5 * time.Second)
				}
				dead.now = tt.dies
				return x
			})
			_, err := engine.New(cfg).Create(t.Context(), claim("k"), walletPayment(1000, payment.FlowBarcode))
			if tt.dies != (err != nil) {
				t.Fatalf("create: %v", err)
			}
			id := w.payments()[0].ID
			var asked time.Time
			node := w.cfg
			node.Exchange = funcExchange(func(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange {
				asked = w.now()
				x := w.Exchange(ctx, a, c)
				w.pass(tt.question)
				return x
			})
			recovery := engine.New(node)
			for range 240 {
				w.pass(500 * time.Millisecond)
				if _, err := recovery.WorkSerially(t.Context()); err != nil {
					t.Fatal(err)
				}
				if w.payment(id).Status != payment.Processing {
					break
				}
			}
			p := w.payment(id)
			if p.Status != payment.Failed || p.Outcome != payment.Known {
				t.Fatalf("two minutes later: %s %s, want %s", p.Status, p.Outcome, payment.Failed)
			}
			if d := asked.Sub(lastSend); d < notFoundAfter {
				t.Errorf("believed what the PSP did not know %s after the last send; not_found_after is %s", d, notFoundAfter)
			}
		})
	}
}

// TestNotFoundAfterLostRepeat: nor is it where a node has died in the midst of a
// repeat, whose last byte may have left at its very end.
func TestNotFoundAfterLostRepeat(t *testing.T) {
	w := newWorld(t, 1)
	acct := w.cfg.Accounts["named"]
	acct.Timeout, acct.NotFoundAfter = 20*time.Second, 20*time.Second
	w.psps["named"].fault = []string{"lost before", "lost before"} // the first send, and its repeat
	id := read(t, w.mustCreate(t, "k", walletPayment(1000, payment.FlowQR))).ID
	w.pass(25 * time.Second)
	dead := &deadStore{Store: w.store}
	node := w.cfg
	node.Store = dead
	var lastSend time.Time
	node.Exchange = funcExchange(func(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange {
		x := w.Exchange(ctx, a, c)
		w.pass(15 * time.Second)
		lastSend = w.now()
		w.pass(5 * time.Second)
		dead.now = true
		return x
	})
	if _, err := engine.New(node).WorkSerially(t.Context()); err != nil || lastSend.IsZero() {
		t.Fatalf("the repeat: %v, sent %v", err, lastSend)
	}
	for range 100 {
		w.pass(100 * time.Millisecond)
		w.work()
	}
	if p := w.payment(id); p.Status == payment.Failed {
		t.Errorf("%s after the last send it has failed; not_found_after is 20s", w.now().Sub(lastSend))
	}
}

// deadStore belongs to a process that dies: it writes nothing any more.
type deadStore struct {
	store.Store
	now bool
}

func (s *deadStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	if s.now {
		return store.ErrUnavailable
	}
	return s.Store.Update(ctx, fn)
}

// TestPollingSettles: whoever asks for the payment again and again keeps recovery from
// nothing: neither from the question that alone helps where a PSP replays a 500, nor
// from the repeat where only that does.
func TestPollingSettles(t *testing.T) {
	for _, fault := range []books.Fault{
		{Connector: "stripe", Operation: "authorize", Kind: books.E500After, Times: 1, Replay: true},
		{Connector: "stripe", Operation: "authorize", Kind: books.ResetBefore, Times: 3},
	} {
		r := newRig(t)
		if err := r.sim.Books().Faults.Add(fault); err != nil {
			t.Fatal(err)
		}
		o := r.create(tokenPayment(payment.CaptureAutomatic))
		r.sim.Books().Faults.Clear()
		if o.Status != string(payment.Processing) {
			t.Fatalf("%s: created %s, want %s", fault.Kind, o.Status, payment.Processing)
		}
		last := time.Time{}
		for range 240 { // two minutes
			if now := r.now(); now.Sub(last) >= 2*time.Second {
				last = now
				if _, err := r.eng.Payment(t.Context(), scope, o.ID, true); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := r.eng.Work(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.pass(500 * time.Millisecond)
		}
		if p := r.payment(o.ID); p.Status != payment.Succeeded || p.Outcome != payment.Known {
			t.Errorf("%s: after two minutes of polling: %s %s, want %s", fault.Kind, p.Status, p.Outcome, payment.Succeeded)
		}
	}
}

// TestTwoCaptures: two captures under way at two nodes, and a look between: each is
// counted once.
func TestTwoCaptures(t *testing.T) {
	for _, first := range []int64{4000, 5000, 6000} {
		t.Run(fmt.Sprint(first), func(t *testing.T) { twoCaptures(t, first, 10_000-first) })
	}
}

func twoCaptures(t *testing.T, first, second int64) {
	t.Helper()
	w := newWorld(t, 1)
	id := read(t, w.mustCreate(t, "k", cardPayment(10_000, payment.CaptureManual))).ID
	if err := w.store.Update(t.Context(), func(tx store.Tx) error {
		p, err := tx.Payment(id)
		if err != nil {
			return err
		}
		p.Current().MultiCapture = true
		p.Version++
		return tx.PutPayment(&p)
	}); err != nil {
		t.Fatal(err)
	}
	w.pass(30 * time.Second)
	answered := func(ch *charge) connector.Exchange {
		return connector.Exchange{Outcome: connector.Answered, Result: ch.result(), Sends: 1}
	}
	var e *engine.Engine
	captures := 0
	cfg := w.cfg
	cfg.Exchange = funcExchange(func(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange {
		op, ok := c.Op.(payment.Capture)
		if !ok {
			return w.Exchange(ctx, a, c)
		}
		ch := w.psps["keyed"].order[0]
		if captures++; captures == 1 {
			// While this one is on its way, another is made.
			if _, err := e.Capture(context.Background(), claim("c2"), id, engine.Capture{Amount: second}); err != nil {
				t.Error(err)
			}
			if p := w.payment(id); p.AmountCaptured() != ch.captured {
				t.Errorf("after the second capture: captured %d, want %d as at the PSP", p.AmountCaptured(), ch.captured)
			}
			ch.captured += op.Amount.Minor
			return answered(ch)
		}
		ch.captured += op.Amount.Minor // the PSP has done it; before its answer is read the merchant looks
		x := answered(ch)
		if _, err := e.Payment(context.Background(), scope, id, true); err != nil {
			t.Error(err)
		}
		return x
	})
	e = engine.New(cfg)
	if _, err := e.Capture(t.Context(), claim("c1"), id, engine.Capture{Amount: first}); err != nil {
		t.Fatal(err)
	}
	p := w.payment(id)
	if p.AmountCaptured() != 10_000 || p.Status != payment.Succeeded {
		t.Errorf("captured %d, %s; want 10000, %s", p.AmountCaptured(), p.Status, payment.Succeeded)
	}
	var made []int64
	for _, a := range p.Attempts {
		if a.Kind == payment.KindCapture {
			made = append(made, a.Amount)
			if a.Status != payment.AttemptSucceeded || a.Origin != payment.OriginMerchant {
				t.Errorf("a capture of %d is %s, by %s; want %s, by %s", a.Amount, a.Status, a.Origin, payment.AttemptSucceeded, payment.OriginMerchant)
			}
		}
	}
	if want := []int64{first, second}; !slices.Equal(made, want) {
		t.Errorf("captures: %v, want %v", made, want)
	}
}

// TestAnswersOutliveAnOutage: what a PSP has answered is written down once the store is
// back, at each step, and its caller hears it.
func TestAnswersOutliveAnOutage(t *testing.T) {
	for commit := 2; commit <= 3; commit++ { // the record of the card's step, and that of the money's
		for tries := range 3 {
			w := newWorld(t, 1)
			cfg := w.cfg
			out := &outage{Store: w.store, before: commit, length: tries}
			cfg.Store = out
			var asked []int
			cfg.Again = func(try int) bool {
				asked = append(asked, try)
				return try < 2
			}
			a, err := engine.New(cfg).Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
			if err != nil || read(t, a).Status != string(payment.Succeeded) {
				t.Errorf("away %d times before commit %d: got %s, %v; want %s", tries, commit, a.Body, err, payment.Succeeded)
			}
			if want := []int{0, 1}[:tries]; !slices.Equal(asked, want) {
				t.Errorf("away %d times: asked whether to go on at %v, want %v", tries, asked, want)
			}
			if calls := w.psps["keyed"].calls; len(calls) != 2 {
				t.Errorf("away %d times: the PSP got %v, want each step once", tries, calls)
			}
		}
	}
	w := newWorld(t, 1)
	cfg := w.cfg
	cfg.Store = &outage{Store: w.store, before: 3, length: 3}
	cfg.Again = func(try int) bool { return try < 2 }
	_, err := engine.New(cfg).Create(t.Context(), claim("k"), cardPayment(1000, payment.CaptureAutomatic))
	if pe, ok := errors.AsType[*payment.Error](err); !ok || pe.Code != payment.CodeStoreUnavailable {
		t.Errorf("away for longer: got %v, want %s", err, payment.CodeStoreUnavailable)
	}
	w.calm(time.Minute)
	if p := w.payments()[0]; p.Status != payment.Succeeded || p.Outcome != payment.Known {
		t.Errorf("away for longer, a minute later: %s %s, want %s", p.Status, p.Outcome, payment.Succeeded)
	}
}

// outage is a store that is away before a commit, for so many tries.
type outage struct {
	store.Store
	before, length int
}

func (s *outage) Update(ctx context.Context, fn func(store.Tx) error) error {
	if s.before == 1 && s.length > 0 {
		s.length--
		return fmt.Errorf("a test: %w", store.ErrUnavailable)
	}
	s.before--
	return s.Store.Update(ctx, fn)
}

// TestConfirmedWhileItExpires: a payment that is confirmed in the moment in which its
// time ends has an end all the same.
func TestConfirmedWhileItExpires(t *testing.T) {
	w := newWorld(t, 1)
	in := walletPayment(1000, payment.FlowQR)
	in.Confirm = false
	id := read(t, w.mustCreate(t, "k", in)).ID
	w.pass(w.payment(id).ExpiresAt.Sub(w.now()))
	cfg := w.cfg
	confirmed := false
	cfg.Store = leaseHook{w.store, store.Expire, once(func() {
		a, err := w.eng.Confirm(context.Background(), claim("c"), id, engine.Confirm{})
		if err != nil || read(t, a).Status != string(payment.RequiresAction) {
			t.Fatalf("confirm: %s, %v", a.Body, err)
		}
		confirmed = true
	})}
	if _, err := engine.New(cfg).WorkSerially(t.Context()); err != nil || !confirmed {
		t.Fatalf("work: %v, confirmed %t", err, confirmed)
	}
	w.calm(5 * time.Minute)
	if p := w.payment(id); p.Status != payment.Expired {
		t.Errorf("five minutes later: %s, want %s", p.Status, payment.Expired)
	}
}

// leaseHook does something after work was handed out.
type leaseHook struct {
	store.Store
	queue store.Queue
	after func()
}

func (s leaseHook) Lease(ctx context.Context, q store.Queue, now time.Time, limit int, hold time.Duration) ([]store.Item, error) {
	items, err := s.Store.Lease(ctx, q, now, limit, hold)
	if q == s.queue && len(items) > 0 {
		s.after()
	}
	return items, err
}

// TestStopGivesBack: what a node that stops had begun is due at once for another.
func TestStopGivesBack(t *testing.T) {
	w := newWorld(t, 1)
	w.psps["keyed"].fault = []string{"", "lost before"}
	w.mustCreate(t, "k", cardPayment(1000, payment.CaptureAutomatic))
	w.pass(2 * time.Second)
	ctx, stop := context.WithCancel(t.Context())
	cfg := w.cfg
	cfg.Store = leaseHook{w.store, store.Recover, stop}
	if _, err := engine.New(cfg).Work(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	due, ok, err := w.store.Due(t.Context(), store.Recover)
	if !ok || err != nil || due.After(w.now()) {
		t.Errorf("due %v (%t, %v), want now, %v", due, ok, err, w.now())
	}
}

// TestDeadPSPHoldsUpNobody: with any number of payments in doubt at a PSP that hangs,
// those at another are looked at.
func TestDeadPSPHoldsUpNobody(t *testing.T) {
	w := newWorld(t, 1)
	const doubted = 150 // more than there are places
	for i := range doubted {
		w.psps["keyed"].fault = []string{"", "lost before"}
		w.mustCreate(t, fmt.Sprint("k", i), cardPayment(1000, payment.CaptureAutomatic))
	}
	w.psps["named"].fault = []string{"lost before"}
	w.mustCreate(t, "other", walletPayment(1000, payment.FlowQR))
	w.pass(2 * time.Second)
	looked, release := make(chan struct{}), make(chan struct{})
	see := sync.OnceFunc(func() { close(looked) })
	cfg := w.cfg
	cfg.Exchange = funcExchange(func(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange {
		if a.Name == "named" {
			see()
			return w.Exchange(ctx, a, c)
		}
		<-release
		return connector.Exchange{Outcome: connector.Unknown, Err: errors.New("silence"), Sends: 1}
	})
	if !runUntil(t, cfg, looked, release) {
		t.Errorf("with %d in doubt at a PSP that hangs, nobody looks at the other one's", doubted)
	}
}

// runUntil runs an engine until something has happened, and then lets go what hangs in
// it. It tells whether it has happened in time.
func runUntil(t *testing.T, cfg engine.Config, happened <-chan struct{}, release chan<- struct{}) (inTime bool) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { engine.New(cfg).Run(ctx); close(done) }()
	select {
	case <-happened:
		inTime = true
	case <-time.After(30 * time.Second):
	}
	stop()
	close(release)
	<-done
	return inTime
}

// TestDeadPSPHoldsUpNoExpiry: with any number of payments that expire at a PSP that
// hangs, those that it has nothing to do with end in time.
func TestDeadPSPHoldsUpNoExpiry(t *testing.T) {
	w := newWorld(t, 1)
	in := walletPayment(1000, payment.FlowQR)
	in.ExpiresAt = w.now().Add(10 * time.Minute)
	const hanging = 40 // more than there are places
	for i := range hanging {
		w.mustCreate(t, fmt.Sprint("k", i), in)
	}
	in.Confirm, in.Method, in.ExpiresAt = false, nil, in.ExpiresAt.Add(time.Second)
	id := read(t, w.mustCreate(t, "other", in)).ID
	w.pass(11 * time.Minute)
	expired, release := make(chan struct{}), make(chan struct{})
	see := sync.OnceFunc(func() { close(expired) })
	cfg := w.cfg
	cfg.Store = updateHook{w.store, func() {
		if w.payment(id).Status == payment.Expired {
			see()
		}
	}}
	cfg.Exchange = funcExchange(func(context.Context, *connector.Account, connector.Call) connector.Exchange {
		<-release
		return connector.Exchange{Outcome: connector.Unknown, Err: errors.New("silence"), Sends: 1}
	})
	if !runUntil(t, cfg, expired, release) {
		t.Errorf("with %d that expire at a PSP that hangs, nothing else expires", hanging)
	}
}

// updateHook does something after each change.
type updateHook struct {
	store.Store
	after func()
}

func (s updateHook) Update(ctx context.Context, fn func(store.Tx) error) error {
	err := s.Store.Update(ctx, fn)
	s.after()
	return err
}
