package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/store/sqlite"
)

// world is a whole gateway with invented PSPs, an invented clock and chosen
// misfortune, so that one seed is one history.
type world struct {
	t     testing.TB
	rnd   *rand.Rand
	mu    sync.Mutex
	clock time.Time
	store *flakyStore
	psps  map[string]*psp
	eng   *engine.Engine
	log   bytes.Buffer
	ids   *payment.IDs
	cfg   engine.Config
}

const merchant = "mer_0000000000000000000000000a"

var scope = engine.Scope{Merchant: merchant, Mode: payment.Test}

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), clock: time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)}
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "w.db"), Now: w.now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w.store = &flakyStore{Store: db, w: w}
	w.ids = &payment.IDs{Now: w.now, Random: lockedReader{w}}
	w.psps = map[string]*psp{}
	accounts := map[string]*connector.Account{}
	for name, c := range map[string]fake{"keyed": keyed, "second": keyed, "named": named} {
		w.psps[name] = &psp{w: w, name: name, conn: c, charges: map[string]*charge{}, refunds: map[string]*refund{}, keys: map[string]connector.Result{}}
		accounts[name] = &connector.Account{
			Name: name, Connector: c, Mode: payment.Test, Merchants: []string{"*"}, Timeout: 10 * time.Second, NotFoundAfter: 20 * time.Second,
		}
	}
	w.cfg = engine.Config{
		Store: w.store, Accounts: accounts, Exchange: w, Plan: planner{}, Pepper: []byte("pepper"), IDs: w.ids,
		Now: w.now, Random: lockedReader{w}, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
	}
	w.eng = engine.New(w.cfg)
	return w
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

func (w *world) intn(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rnd.IntN(n)
}

type lockedReader struct{ w *world }

func (r lockedReader) Read(b []byte) (int, error) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	for i := range b {
		b[i] = byte(r.w.rnd.Uint32())
	}
	return len(b), nil
}

// planner sends cards to keyed, then second; wallets to named.
type planner struct{}

func (planner) Plan(f payment.Facts) payment.Plan {
	if f.Method == payment.MethodAlipay {
		return payment.Plan{Rule: "wallet", Candidates: []payment.Candidate{{Account: "named", Outcome: payment.CandidateChosen}}}
	}
	return payment.Plan{Rule: "card", Candidates: []payment.Candidate{
		{Account: "keyed", Outcome: payment.CandidateChosen},
		{Account: "second", Outcome: payment.CandidateNext},
	}}
}

// fake is a connector of which only the promises matter: the world answers in
// its place.
type fake struct{ spec connector.Spec }

func (f fake) Spec() connector.Spec { return f.spec }
func (fake) Encode(connector.Call) (*http.Request, error) {
	return nil, connector.ErrUnsupported
}

func (fake) Decode(connector.Call, connector.Response) (connector.Result, error) {
	return connector.Result{}, connector.ErrUnsupported
}

func (f fake) Steps(op payment.Operation) []connector.Step {
	a, ok := op.(payment.Authorize)
	if ok && a.Method.Card != nil && f.spec.Idempotency.By == connector.ByKey {
		return []connector.Step{{Name: "card", NeedsTransient: true}, {Name: "money", MovesMoney: true}}
	}
	return nil
}

var (
	all   = []payment.Kind{payment.KindAuthorize, payment.KindCapture, payment.KindVoid, payment.KindRefund, payment.KindSync}
	keyed = fake{connector.Spec{
		Name: "keyed", Kinds: all, PartialCapture: true, PartialRefund: true,
		Idempotency: connector.Idempotency{By: connector.ByKey, Window: 24 * time.Hour}, Query: connector.QueryPSPReference,
		Methods: []connector.Method{{Type: payment.MethodCard, Manual: true}, {Type: payment.MethodCardToken, Manual: true}},
	}}
	named = fake{connector.Spec{
		Name: "named", Kinds: []payment.Kind{payment.KindAuthorize, payment.KindVoid, payment.KindRefund, payment.KindSync}, PartialRefund: true,
		Idempotency: connector.Idempotency{By: connector.ByReference}, Query: connector.QueryExact,
		Reversal: &connector.Reversal{Window: 24 * time.Hour},
		Methods: []connector.Method{
			{Type: payment.MethodAlipay, Flow: payment.FlowBarcode, Patience: time.Minute},
			{Type: payment.MethodAlipay, Flow: payment.FlowQR},
		},
	}}
)

