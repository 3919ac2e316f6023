package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

const (
	// holdInbound keeps news, which ask no PSP, from other workers: what a killed
	// process has leased waits no longer for another.
	holdInbound = 15 * time.Second
	// inboundPatience is how long a webhook waits for a node that knows its account.
	inboundPatience = 3 * 24 * time.Hour
	// holdMargin is how much longer than an exchange an item is kept whose work
	// makes one.
	holdMargin = 5 * time.Second
	// idle is the longest sleep: other processes cannot wake us.
	idle = 2 * time.Second
	// retryFailed is how soon an item is tried again whose work failed in the
	// gateway itself.
	retryFailed = 5 * time.Second
)

// worker does the work of one queue, up to width items at a time.
type worker struct {
	queue store.Queue
	width int
	hold  time.Duration
	work  func(ctx context.Context, i store.Item) error
}

// recoverWidth and expireWidth are how many looks may be under way at a time.
const recoverWidth, expireWidth = 64, 16

// The queues do not wait for each other: a PSP that answers slowly holds up the
// recovery and the expiry of its own payments, and no webhook.
func (e *Engine) workers() []worker {
	return []worker{
		{store.Inbound, 16, holdInbound, e.workInbound},
		{store.Recover, recoverWidth, e.hold(), e.workRecover},
		{store.Expire, expireWidth, e.hold(), e.workExpire},
	}
}

// hold keeps an item that asks a PSP from other workers: longer than any exchange
// and, with the usual timeouts, short enough that another node takes over what a
// dead one has leased within half a minute. Work that takes longer, as a query
// and a reversal in a row may, can be done twice at a time: that is safe, for each
// step is an exchange of its own, and only one of them gets written.
func (e *Engine) hold() time.Duration {
	longest := holdInbound - holdMargin
	for _, a := range e.cfg.Accounts {
		longest = max(longest, a.Exchange())
	}
	return longest + holdMargin
}

// Run recovers, expires and applies until ctx ends, and then for as long as the
// calls under way take. Any number of processes may run it on one store: items
// are leased.
func (e *Engine) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, w := range e.workers() {
		wg.Go(func() { e.serve(ctx, w) })
	}
	wg.Wait()
}

// serve keeps a worker busy with what is due.
func (e *Engine) serve(ctx context.Context, w worker) {
	slots := make(chan struct{}, w.width)
	defer func() {
		for range w.width { // wait for everything under way
			slots <- struct{}{}
		}
	}()
	for ctx.Err() == nil {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		free := 1 + fill(slots, w.width)
		items, err := e.cfg.Store.Lease(ctx, w.queue, e.now(), free, w.hold)
		for range free - len(items) {
			<-slots
		}
		if err != nil && ctx.Err() == nil {
			e.cfg.Log.Error("deferred work", slog.String("queue", string(w.queue)), slog.String("error", err.Error()))
		}
		for _, i := range items {
			go func() {
				defer func() { <-slots }()
				e.do(ctx, w, i)
			}()
		}
		if len(items) == 0 {
			e.rest(ctx, w)
		}
	}
}

// fill takes the free slots without waiting, and returns how many.
func fill(slots chan struct{}, limit int) (n int) {
	for n < limit {
		select {
		case slots <- struct{}{}:
			n++
		default:
			return n
		}
	}
	return n
}

// rest waits until something may be due.
func (e *Engine) rest(ctx context.Context, w worker) {
	wait := idle
	due, ok, err := e.cfg.Store.Due(ctx, w.queue)
	if err == nil && ok {
		wait = min(wait, max(due.Sub(e.now()), 10*time.Millisecond))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-e.wake[w.queue]:
	case <-timer.C:
	}
}

