package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// holdGrace after the end of an issuer's hold the PSP is asked what became of it.
const holdGrace = time.Minute

// looks is how long recovery waits before its next look, by tries; the last
// entry repeats. Each pause is shortened by up to half at random, so that a
// crowd of payments in doubt does not fall upon a PSP that just came back.
var looks = map[payment.AttemptStatus][]time.Duration{
	payment.AttemptPending: {
		time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 15 * time.Second,
		15 * time.Second, 15 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute,
		5 * time.Minute, 10 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	},
	payment.AttemptRequiresAction: {
		10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
		10 * time.Minute, 30 * time.Minute,
	},
}

// lookAfter is the pause before look number tries + 1 at an attempt.
func (e *Engine) lookAfter(p *payment.Payment, a *payment.Attempt, tries int) time.Duration {
	pauses := looks[a.Status]
	if len(pauses) == 0 {
		return time.Second
	}
	pause := pauses[min(tries, len(pauses)-1)]
	if patience := e.patience(p, a); patience > 0 && pause > pollPending {
		pause = pollPending // somebody stands at the till
	}
	return pause - time.Duration(float64(pause)/2*e.draw())
}

// draw is a random number in [0, 1).
func (e *Engine) draw() float64 {
	var b [8]byte
	if _, err := io.ReadFull(e.cfg.Random, b[:]); err != nil {
		return 0
	}
	return float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53)
}

// patience is how long the payer of an attempt can wait; 0 = as long as it takes.
func (e *Engine) patience(p *payment.Payment, a *payment.Attempt) time.Duration {
	acct := e.cfg.Accounts[a.Account]
	if a.Kind != payment.KindAuthorize || acct == nil || p.Method == nil {
		return 0
	}
	m, _ := acct.Connector.Spec().Method(p.Method.Type, p.Method.Flow)
	return m.Patience
}

// settle takes one look at an attempt whose end is not known: by the means that
// the PSP offers, and never by the passing of time alone.
func (e *Engine) settle(ctx context.Context, t ticket, attempt string, tries int) error {
	var p payment.Payment
	if err := e.view(ctx, func(r store.Reader) (err error) {
		p, err = r.Payment(t.Payment)
		return err
	}); err != nil {
		return err
	}
	a := p.Attempt(attempt)
	if a == nil {
		return fmt.Errorf("payment %s has no attempt %s", p.ID, attempt)
	}
	acct := e.cfg.Accounts[a.Account]
	if acct == nil {
		return fmt.Errorf("account %s is not configured", a.Account)
	}
	if !a.Status.Open() && !t.Look {
		return e.dequeue(ctx, attempt)
	}
	j := &job{payment: p.ID, attempt: a.ID, by: byQuery, resumed: a.ID, tries: tries, aside: t.aside, waited: t.waited, fresh: &p}
	switch means := e.means(&p, a, acct, t.Look, tries); means {
	case repeat:
		j.by = byAnswer
		if err := e.suspect(ctx, j); err != nil {
			return err
		}
		_, err := e.carry(ctx, j)
		return err
	case ask:
		_, err := e.ask(ctx, j, acct)
		return err
	case giveUp:
		return e.giveUp(ctx, j, acct)
	case wait:
		if err := e.again(ctx, j); err != nil {
			return err
		}
		return e.reverse(ctx, j, acct)
	default:
		return fmt.Errorf("attempt %s: no means %d", a.ID, means)
	}
}

// means is how an attempt in doubt is settled.
type means uint8

const (
	wait   means = iota // nothing but a webhook or an operator can help
	repeat              // the very same request again, under the PSP's own key
	ask                 // a query
	giveUp              // no money can have moved: the step that was lost moves none
)

// means chooses. A repeat comes before a query where the PSP's key makes it
// exact; where the PSP has named the thing already, a query is.
func (e *Engine) means(p *payment.Payment, a *payment.Attempt, acct *connector.Account, look bool, tries int) means {
	canAsk := askable(a, p, acct)
	stuck := tries%3 == 2 // some PSPs replay a 500 for as long as they know the key
	if canAsk && stuck {
		return ask
	}
	if look || a.Answered && !a.Doubt {
		if canAsk {
			return ask
		}
		return wait
	}
	op, err := e.operation(p, a, nil)
	if err != nil {
		return wait
	}
	step, _, ok := stepOf(acct, e.asSent(p, op), a.Step)
	switch {
	case ok && !step.MovesMoney:
		return giveUp
	case ok && !step.NeedsTransient && acct.Connector.Spec().Idempotency.Repeatable(a.Kind, a.Sent, e.now()):
		return repeat
	case canAsk:
		return ask
	default:
		return wait
	}
}