// psp is an invented PSP: its books are the truth that the gateway must meet.
type psp struct {
	w       *world
	name    string
	conn    fake
	charges map[string]*charge // by our reference, and by the PSP's
	refunds map[string]*refund // by our reference
	keys    map[string]connector.Result
	order   []*charge      // oldest first
	told    []charge       // what webhooks may tell, as it stood
	calls   []payment.Kind // executed or not: what reached the PSP
	fault   []string       // what befalls the next calls, then chance
	chance  int            // percent of calls that fare badly, at random
	n       int
	mu      sync.Mutex
	during  func(context.Context) // runs in the middle of each call
}

type charge struct {
	ref, psp                     string
	amount                       payment.Money
	authorized, captured, refund int64
	released, waiting, declined  bool
}

type refund struct {
	psp    string
	amount payment.Money
}

// crash is a kill -9 of the gateway in the middle of a call.
type crash struct{}

// Exchange is the world's network: it draws a fault, and lets the PSP act.
func (w *world) Exchange(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange {
	p := w.psps[a.Name]
	if p.during != nil {
		p.during(ctx)
	}
	if ctx.Err() != nil {
		return connector.Exchange{Outcome: connector.Unknown, Err: ctx.Err()}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fault := ""
	switch {
	case len(p.fault) > 0:
		fault, p.fault = p.fault[0], p.fault[1:]
	case p.chance > 0 && w.intn(100) < p.chance:
		faults := []string{"refused", "lost before", "lost after", "429", "crash before", "crash after"}
		fault = faults[w.intn(len(faults))]
	}
	_, sync := c.Op.(payment.Sync)
	doubt := !c.Sent.IsZero() && !sync
	unknown := connector.Exchange{Outcome: connector.Unknown, Err: errors.New(fault), Sends: 1, Took: time.Millisecond}
	switch fault {
	case "refused":
		if doubt {
			return unknown
		}
		return connector.Exchange{Outcome: connector.NotSent, Err: errors.New(fault)}
	case "crash before":
		panic(crash{})
	}
	p.calls = append(p.calls, c.Op.Kind())
	switch fault {
	case "lost before":
		return unknown
	case "429":
		if doubt {
			return unknown
		}
		return connector.Exchange{Outcome: connector.Answered, Sends: 1, Result: connector.Result{State: connector.Rejected, Failure: payment.Fail(payment.PSPUnavailable)}}
	}
	r := p.act(c)
	switch fault {
	case "lost after":
		return unknown
	case "crash after":
		panic(crash{})
	}
	return connector.Exchange{Outcome: connector.Answered, Result: r, Sends: 1, Took: time.Millisecond}
}

// act executes a call, honoring the PSP's own idempotency.
func (p *psp) act(c connector.Call) connector.Result {
	_, sync := c.Op.(payment.Sync)
	byKey := p.conn.spec.Idempotency.By == connector.ByKey && !sync
	if byKey {
		if r, ok := p.keys[c.Key]; ok {
			return r
		}
	}
	var r connector.Result
	switch op := c.Op.(type) {
	case payment.Authorize:
		r = p.authorize(c, op)
	case payment.Capture:
		r = p.capture(op)
	case payment.Void:
		r = p.void(op)
	case payment.GiveBack:
		r = p.giveBack(c, op)
	case payment.Sync:
		r = p.sync(op)
	}
	if byKey && r.State != connector.Rejected {
		p.keys[c.Key] = r
	}
	return r
}

func (p *psp) label(prefix string) string {
	p.n++
	return fmt.Sprintf("%s_%s%d", prefix, p.name, p.n)
}

func (p *psp) authorize(c connector.Call, op payment.Authorize) connector.Result {
	if c.Step == "card" {
		return connector.Result{State: connector.StepDone, StepReference: p.label("pm")}
	}
	if ch, ok := p.charges[c.Reference]; ok {
		return ch.result()
	}
	ch := &charge{ref: c.Reference, psp: p.label("ch"), amount: op.Amount}
	p.charges[ch.ref], p.charges[ch.psp] = ch, ch
	p.order = append(p.order, ch)
	switch {
	case op.Amount.Minor%1000 == 13: // the unlucky amounts are declined
		ch.declined = true
	case op.Method.Flow == payment.FlowQR:
		ch.waiting = true
	default:
		ch.authorized = op.Amount.Minor
		if op.Capture {
			ch.captured, ch.released = op.Amount.Minor, true
		}
	}
	r := ch.result()
	if ch.waiting {
		r.PSPReference = "" // as at Alipay, there is no charge before somebody has paid
		r.Action = &payment.NextAction{Type: payment.ActionQRCode, Data: "qr"}
	}
	return r
}

func (ch *charge) result() connector.Result {
	view := &connector.Charge{
		PSPReference: ch.psp, Reference: ch.ref, Amount: ch.amount, Authorized: ch.authorized,
		Captured: ch.captured, Refunded: ch.refund, Released: ch.released,
	}
	r := connector.Result{State: connector.Succeeded, PSPReference: ch.psp, Charge: view, Amount: ch.amount}
	switch {
	case ch.declined:
		r.State, r.Failure, r.Charge = connector.Declined, payment.Fail(payment.InsufficientFunds), nil
	case ch.waiting:
		r.State, r.Charge = connector.ActionRequired, nil
	case ch.released && ch.captured == 0 || ch.captured > 0 && ch.refund == ch.captured && ch.authorized < 0:
		r.State = connector.Canceled
	}
	return r
}

func (p *psp) find(r payment.ChargeRef) *charge {
	if ch, ok := p.charges[r.PSPReference]; ok && r.PSPReference != "" {
		return ch
	}
	return p.charges[r.Reference]
}

func (p *psp) capture(op payment.Capture) connector.Result {
	ch := p.find(op.Charge)
	if ch == nil || ch.released || ch.captured+op.Amount.Minor > ch.authorized {
		return connector.Result{State: connector.Declined, Failure: payment.Fail(payment.ProcessingError)}
	}
	ch.captured += op.Amount.Minor
	ch.released = true
	return ch.result()
}

func (p *psp) void(op payment.Void) connector.Result {
	ch := p.find(op.Charge)
	if ch == nil { // a reversal of what never arrived keeps it from arriving
		ch = &charge{ref: op.Charge.Reference, psp: p.label("ch"), amount: op.Charge.Amount}
		p.charges[ch.ref], p.charges[ch.psp] = ch, ch
	}
	if ch.captured > 0 && p.conn.spec.Reversal == nil {
		return connector.Result{State: connector.Declined, Failure: payment.Fail(payment.ProcessingError)}
	}
	ch.refund, ch.released, ch.waiting = ch.captured, true, false
	if ch.captured > 0 {
		ch.authorized = -1 // undone whole
	}
	return connector.Result{State: connector.Canceled, PSPReference: ch.psp}
}

func (p *psp) giveBack(c connector.Call, op payment.GiveBack) connector.Result {
	if r, ok := p.refunds[c.Reference]; ok {
		return connector.Result{State: connector.Succeeded, PSPReference: r.psp, Amount: r.amount}
	}
	ch := p.find(op.Charge)
	if ch == nil || ch.refund+op.Amount.Minor > ch.captured {
		return connector.Result{State: connector.Declined, Failure: payment.Fail(payment.ProcessingError)}
	}
	ch.refund += op.Amount.Minor
	r := &refund{psp: p.label("re"), amount: op.Amount}
	p.refunds[c.Reference] = r
	return connector.Result{State: connector.Succeeded, PSPReference: r.psp, Amount: r.amount}
}

func (p *psp) sync(op payment.Sync) connector.Result {
	if op.Of == payment.KindRefund {
		if r, ok := p.refunds[op.Reference]; ok {
			return connector.Result{State: connector.Succeeded, PSPReference: r.psp, Amount: r.amount}
		}
		return connector.Result{State: connector.NotFound}
	}
	ch := p.find(op.Charge)
	if ch == nil {
		return connector.Result{State: connector.NotFound}
	}
	return ch.result()
}

// flakyStore fails now and then: before the commit, or after it.
type flakyStore struct {
	store.Store
	w      *world
	chance int
	// after that many more commits one fails, before or after it was written; 0 = none.
	after   int
	written bool
}

func (s *flakyStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	if s.after > 0 {
		if s.after--; s.after == 0 && !s.written {
			return store.ErrUnavailable
		} else if s.after == 0 {
			return errors.Join(store.ErrUncertain, s.Store.Update(ctx, fn))
		}
	}
	if s.chance > 0 && s.w.intn(100) < s.chance {
		if s.w.intn(2) == 0 {
			return store.ErrUnavailable
		}
		if err := s.Store.Update(ctx, fn); err != nil {
			return err
		}
		return store.ErrUncertain
	}
	return s.Store.Update(ctx, fn)
}

// do runs one call of the merchant. A crash kills the engine and starts another
// on the same store; the merchant hears nothing then.
func (w *world) do(call func(*engine.Engine) (engine.Answer, error)) (a engine.Answer, err error, crashed bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
			w.eng, crashed = engine.New(w.cfg), true
		}
	}()
	a, err = call(w.eng)
	return a, err, false
}