// Work does everything that is due at this moment, once, and returns how many
// items that were.
func (e *Engine) Work(ctx context.Context) (int, error) {
	total := 0
	var errs []error
	for _, w := range e.workers() {
		items, err := e.cfg.Store.Lease(ctx, w.queue, e.now(), w.width, w.hold)
		if err != nil {
			errs = append(errs, fmt.Errorf("lease %s: %w", w.queue, err))
			continue
		}
		total += len(items)
		var wg sync.WaitGroup
		for _, i := range items {
			wg.Go(func() { e.do(ctx, w, i) })
		}
		wg.Wait()
	}
	return total, errors.Join(errs...)
}

// WorkSerially is [Engine.Work] on one goroutine, in the order of the queue: a
// history in which everything happens in one order can be lived again.
func (e *Engine) WorkSerially(ctx context.Context) (int, error) {
	total := 0
	for _, w := range e.workers() {
		items, err := e.cfg.Store.Lease(ctx, w.queue, e.now(), w.width, w.hold)
		if err != nil {
			return total, fmt.Errorf("lease %s: %w", w.queue, err)
		}
		for _, i := range items {
			e.do(ctx, w, i)
		}
		total += len(items)
	}
	return total, nil
}

// do works on one item; what fails in the gateway itself is put back.
func (e *Engine) do(ctx context.Context, w worker, i store.Item) {
	err := w.work(ctx, i)
	if err == nil {
		return
	}
	if crowded, ok := errors.AsType[*crowdedError](err); ok {
		again := i
		again.Due, again.Tries = crowded.until, i.Tries-1 // nobody has looked
		e.putBack(ctx, w, i, again)
		return
	}
	e.cfg.Log.Warn("deferred work put back", slog.String("queue", string(w.queue)), slog.String("item", i.ID),
		slog.Int("tries", i.Tries), slog.String("error", err.Error()))
	again := i
	again.Due = e.now().Add(min(retryFailed*time.Duration(i.Tries), idle*30))
	if ctx.Err() != nil {
		again.Due = e.now() // we stop, and another process may go on with it
	}
	e.putBack(ctx, w, i, again)
}

// putBack ends the lease of an item that is to be worked on again.
func (e *Engine) putBack(ctx context.Context, w worker, i, again store.Item) {
	if err := e.update(context.WithoutCancel(ctx), func(tx store.Tx) error { return tx.Return(w.queue, i, &again) }); err != nil {
		e.cfg.Log.Warn("deferred work waits for its lease to end", slog.String("item", i.ID), slog.String("error", err.Error()))
	}
}

const lookPrefix = "look:"

func (e *Engine) workRecover(ctx context.Context, i store.Item) error {
	t, err := decodeTicket(i)
	if err != nil {
		return err
	}
	id, look := strings.CutPrefix(i.ID, lookPrefix)
	leave, err := e.lanes.enter(t.Account)
	if err != nil {
		return err
	}
	defer leave()
	if !look {
		return e.settle(ctx, t, id, i.Tries)
	}
	if err := e.lookFor(ctx, t.Payment, id); err != nil {
		return err
	}
	return e.update(ctx, func(tx store.Tx) error { return tx.Return(store.Recover, i, nil) })
}

// lookFor asks the PSP about a charge of which a webhook had news. It fails where
// nobody has answered yet.
func (e *Engine) lookFor(ctx context.Context, id, attempt string) error {
	held, err := e.lookOnce(ctx, id, attempt)
	switch {
	case err != nil:
		return err
	case held == HeldSilent:
		return errors.New("the PSP was asked, and did not answer")
	case held == HeldDeaf:
		p, err := e.any(ctx, id)
		if err != nil {
			return err
		}
		if a := p.Attempt(attempt); a != nil && e.cfg.Accounts[a.Account] == nil {
			return noAccount(a.Account)
		}
	}
	return nil
}

// errNoAccount: an account is not configured here. Another node may know it:
// configurations change one node after the other.
var errNoAccount = errors.New("the account is not configured")

func noAccount(name string) error { return fmt.Errorf("%w: %s", errNoAccount, name) }