// asSent makes the operation look as it did when it was first sent, so that its
// steps are the same: a method that was never stored is marked as transient.
func (e *Engine) asSent(p *payment.Payment, op payment.Operation) payment.Operation {
	auth, ok := op.(payment.Authorize)
	if !ok || p.Method == nil {
		return op
	}
	switch {
	case auth.Method.Type == payment.MethodCard:
		auth.Method.Card = &payment.Card{Number: payment.NewSensitive(payment.Redacted)}
	case auth.Method.Flow == payment.FlowBarcode:
		auth.Method.AuthCode = payment.NewSensitive(payment.Redacted)
	}
	return auth
}

// suspect writes down, before an attempt is made again, that its first send may
// have reached the PSP, for the caller may have died without telling; and when it
// is made again, for from then on it may arrive anew.
func (e *Engine) suspect(ctx context.Context, j *job) error {
	return e.update(ctx, func(tx store.Tx) error {
		p, err := tx.Payment(j.payment)
		if err != nil {
			return err
		}
		m := mark(&p)
		a := p.Attempt(j.attempt)
		if a == nil || !a.Status.Open() {
			return fmt.Errorf("attempt %s is settled", j.attempt)
		}
		doubt(&p, a)
		a.Resent = e.now().Add(e.exchangeTime(a.Account)) // its last send may leave then
		j.fresh = &p
		_, err = e.save(tx, m, &p, "")
		return err
	})
}

// lastSent is when the present step of an attempt may last have left: only then
// does the time begin in which a PSP may not know of it yet.
func lastSent(a *payment.Attempt) time.Time {
	if a.Resent.After(a.Sent) {
		return a.Resent
	}
	return a.Sent
}

// ask queries the PSP and writes down what it says; where that leaves the
// attempt open, and patience or the merchant wants an end, it is reversed. It
// tells whether the query was answered.
func (e *Engine) ask(ctx context.Context, j *job, acct *connector.Account) (connector.Outcome, error) {
	ctx = context.WithoutCancel(ctx)
	a := j.fresh.Attempt(j.attempt)
	bounded, cancel := context.WithTimeout(ctx, acct.Exchange())
	j.asked = e.now()
	x := e.cfg.Exchange.Exchange(bounded, acct, e.question(j.fresh, a, acct))
	cancel()
	if x.Outcome != connector.Answered && x.Err != nil {
		e.cfg.Log.Warn("psp query not answered", logAttempt(j.fresh, a, acct, x)...)
	}
	if c := x.Result.Charge; a.Kind == payment.KindAuthorize && x.Result.PSPReference == "" && c != nil {
		x.Result.PSPReference = c.PSPReference
	}
	out, err := e.record(ctx, j, acct, x)
	if err != nil {
		return x.Outcome, err
	}
	if out.next != "" {
		j.attempt, j.by, j.asked = out.next, byAnswer, time.Time{}
		_, err := e.carry(ctx, j)
		return x.Outcome, err
	}
	return x.Outcome, e.reverse(ctx, j, acct)
}

// reverse begins the undoing of an authorization that is still open although
// the payer at the till cannot wait any longer, or the merchant wants none of it.
func (e *Engine) reverse(ctx context.Context, j *job, acct *connector.Account) error {
	p := j.fresh
	a := p.Attempt(j.attempt)
	why, ok := e.wantsReversal(p, a, acct)
	if !ok {
		return nil
	}
	next := &job{payment: p.ID, by: byAnswer, waited: j.waited}
	err := e.update(ctx, func(tx store.Tx) error {
		next.attempt = ""
		p, err := tx.Payment(j.payment)
		if err != nil {
			return err
		}
		a := p.Attempt(j.attempt)
		if _, ok := e.wantsReversal(&p, a, acct); !ok {
			return nil
		}
		m := mark(&p)
		void, err := e.beginVoid(tx, &p, a, why, payment.OriginGateway, "")
		if err != nil {
			return err
		}
		next.attempt, next.fresh = void, &p
		return e.intend(tx, m, &p, next)
	})
	if err != nil || next.attempt == "" {
		return err
	}
	_, err = e.carry(ctx, next)
	return err
}

// wantsReversal tells whether an open authorization is to be undone, and why.
func (e *Engine) wantsReversal(p *payment.Payment, a *payment.Attempt, acct *connector.Account) (payment.Purpose, bool) {
	spec := acct.Connector.Spec()
	if a == nil || a.Kind != payment.KindAuthorize || !a.Status.Open() || p.Status.Terminal() ||
		voidOpen(p, a.ID) || !spec.Takes(payment.KindVoid) {
		return "", false
	}
	if a.PSPReference == "" && spec.Reversal == nil {
		return "", false // there is nothing to name it by
	}
	if spec.Query == connector.QueryNone && voids(p, a.ID) >= maxBlindVoids {
		return "", false // refused each time, and why cannot be asked
	}
	patience := e.patience(p, a)
	switch {
	case !p.CancelRequestedAt.IsZero():
		return payment.PurposeCancel, true
	case patience > 0 && e.now().Sub(a.StartedAt) >= patience && a.Doubt:
		return payment.PurposeReverse, true
	case patience > 0 && e.now().Sub(a.StartedAt) >= patience:
		return payment.PurposeExpiry, true
	case spec.Query == connector.QueryNone && a.Doubt && a.PSPReference == "" && e.now().Sub(lastSent(a)) >= acct.NotFound():
		// Nobody can be asked, the request cannot be repeated, and no webhook has
		// come: what may be at the PSP is undone.
		return payment.PurposeReverse, true
	}
	return "", false
}