// insist repeats a call with its key, as a merchant does, until it is answered.
func (w *world) insist(call func(*engine.Engine) (engine.Answer, error)) (engine.Answer, error) {
	for range 200 {
		a, err, crashed := w.do(call)
		var refusal *payment.Error
		switch {
		case crashed:
		case err == nil:
			return a, nil
		case errors.As(err, &refusal) && refusal.Code.Info().Retryable && refusal.Code != payment.CodeOperationInProgress:
		default:
			return a, err
		}
		w.pass(3 * time.Second)
		w.work()
	}
	w.t.Fatalf("no answer after 200 tries\n%s", w.log.String())
	return engine.Answer{}, nil
}

// work lets recovery do what is due. Its own crashes are survived as well.
func (w *world) work() int {
	n := 0
	_, err, _ := w.do(func(e *engine.Engine) (a engine.Answer, err error) {
		n, err = e.WorkSerially(context.Background())
		return a, err
	})
	_ = err // a flaky store is expected; what matters is the end
	return n
}

// calm ends all misfortune and lets the given time pass, working.
func (w *world) calm(d time.Duration) {
	for _, p := range w.psps {
		p.chance, p.fault = 0, nil
	}
	w.store.chance = 0
	for end := w.now().Add(d); w.now().Before(end); w.pass(time.Second) {
		w.work()
	}
}