func decodeTicket(i store.Item) (t ticket, err error) {
	if err := json.Unmarshal(i.Payload, &t); err != nil {
		return t, fmt.Errorf("ticket of %s: %w", i.ID, err)
	}
	return t, nil
}

// workExpire ends a payment whose payer's time, or whose hold, has ended: at the
// PSP first, where something could still be paid.
func (e *Engine) workExpire(ctx context.Context, i store.Item) error {
	t, err := decodeTicket(i)
	if err != nil {
		return err
	}
	p, err := e.any(ctx, t.Payment)
	if err != nil {
		return err
	}
	switch p.Status {
	case payment.RequiresPaymentMethod, payment.RequiresConfirmation:
		return e.expireUnsent(ctx, i)
	case payment.RequiresAction, payment.Processing, payment.RequiresCapture:
		err = e.expireAsked(ctx, &p)
	case payment.Succeeded, payment.Failed, payment.Canceled, payment.Expired:
	}
	if err != nil {
		return err
	}
	return e.update(ctx, func(tx store.Tx) error {
		p, err := tx.Payment(t.Payment)
		if err != nil {
			return err
		}
		if p.Status.Terminal() {
			return tx.Dequeue(store.Expire, i.ID)
		}
		pause := min(time.Minute*time.Duration(i.Tries), time.Hour)
		if p.Status == payment.RequiresCapture && !p.CaptureBefore.IsZero() && e.now().Before(p.CaptureBefore) {
			pause = p.CaptureBefore.Add(holdGrace).Sub(e.now()) // it has become a hold meanwhile
		}
		again := i
		again.Due = e.now().Add(pause)
		return tx.Return(store.Expire, i, &again)
	})
}

func (e *Engine) expireUnsent(ctx context.Context, i store.Item) error {
	return e.update(ctx, func(tx store.Tx) error {
		t, err := decodeTicket(i)
		if err != nil {
			return err
		}
		p, err := tx.Payment(t.Payment)
		if err != nil {
			return err
		}
		// Where it was confirmed meanwhile, its payer's time has an end anew.
		if p.Status != payment.RequiresPaymentMethod && p.Status != payment.RequiresConfirmation {
			return tx.Return(store.Expire, i, nil)
		}
		m := mark(&p)
		p.Error = payment.Fail(payment.TimeExpired)
		if err := move(&p, payment.Expired, byExpiry); err != nil {
			return err
		}
		if _, err = e.save(tx, m, &p, ""); err != nil {
			return err
		}
		return tx.Return(store.Expire, i, nil)
	})
}

// expireAsked asks the PSP, in the share of places that its account has.
func (e *Engine) expireAsked(ctx context.Context, p *payment.Payment) error {
	if c := p.Current(); c != nil {
		leave, err := e.expiries.enter(c.Account)
		if err != nil {
			return err
		}
		defer leave()
	}
	if p.Status == payment.RequiresCapture {
		return e.lookAt(ctx, p)
	}
	return e.expireSent(ctx, p)
}

// expireSent asks the PSP, and closes what the payer could still pay.
func (e *Engine) expireSent(ctx context.Context, p *payment.Payment) error {
	if err := e.lookAt(ctx, p); err != nil {
		return err
	}
	j := &job{payment: p.ID, by: byAnswer}
	err := e.update(ctx, func(tx store.Tx) error {
		j.attempt = ""
		p, err := tx.Payment(p.ID)
		if err != nil {
			return err
		}
		a := p.Current()
		if a == nil || !a.Status.Open() || e.running(a) || voidOpen(&p, a.ID) || p.Status.Terminal() {
			return nil
		}
		acct := e.cfg.Accounts[a.Account]
		if acct == nil || !acct.Connector.Spec().Takes(payment.KindVoid) ||
			a.PSPReference == "" && acct.Connector.Spec().Reversal == nil {
			return nil
		}
		m := mark(&p)
		if j.attempt, err = e.beginVoid(tx, &p, a, payment.PurposeExpiry, payment.OriginGateway, ""); err != nil {
			return err
		}
		j.fresh = &p
		return e.intend(tx, m, &p, j)
	})
	if err != nil || j.attempt == "" {
		return err
	}
	_, err = e.carry(ctx, j)
	return err
}

