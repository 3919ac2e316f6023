package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

const (
	// recoverMargin after the account's timeout an attempt that nobody has
	// settled belongs to recovery: its caller is dead.
	recoverMargin = 5 * time.Second
	// storeTimeout bounds one transaction, waiting included.
	storeTimeout = 10 * time.Second
	// pollPending is how soon a charge that is not finished is asked after.
	pollPending = 3 * time.Second
	// maxHops bounds the calls of one carry: steps, accounts and closings.
	maxHops = 32
)

// job is one operation on its way: what must be remembered between the durable
// intent and the durable outcome, in memory only.
type job struct {
	payment string
	attempt string
	// transient is the method as the payer gave it; nil where it was stored.
	transient *payment.Method
	// key is the caller's claimed key; nil for the engine's own work.
	key *store.IdempotencyKey
	// plan holds the accounts that may still be tried, and is nil in recovery:
	// what a crash has interrupted is not taken to another account.
	plan      *payment.Plan
	publicURL string
	by        cause
	// asked is when the PSP was asked, for a query.
	asked time.Time
	// resumed is the attempt that an earlier job began: the time since its beginning
	// was spent waiting, and is not the gateway's own.
	resumed string
	// tries counts the looks that recovery has taken at the attempt.
	tries int
	// aside: somebody else than recovery looks, and recovery's own look stays due as it
	// is, unless the attempt has moved.
	aside, moved bool
	// waited sums up the time spent waiting for PSPs, for somebody who looks; nil =
	// nobody wants to know.
	waited *time.Duration
	psp    time.Duration
	// fresh is the payment as the last transaction left it.
	fresh *payment.Payment
	// pass is leave to send to the account where the job is; nil where none is
	// needed. away tells that it was used, and passedOver that the plan has lost
	// candidates for want of one.
	pass             *pass
	away, passedOver bool
}

// settled is what one hop of a job comes to.
type settled struct {
	next string // the attempt to go on with; "" = the job is done
	body []byte // the answer, when the job is done
}

// carry takes a job from its durable intent to its durable outcome. The caller
// hanging up changes nothing: from here on the engine has its own deadlines.
func (e *Engine) carry(ctx context.Context, j *job) (Answer, error) {
	ctx = context.WithoutCancel(ctx)
	j.away = true
	budget := map[string]time.Time{} // by attempt: all steps of one share the account's timeout
	for range maxHops {
		acct, x, err := e.send(ctx, j, budget)
		if err != nil {
			return Answer{}, err
		}
		j.psp += x.Took
		spare := e.reserve(ctx, j, x)
		out, err := e.record(ctx, j, acct, x)
		if err != nil {
			spare.end(false)
			return Answer{}, err
		}
		j.board(spare, out.next)
		if out.next == "" {
			return e.reply(j, out.body), nil
		}
		j.attempt = out.next
	}
	return Answer{}, fmt.Errorf("payment %s: no end after %d calls", j.payment, maxHops)
}

func (e *Engine) reply(j *job, body []byte) Answer {
	a := Answer{ContentType: contentType, Body: body, PSP: j.psp}
	if j.key != nil {
		a.Status = j.key.Success
	}
	return a
}