func (w *world) payment(id string) payment.Payment {
	w.t.Helper()
	var p payment.Payment
	if err := w.store.View(context.Background(), func(r store.Reader) (err error) { p, err = r.Payment(id); return err }); err != nil {
		w.t.Fatalf("payment %s: %v", id, err)
	}
	return p
}

func (w *world) payments() (ps []payment.Payment) {
	w.t.Helper()
	q := store.PaymentQuery{Paging: store.Paging{Limit: store.MaxPage}}
	for {
		var page store.Page[payment.Payment]
		if err := w.store.View(context.Background(), func(r store.Reader) (err error) { page, err = r.Payments(q); return err }); err != nil {
			w.t.Fatal(err)
		}
		ps = append(ps, page.Data...)
		if q.Cursor = page.Cursor; q.Cursor == "" {
			return ps
		}
	}
}

func claim(key string, body ...any) engine.Claim {
	c := engine.Claim{Scope: scope, Key: key, Origin: "https://pay.example.com"}
	copy(c.Fingerprint[:], fmt.Sprint(body...))
	return c
}

func cardPayment(amount int64, m payment.CaptureMethod) engine.Create {
	return engine.Create{
		Amount: payment.Money{Minor: amount, Currency: "EUR"}, CaptureMethod: m, Confirm: true,
		Method: &payment.Method{Type: payment.MethodCard, Card: &payment.Card{
			Number: payment.NewSensitive("4242424242424242"), ExpMonth: 12, ExpYear: 2030, CVC: payment.NewSensitive("123"),
		}},
	}
}

func walletPayment(amount int64, f payment.Flow) engine.Create {
	m := &payment.Method{Type: payment.MethodAlipay, Flow: f}
	if f == payment.FlowBarcode {
		m.AuthCode = payment.NewSensitive("281234567890123456")
	}
	return engine.Create{Amount: payment.Money{Minor: amount, Currency: "CNY"}, Confirm: true, Method: m, Channel: payment.ChannelInPerson}
}

// object is the part of an answer that tests look at.
type object struct {
	ID               string           `json:"id"`
	Status           string           `json:"status"`
	Outcome          string           `json:"outcome"`
	AmountCapturable int64            `json:"amount_capturable"`
	AmountCaptured   int64            `json:"amount_captured"`
	AmountRefunded   int64            `json:"amount_refunded"`
	Error            *payment.Failure `json:"error"`
}

func read(t testing.TB, a engine.Answer) (o object) {
	t.Helper()
	if err := json.Unmarshal(a.Body, &o); err != nil {
		t.Fatalf("answer %s: %v", a.Body, err)
	}
	return o
}