// inbound is the payload of a stored delivery: facts, no raw body.
type inbound struct {
	Account string            `json:"account"`
	Events  []connector.Event `json:"events"`
}

// Receive stores the verified events of one delivery of an account's PSP. When
// it returns nil they are durable; they are applied right after.
func (e *Engine) Receive(ctx context.Context, account string, events []connector.Event) error {
	if len(events) == 0 {
		return nil
	}
	payload, err := json.Marshal(inbound{account, events})
	if err != nil {
		return fmt.Errorf("store delivery: %w", err)
	}
	id := e.cfg.IDs.New("in")
	err = e.update(ctx, func(tx store.Tx) error {
		return tx.Enqueue(store.Inbound, store.Item{ID: id, Payload: payload, Due: e.now()})
	})
	if err != nil {
		return err
	}
	e.nudge(store.Inbound)
	return nil
}

func (e *Engine) workInbound(ctx context.Context, i store.Item) error {
	var in inbound
	if err := json.Unmarshal(i.Payload, &in); err != nil {
		return fmt.Errorf("delivery %s: %w", i.ID, err)
	}
	var errs []error // one event may wait for another of the same delivery
	for _, ev := range in.Events {
		errs = append(errs, e.apply(ctx, in.Account, ev))
	}
	err := errors.Join(errs...)
	if errors.Is(err, errNoAccount) && e.now().Sub(payment.IDTime(i.ID)) >= inboundPatience {
		e.cfg.Log.Error("webhook of an account that nobody knows is dropped", slog.String("account", in.Account), slog.String("item", i.ID))
		err = nil
	}
	if err != nil {
		return err
	}
	return e.update(ctx, func(tx store.Tx) error { return tx.Dequeue(store.Inbound, i.ID) })
}

// apply lets one fact act on its payment. A fact that says nothing new changes
// nothing; one that is final settles what is open; all else makes us ask.
func (e *Engine) apply(ctx context.Context, account string, ev connector.Event) error {
	acct := e.cfg.Accounts[account]
	if acct == nil {
		return noAccount(account)
	}
	var look bool
	err := e.update(ctx, func(tx store.Tx) error {
		look = false
		p, a, whole, err := e.find(tx, account, ev)
		if err != nil || a == nil {
			return err
		}
		if ev.Livemode != nil && *ev.Livemode != p.Mode.Live() {
			e.cfg.Log.Warn("webhook of the other mode", slog.String("account", account), slog.String("payment", p.ID))
			return nil
		}
		if acct.Connector.Spec().Query == connector.QueryNone {
			return e.hear(tx, acct, &p, a, ev, whole)
		}
		if !whole || !novel(&p, a, ev) {
			look = !whole
		} else if look = !final(&p, a, ev); !look {
			if err := e.believe(tx, acct, &p, a, ev); err != nil || !thin(&p, a, ev) {
				return err
			}
			look = true
		}
		if !look || e.running(a) {
			return nil // the answer to the call under way tells more
		}
		return tx.Enqueue(store.Recover, store.Item{ID: lookPrefix + a.ID, Payload: ticketFor(&p, a).encode(), Due: e.now()})
	})
	if err == nil && look {
		e.nudge(store.Recover)
	}
	return err
}

// thin tells whether an event says less of a card than the answer that was lost:
// its brand, and whether it takes several captures. The PSP tells when asked.
func thin(p *payment.Payment, a *payment.Attempt, ev connector.Event) bool {
	return a.Kind == payment.KindAuthorize && ev.Result.Card == nil && p.Method != nil &&
		(p.Method.Type == payment.MethodCard || p.Method.Type == payment.MethodCardToken)
}