// send carries the present step of attempt a to its PSP.
func (e *Engine) send(ctx context.Context, j *job, budget map[string]time.Time) (*connector.Account, connector.Exchange, error) {
	p := j.fresh
	a := p.Attempt(j.attempt)
	if a == nil {
		return nil, connector.Exchange{}, fmt.Errorf("payment %s has no attempt %s", p.ID, j.attempt)
	}
	acct := e.cfg.Accounts[a.Account]
	if acct == nil {
		return nil, connector.Exchange{}, fmt.Errorf("account %s is not configured", a.Account)
	}
	op, err := e.operation(p, a, j.transient)
	if err != nil {
		return acct, connector.Exchange{}, err
	}
	deadline, ok := budget[a.ID]
	if !ok {
		// Recovery counts from the intent, and so does the time in which bytes may leave:
		// a process that stood still in between must not send what others have settled.
		left := acct.Exchange()
		if !a.Doubt {
			left -= max(e.now().Sub(a.Sent), 0)
		}
		if left <= 0 {
			return acct, connector.Exchange{Outcome: connector.NotSent, Err: errors.New("the time of the exchange was over before it began")}, nil
		}
		deadline = time.Now().Add(left) //nolint:forbidigo // a context's deadline is on the machine's clock
		budget[a.ID] = deadline
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	x := e.cfg.Exchange.Exchange(ctx, acct, e.call(a, op, acct))
	if x.Outcome != connector.Answered && x.Err != nil {
		e.cfg.Log.Warn("psp call not answered", logAttempt(p, a, acct, x)...)
	}
	return acct, x, nil
}

// record writes the outcome of an exchange, and decides how the job goes on.
func (e *Engine) record(ctx context.Context, j *job, acct *connector.Account, x connector.Exchange) (settled, error) {
	var (
		out   settled
		fresh *payment.Payment
		plan  = j.plan
	)
	if j.waited != nil {
		*j.waited += x.Took
	}
	err := e.insist(ctx, func(tx store.Tx) error {
		out, j.plan = settled{}, plan // it may be the second time
		p, err := tx.Payment(j.payment)
		if err != nil {
			return err
		}
		a := p.Attempt(j.attempt)
		if a == nil {
			return fmt.Errorf("payment %s has lost attempt %s", p.ID, j.attempt)
		}
		m, was := mark(&p), a.Status
		asked, err := e.picture(j, &p, a)
		if err != nil {
			return err
		}
		x := e.vouch(tx, &p, a, x)
		n := e.news(j.by, &p, a, acct, x)
		if !j.asked.IsZero() {
			n.asOf = j.asked
		}
		v, err := learn(&p, a, n)
		if err != nil {
			return err
		}
		j.moved = a.Status != was
		if j.by == byAnswer && j.resumed != a.ID {
			a.Gateway = max(e.now().Sub(a.StartedAt)-a.PSP, 0)
		}
		if out.next, err = e.proceed(tx, j, &p, a, v, x); err != nil {
			return err
		}
		fresh = &p
		if still, err := asked.still(&p, a); err != nil || still {
			return errors.Join(err, e.schedule(tx, m, &p, j, out.next))
		}
		out.body, err = e.finish(tx, j, m, &p, out.next)
		return err
	})
	j.fresh = fresh
	return out, err
}

// news puts together what learn needs to know beside the exchange.
func (e *Engine) news(by cause, p *payment.Payment, a *payment.Attempt, acct *connector.Account, x connector.Exchange) news {
	charge := a
	if a.Kind != payment.KindAuthorize {
		charge = p.Attempt(a.Charge)
	}
	now := e.now()
	reversal := acct.Connector.Spec().Reversal
	after := acct.NotFound()
	if a.Status.Open() && !a.Doubt && !a.Answered { // nobody knows how its exchange ended: the last send may have left at its end
		after += acct.Exchange()
	}
	return news{
		by: by, exchange: x, notFoundAfter: after, now: now, asOf: now,
		reversible: reversal != nil && charge != nil && now.Sub(charge.StartedAt) < reversal.Window,
	}
}

// vouch makes sure that the PSP's reference is this attempt's alone: an answer
// that names somebody else's charge is no answer.
func (e *Engine) vouch(tx store.Tx, p *payment.Payment, a *payment.Attempt, x connector.Exchange) connector.Exchange {
	ref := x.Result.PSPReference
	if x.Outcome != connector.Answered || ref == "" || (a.Kind != payment.KindAuthorize && a.Kind != payment.KindRefund) {
		return x
	}
	if charge := p.Attempt(a.Charge); charge != nil && charge.PSPReference == ref {
		return x // some PSPs name a refund by its charge
	}
	err := tx.PutRef(store.Ref{Account: a.Account, Reference: ref, Payment: p.ID, Attempt: a.ID})
	if errors.Is(err, store.ErrConflict) {
		x.Outcome, x.Err = connector.Unknown, fmt.Errorf("the PSP's reference belongs to another attempt: %w", err)
		e.cfg.Log.Error("psp reference seen before", logAttempt(p, a, e.cfg.Accounts[a.Account], x)...)
	}
	return x
}

// proceed decides what follows: the next step, a closing, another account, or
// the end. It returns the attempt to go on with.
func (e *Engine) proceed(tx store.Tx, j *job, p *payment.Payment, a *payment.Attempt, v verdict, x connector.Exchange) (string, error) {
	switch {
	case v.stepDone:
		return a.ID, e.nextStep(j, p, a, x.Result)
	case v.voidHold:
		if err := e.renew(tx, j, a.Account); err != nil {
			return "", err
		}
		return e.beginVoid(tx, p, p.Current(), payment.PurposeCancel, payment.OriginGateway, "") // a may be a closing of it
	case v.conclude == nil || p.Status != payment.Processing && p.Status != payment.RequiresAction:
		return "", nil
	}
	account := ""
	if v.elsewhere && p.Status == payment.Processing && p.CancelRequestedAt.IsZero() {
		account = j.nextAccount(p)
	}
	if v.closeLast || v.closeFirst && account != "" {
		return e.beginClose(tx, j, p, a)
	}
	if account == "" {
		if c := p.Current(); c != nil && j.passedOver {
			c.Routing = j.plan
		}
		p.Error = v.conclude
		return "", move(p, payment.Failed, j.by)
	}
	return e.beginNext(tx, j, p, account)
}

// beginClose writes the intent to close what could still be paid. Until that is
// done nobody needs to act, and the payment is processing.
func (e *Engine) beginClose(tx store.Tx, j *job, p *payment.Payment, a *payment.Attempt) (string, error) {
	if p.Status == payment.RequiresAction {
		p.NextAction = nil
		if err := move(p, payment.Processing, j.by); err != nil {
			return "", err
		}
	}
	if err := e.renew(tx, j, a.Account); err != nil {
		return "", err
	}
	return e.beginVoid(tx, p, a, payment.PurposeClose, payment.OriginGateway, "")
}

// nextStep notes what a step yielded: durable before the next step's first byte.
func (e *Engine) nextStep(j *job, p *payment.Payment, a *payment.Attempt, r connector.Result) error {
	op, err := e.operation(p, a, j.transient)
	if err != nil {
		return err
	}
	_, following, ok := stepOf(e.cfg.Accounts[a.Account], op, a.Step)
	if !ok || following == "" || r.StepReference == "" {
		return fmt.Errorf("attempt %s: no step follows %q", a.ID, a.Step)
	}
	done(a, a.Step, r.StepReference)
	a.Step, a.Sent, a.Resent = following, e.now(), time.Time{}
	a.Doubt, a.Answered, a.Outcome = false, false, payment.Known
	return nil
}

// nextAccount takes the next candidate off the plan.
func (j *job) nextAccount(p *payment.Payment) string {
	if j.plan == nil {
		return ""
	}
	for i := range j.plan.Candidates {
		c := j.plan.Candidates[i]
		if c.Outcome != payment.CandidateNext {
			continue
		}
		tried := false
		for _, a := range p.Attempts {
			tried = tried || a.Kind == payment.KindAuthorize && a.Account == c.Account
		}
		if !tried {
			return c.Account
		}
	}
	return ""
}

// beginNext writes the intent to try another account.
func (e *Engine) beginNext(tx store.Tx, j *job, p *payment.Payment, account string) (string, error) {
	plan := *j.plan
	plan.Candidates = append([]payment.Candidate(nil), plan.Candidates...)
	for i := range plan.Candidates {
		c := &plan.Candidates[i]
		switch {
		case c.Account == account:
			c.Outcome = payment.CandidateChosen
		case c.Outcome == payment.CandidateChosen:
			c.Outcome, c.Reason = payment.CandidateTried, "tried before: "+triedReason(p, c.Account)
		}
	}
	j.plan = &plan
	a, err := e.beginAuthorize(tx, p, e.cfg.Accounts[account], &plan, j)
	if err != nil {
		return "", err
	}
	return a.ID, e.renew(tx, j, account)
}

// renew keeps the caller's key for as long as one more exchange takes, so that no
// repeat is answered in its place. Where another node has answered already, there is
// nothing to keep.
func (e *Engine) renew(tx store.Tx, j *job, account string) error {
	if j.key == nil {
		return nil
	}
	j.key.Lease = e.now().Add(e.exchangeTime(account) + leaseMargin)
	if err := tx.PutKey(*j.key); err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("renew key: %w", err)
	}
	return nil
}