// reconcile compares the store with the PSPs' books: every charge is ours, one
// payment holds money once, and all sums agree.
func (w *world) reconcile() {
	w.t.Helper()
	booked := map[*charge]string{}
	for _, p := range w.payments() {
		holders := 0
		var captured, refunded int64
		for i := range p.Attempts {
			a := &p.Attempts[i]
			if a.Kind != payment.KindAuthorize {
				continue
			}
			ch := w.psps[a.Account].charges[a.Reference]
			if ch == nil {
				continue
			}
			booked[ch] = p.ID
			undone := ch.authorized < 0
			if !undone && (ch.captured > 0 || ch.authorized > 0 && !ch.released) {
				holders++
				if a.PSPReference != ch.psp {
					w.t.Errorf("%s (%s): attempt %s names its charge %q, and the PSP %q", p.ID, p.Status, a.ID, a.PSPReference, ch.psp)
				}
			}
			if !undone {
				captured += ch.captured
				refunded += ch.refund
			}
		}
		if p.Outcome != payment.Known || slices.ContainsFunc(p.Attempts, func(a payment.Attempt) bool { return a.Status == payment.AttemptPending }) {
			w.t.Errorf("%s is not settled: %s, %s", p.ID, p.Status, p.Outcome)
		}
		if holders > 1 {
			w.t.Errorf("%s holds money %d times", p.ID, holders)
		}
		if p.AmountCaptured() != captured || p.AmountRefunded() != refunded {
			w.t.Errorf("%s (%s): we say captured %d refunded %d, the PSP %d and %d", p.ID, p.Status, p.AmountCaptured(), p.AmountRefunded(), captured, refunded)
		}
		if captured > 0 != (p.Status == payment.Succeeded) && p.Status != payment.RequiresCapture {
			w.t.Errorf("%s is %s with %d captured", p.ID, p.Status, captured)
			for _, a := range p.Attempts {
				w.t.Logf("%s %s %s %s %s purpose=%q at %s", a.ID, a.Kind, a.Status, a.Outcome, a.Origin, a.Purpose, a.StartedAt.Format(time.TimeOnly))
			}
		}
		w.sequence(p)
	}
	for name, ps := range w.psps {
		for ref, ch := range ps.charges {
			if _, ok := booked[ch]; !ok {
				w.t.Errorf("%s has charge %s that no payment knows", name, ref)
			}
		}
	}
	if w.t.Failed() {
		w.t.Log(tail(w.log.String(), 60))
	}
}

// sequence checks that a payment's events are numbered from 1 without a gap.
func (w *world) sequence(p payment.Payment) {
	w.t.Helper()
	var page store.Page[payment.Event]
	q := store.EventQuery{Paging: store.Paging{Limit: store.MaxPage}, Payment: p.ID}
	if err := w.store.View(context.Background(), func(r store.Reader) (err error) { page, err = r.Events(q); return err }); err != nil {
		w.t.Fatal(err)
	}
	for i, e := range page.Data {
		if want := int64(len(page.Data) - i); e.Sequence != want {
			w.t.Errorf("%s: event %s has sequence %d, want %d", p.ID, e.Type, e.Sequence, want)
		}
	}
	if int64(len(page.Data)) != p.Sequence {
		w.t.Errorf("%s: %d events, sequence %d", p.ID, len(page.Data), p.Sequence)
	}
	w.lastTold(p, page.Data)
}

// lastTold checks that the last event of a payment, and of each of its refunds,
// states how it ended, and that nothing is told twice in a row.
func (w *world) lastTold(p payment.Payment, newestFirst []payment.Event) {
	w.t.Helper()
	want := map[string]string{p.ID: string(p.Status)}
	for _, r := range p.Refunds {
		want[r.ID] = string(r.Status)
	}
	later := map[string]payment.EventType{}
	for _, e := range newestFirst {
		o := read(w.t, engine.Answer{Body: e.Object})
		if _, ok := later[o.ID]; !ok && o.Status != want[o.ID] {
			w.t.Errorf("%s is %s, and its last event %s says %s", o.ID, want[o.ID], e.Type, o.Status)
		}
		if e.Type == later[o.ID] && e.Type != payment.EventPaymentCaptured {
			w.t.Errorf("%s: %s is told twice in a row", o.ID, e.Type)
		}
		later[o.ID] = e.Type
	}
}

func tail(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(len(lines)-n, 0):], "\n")
}