// believe writes a final fact into the payment.
func (e *Engine) believe(tx store.Tx, acct *connector.Account, p *payment.Payment, a *payment.Attempt, ev connector.Event) error {
	m := mark(p)
	x := connector.Exchange{Outcome: connector.Answered, Result: ev.Result}
	if x.Result.PSPReference == "" {
		x.Result.PSPReference = ev.PSPReference
	}
	j := &job{payment: p.ID, attempt: a.ID, by: byWebhook, fresh: p}
	x = e.vouch(tx, p, a, x)
	v, err := learn(p, a, e.news(byWebhook, p, a, acct, x))
	if err != nil {
		return err
	}
	if err := concluded(p, a, v); err != nil {
		return err
	}
	if v.voidHold {
		if _, err := e.beginVoid(tx, p, a, payment.PurposeCancel, payment.OriginGateway, ""); err != nil {
			return err
		}
	}
	_, err = e.finish(tx, j, m, p, "")
	return err
}

// find resolves the attempt that an event is about. whole is false where the
// event names a refund that is not ours: then a is the charge, to be asked after.
func (e *Engine) find(r store.Reader, account string, ev connector.Event) (p payment.Payment, a *payment.Attempt, whole bool, err error) {
	for _, name := range []struct {
		ref   string
		whole bool
	}{{ev.Reference, true}, {ev.PSPReference, true}, {ev.ChargePSPReference, false}} {
		if name.ref == "" {
			continue
		}
		ref, err := r.Ref(account, name.ref)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return p, nil, false, fmt.Errorf("find reference: %w", err)
		}
		if p, err = r.Payment(ref.Payment); err != nil {
			return p, nil, false, fmt.Errorf("find payment: %w", err)
		}
		a := p.Attempt(ref.Attempt)
		if a == nil {
			return p, nil, false, nil
		}
		return p, a, name.whole && a.Kind == ev.Of && agrees(a, ev), nil
	}
	return p, nil, false, nil
}

// agrees tells whether the event's references fit the attempt's.
func agrees(a *payment.Attempt, ev connector.Event) bool {
	return (ev.PSPReference == "" || a.PSPReference == "" || ev.PSPReference == a.PSPReference) &&
		(ev.Reference == "" || ev.Reference == a.Reference)
}

// novel tells whether an event says anything that the payment does not know.
func novel(p *payment.Payment, a *payment.Attempt, ev connector.Event) bool {
	r := ev.Result
	switch {
	case a.Status.Open():
		return true
	case r.Charge != nil && (r.Charge.Captured > a.Captured || r.Charge.Refunded > knownRefunds(p, a)) && a.Kind == payment.KindAuthorize:
		return true
	}
	switch r.State {
	case connector.Succeeded:
		return a.Status != payment.AttemptSucceeded
	case connector.Declined, connector.Canceled:
		return a.Status == payment.AttemptSucceeded && (a.Kind == payment.KindRefund || !a.Released && a.Captured == 0)
	case connector.Pending, connector.ActionRequired, connector.Rejected, connector.NotFound, connector.StepDone:
	}
	return false
}

// final tells whether an event settles an open attempt by itself: money that
// was taken or given back, in the amount that was asked. Everything else may be
// stale, and is asked after.
func final(p *payment.Payment, a *payment.Attempt, ev connector.Event) bool {
	r := ev.Result
	if !a.Status.Open() {
		return false
	}
	switch a.Kind {
	case payment.KindAuthorize:
		return r.State == connector.Succeeded && r.Charge != nil && r.Charge.Amount == p.Amount.With(a.Amount) &&
			(r.Charge.Captured > 0) == (p.CaptureMethod == payment.CaptureAutomatic) && r.Charge.Captured <= a.Amount
	case payment.KindRefund:
		return (r.State == connector.Succeeded || r.State == connector.Declined) && r.Amount == p.Amount.With(a.Amount)
	case payment.KindCapture, payment.KindVoid, payment.KindSync:
	}
	return false
}