// maxBlindVoids bounds the reversals of one charge at a PSP that cannot be asked.
const maxBlindVoids = 3

func voids(p *payment.Payment, charge string) (n int) {
	for i := range p.Attempts {
		if a := &p.Attempts[i]; a.Kind == payment.KindVoid && a.Charge == charge {
			n++
		}
	}
	return n
}

// giveUp settles an attempt whose lost step moves no money.
func (e *Engine) giveUp(ctx context.Context, j *job, acct *connector.Account) error {
	return e.update(ctx, func(tx store.Tx) error {
		p, err := tx.Payment(j.payment)
		if err != nil {
			return err
		}
		a := p.Attempt(j.attempt)
		if a == nil || !a.Status.Open() {
			return tx.Dequeue(store.Recover, j.attempt)
		}
		m := mark(&p)
		a.Doubt = false
		v, err := learn(&p, a, e.news(byAnswer, &p, a, acct, connector.Exchange{Outcome: connector.NotSent}))
		if err != nil {
			return err
		}
		if v.conclude != nil {
			p.Error = v.conclude
			if err := move(&p, payment.Failed, byAnswer); err != nil {
				return err
			}
		}
		_, err = e.finish(tx, j, m, &p, "")
		return err
	})
}

// again puts the attempt back: nothing can be done for now.
func (e *Engine) again(ctx context.Context, j *job) error {
	return e.update(ctx, func(tx store.Tx) error {
		p, err := tx.Payment(j.payment)
		if err != nil {
			return err
		}
		a := p.Attempt(j.attempt)
		if a == nil || !a.Status.Open() {
			return tx.Dequeue(store.Recover, j.attempt)
		}
		m := mark(&p)
		news := a.Status == payment.AttemptPending && a.PSPReference == "" && !a.Doubt
		if news {
			doubt(&p, a)
		}
		if news || untold(&p, a) {
			if _, err := e.save(tx, m, &p, a.ID); err != nil {
				return err
			}
		}
		if j.aside {
			return nil
		}
		return tx.Enqueue(store.Recover, store.Item{
			ID: a.ID, Payload: ticketFor(&p, a).encode(), Tries: j.tries, Due: e.now().Add(e.lookAfter(&p, a, j.tries)),
		})
	})
}

func (e *Engine) dequeue(ctx context.Context, id string) error {
	return e.update(ctx, func(tx store.Tx) error { return tx.Dequeue(store.Recover, id) })
}

// askFirst is a number of tries at which [Engine.means] asks where it can: somebody
// wants to know.
const askFirst = 2

// lookAt takes a look at everything that is open in a payment, or at its charge
// where nothing is.
func (e *Engine) lookAt(ctx context.Context, p *payment.Payment) error {
	looked, err := e.lookAtOpen(ctx, p)
	if err != nil || looked {
		return err
	}
	if c := p.Current(); c != nil && !c.Status.Open() && c.PSPReference != "" {
		return e.settle(ctx, ticket{Payment: p.ID, Look: true}, c.ID, 0)
	}
	return nil
}

// lookAtOpen takes a look at everything that is open in a payment, beside recovery,
// and tells whether something was. Whoever polls must not keep recovery from its own
// turns: some doubt is settled by a repeat alone.
func (e *Engine) lookAtOpen(ctx context.Context, p *payment.Payment) (looked bool, err error) {
	for i := range p.Attempts {
		a := &p.Attempts[i]
		if !a.Status.Open() || e.running(a) {
			continue
		}
		looked = true
		if err := e.settle(ctx, ticket{Payment: p.ID, aside: true}, a.ID, askFirst); err != nil {
			return looked, err
		}
	}
	return looked, nil
}

// running tells whether the attempt's own caller may still be at it.
func (e *Engine) running(a *payment.Attempt) bool {
	return a.Status == payment.AttemptPending && !a.Answered && !a.Doubt &&
		e.now().Before(a.Sent.Add(e.exchangeTime(a.Account)+recoverMargin))
}

// Sync asks the PSP about everything that is open in a payment, for operators.
func (e *Engine) Sync(ctx context.Context, id string) (payment.Payment, error) {
	p, err := e.any(ctx, id)
	if err != nil {
		return p, err
	}
	if err := e.lookAt(ctx, &p); err != nil {
		return p, err
	}
	return e.any(ctx, id)
}

// any reads a payment of whichever merchant, for operators.
func (e *Engine) any(ctx context.Context, id string) (p payment.Payment, err error) {
	err = e.view(ctx, func(r store.Reader) (err error) {
		p, err = r.Payment(id)
		return err
	})
	return p, err
}