func triedReason(p *payment.Payment, account string) string {
	for i := range p.Attempts {
		if a := &p.Attempts[i]; a.Account == account && a.Error != nil {
			return string(a.Error.Code)
		}
	}
	return "no money moved"
}

// finish saves the payment, its deferred work, and, at the end of the job, the
// answer under the caller's key.
func (e *Engine) finish(tx store.Tx, j *job, m marks, p *payment.Payment, goOn string) ([]byte, error) {
	ended := j.attempt
	if goOn != "" {
		ended = ""
	}
	object, err := e.save(tx, m, p, ended)
	if err != nil {
		return nil, err
	}
	if err := e.schedule(tx, m, p, j, goOn); err != nil {
		return nil, err
	}
	if goOn != "" {
		return nil, nil
	}
	if j.key == nil {
		return object, nil
	}
	body := object
	if j.key.Object != p.ID {
		if body, err = render(p, j.key.Object); err != nil {
			return nil, err
		}
	}
	k := *j.key
	err = answer(tx, &k, body)
	if errors.Is(err, store.ErrConflict) {
		// The lease had ended, and another node has answered in our place: its answer is
		// the first one.
		if k, err = tx.Key(k.KeyScope); err == nil {
			body = k.Body
		}
	}
	return body, err
}

// ticket is the payload of deferred work on an attempt.
type ticket struct {
	Payment string `json:"payment"`
	// Account is the attempt's; "" where there is none, and in tickets of the release
	// before.
	Account string `json:"account,omitempty"`
	// Look asks the PSP even about an attempt that is settled.
	Look bool `json:"look,omitempty"`
	// aside: it is not recovery that looks. waited is [job.waited].
	aside  bool
	waited *time.Duration
}

func ticketFor(p *payment.Payment, a *payment.Attempt) ticket {
	return ticket{Payment: p.ID, Account: a.Account}
}

func (t ticket) encode() []byte {
	b, err := json.Marshal(t)
	if err != nil {
		panic("engine: a ticket cannot be marshaled: " + err.Error()) // two plain fields
	}
	return b
}

// schedule keeps the queues in step with the payment: each open attempt has its
// recovery due, each settled one has none, and a payer's time has its end. The
// recovery of attempts that this change did not touch stays as it is.
func (e *Engine) schedule(tx store.Tx, m marks, p *payment.Payment, j *job, running string) error {
	for i := range p.Attempts {
		a := &p.Attempts[i]
		was := slices.Contains(m.open, a.ID)
		switch {
		case was && !a.Status.Open():
			if err := tx.Dequeue(store.Recover, a.ID); err != nil {
				return fmt.Errorf("dequeue %s: %w", a.ID, err)
			}
		case a.Status.Open() && (!was || a.ID == j.attempt && (!j.aside || j.moved) || a.ID == running):
			tries := j.tries
			if j.aside {
				tries = 0 // its own, not recovery's
			}
			item := store.Item{ID: a.ID, Payload: ticketFor(p, a).encode(), Tries: tries}
			item.Due = e.now().Add(e.lookAfter(p, a, tries))
			if a.ID == running {
				item.Due = e.now().Add(e.exchangeTime(a.Account) + recoverMargin)
			}
			if err := tx.Enqueue(store.Recover, item); err != nil {
				return fmt.Errorf("enqueue %s: %w", a.ID, err)
			}
		}
	}
	if running != "" {
		return nil // until the call has ended, its recovery is enough
	}
	return e.scheduleExpiry(tx, m, p)
}

// scheduleExpiry keeps the end of the payer's time, and of the issuer's hold.
func (e *Engine) scheduleExpiry(tx store.Tx, m marks, p *payment.Payment) error {
	due := p.ExpiresAt
	if p.Status == payment.RequiresCapture {
		due = time.Time{}
		if !p.CaptureBefore.IsZero() {
			due = p.CaptureBefore.Add(holdGrace)
		}
	}
	if p.Status.Terminal() || due.IsZero() {
		if m.status == payment.Processing || m.status == "" {
			return nil // nothing was scheduled, or it will find nothing to do
		}
		if err := tx.Dequeue(store.Expire, p.ID); err != nil {
			return fmt.Errorf("dequeue expiry: %w", err)
		}
		return nil
	}
	if m.status == p.Status {
		return nil // it stands already
	}
	if err := tx.Enqueue(store.Expire, store.Item{ID: p.ID, Payload: ticket{Payment: p.ID}.encode(), Due: due}); err != nil {
		return fmt.Errorf("enqueue expiry: %w", err)
	}
	return nil
}

func (e *Engine) exchangeTime(account string) time.Duration {
	if a := e.cfg.Accounts[account]; a != nil {
		return a.Exchange()
	}
	return connector.DefaultTimeout
}
