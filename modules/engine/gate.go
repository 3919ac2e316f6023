package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// Gate bounds what callers may have sent to accounts. It is asked before an intent
// is written, so that what it refuses leaves nothing half done. What the engine
// does by itself is never asked about: recovery, queries, closings and reversals
// settle money.
type Gate interface {
	// Limits tells whether anything bounds the calls to an account; where nothing
	// does, Admit is not asked.
	Limits(account string) bool
	// Admit asks for leave to send one operation of a merchant to an account. done is
	// called once, when the operation has ended; sent = false says that it was not
	// begun, and that it does not count. A [payment.Error] of the code
	// [payment.CodeRateLimited] refuses, and says when to come again; any other error
	// is that nobody can tell.
	Admit(ctx context.Context, account, merchant string, mode payment.Mode) (done func(sent bool), err error)
}

// reasonLimited is why a candidate is passed over that may be sent no more for now.
const reasonLimited = "rate limited"

// pass is leave to send an operation to an account; nil where none is needed.
type pass struct {
	account string
	done    func(sent bool)
}

// end gives the pass back. sent tells whether it was used.
func (p *pass) end(sent bool) {
	if p != nil {
		p.done(sent)
	}
}

// limited tells whether leave is needed for an account.
func (e *Engine) limited(account string) bool {
	return e.cfg.Gate != nil && e.cfg.Gate.Limits(account)
}

// admit asks for leave.
func (e *Engine) admit(ctx context.Context, s Scope, account string) (*pass, error) {
	if !e.limited(account) {
		return nil, nil //nolint:nilnil // no pass is needed
	}
	done, err := e.cfg.Gate.Admit(ctx, account, s.Merchant, s.Mode)
	if err != nil {
		return nil, err
	}
	return &pass{account, done}, nil
}

// refusedByLimit tells an account that may be sent no more for now from counters
// that are out of reach.
func refusedByLimit(err error) (*payment.Error, bool) {
	refusal, ok := errors.AsType[*payment.Error](err)
	return refusal, ok && refusal.Code == payment.CodeRateLimited
}

// book routes a payment, and asks for leave at the account that is tried first. An
// account that may be sent no more for now is passed over, which the plan says;
// where all are that could take the payment, the refusal is the one that ends
// first. A key that is taken needs no leave: its request was let in before.
func (e *Engine) book(ctx context.Context, c Claim, p payment.Payment, m *payment.Method, pinned string) (*connector.Account, *payment.Plan, *pass, error) {
	acct, plan, err := e.route(c, p, m, pinned)
	if err != nil || !e.limited(acct.Name) {
		return acct, plan, nil, err
	}
	if taken, err := e.taken(ctx, c); err != nil || taken {
		return acct, plan, nil, err
	}
	var soonest *payment.Error
	for acct != nil {
		leave, err := e.admit(ctx, c.Scope, acct.Name)
		if err == nil {
			return acct, plan, leave, nil
		}
		refusal, ok := refusedByLimit(err)
		if !ok {
			return nil, nil, nil, err
		}
		if soonest == nil || refusal.RetryAfter < soonest.RetryAfter {
			soonest = refusal
		}
		acct = e.passOver(plan)
	}
	return nil, nil, nil, soonest
}

// passOver takes the candidate that was chosen off the plan, and chooses the next.
func (e *Engine) passOver(plan *payment.Plan) *connector.Account {
	for i := range plan.Candidates {
		c := &plan.Candidates[i]
		switch c.Outcome {
		case payment.CandidateChosen:
			c.Outcome, c.Reason = payment.CandidateRejected, reasonLimited
		case payment.CandidateNext:
			c.Outcome = payment.CandidateChosen
			return e.cfg.Accounts[c.Account]
		}
	}
	return nil
}

// taken tells whether a request has claimed the caller's key already. What comes
// of that is decided by [Engine.claim], in the transaction.
func (e *Engine) taken(ctx context.Context, c Claim) (taken bool, err error) {
	err = e.view(ctx, func(r store.Reader) (err error) {
		taken, err = e.claimed(r, c)
		return err
	})
	return taken, err
}

func (e *Engine) claimed(r store.Reader, c Claim) (bool, error) {
	held, err := r.Key(c.scope())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read key: %w", err)
	}
	return e.now().Before(held.Expires), nil
}

// bookOperation asks for leave to send an operation on a payment that exists to
// the account of its charge. account names that; "" = nothing will be sent.
func (e *Engine) bookOperation(ctx context.Context, c Claim, o operation) (*pass, error) {
	if e.cfg.Gate == nil {
		return nil, nil //nolint:nilnil // no pass is needed
	}
	account := ""
	if err := e.view(ctx, func(r store.Reader) error {
		p, err := own(r, c.Scope, o.payment)
		if err != nil {
			return err
		}
		taken, err := e.claimed(r, c)
		if err == nil && !taken {
			account = o.account(&p)
		}
		return err
	}); err != nil || account == "" {
		return nil, err
	}
	return e.admit(ctx, c.Scope, account)
}

// captureAccount is the account that a capture is sent to, where it is allowed.
func captureAccount(p *payment.Payment) string {
	if charge := p.Current(); charge != nil && permit(p, "capture") == nil {
		return charge.Account
	}
	return ""
}

// cancelAccount is the account that a cancel is sent to at once. One of a payment
// that is processing is left to recovery.
func cancelAccount(p *payment.Payment) string {
	if charge := p.Current(); charge != nil && p.Status != payment.Processing && permit(p, "cancel") == nil {
		return charge.Account
	}
	return ""
}

// refundAccount is the account that a refund of an amount is sent to.
func refundAccount(amount int64) func(*payment.Payment) string {
	return func(p *payment.Payment) string {
		charge, _, err := refundable(p, amount)
		if err != nil {
			return "" // and so says the transaction
		}
		return charge.Account
	}
}

// reserve asks for leave at the account that is tried next where an exchange has
// come to nothing. It does so before the transaction that decides that, for leave
// is counted elsewhere, and gives back in [job.board] what was not needed. Candidates that
// may be sent no more are passed over.
func (e *Engine) reserve(ctx context.Context, j *job, x connector.Exchange) *pass {
	p := j.fresh
	if e.cfg.Gate == nil || j.plan == nil || !inVain(p, p.Attempt(j.attempt), x) {
		return nil
	}
	for {
		account := j.nextAccount(p)
		if account == "" {
			return nil
		}
		leave, err := e.admit(ctx, Scope{p.Merchant, p.Mode}, account)
		if err == nil {
			return leave
		}
		reason := reasonLimited
		if _, ok := refusedByLimit(err); !ok {
			reason = "rate limit not known"
		}
		e.cfg.Log.Warn("account passed over", slog.String("payment", p.ID), slog.String("account", account), slog.String("error", err.Error()))
		plan := *j.plan // the attempts before have it as it was
		plan.Candidates = slices.Clone(plan.Candidates)
		for i := range plan.Candidates {
			if c := &plan.Candidates[i]; c.Account == account {
				c.Outcome, c.Reason = payment.CandidateRejected, reason
			}
		}
		j.plan, j.passedOver = &plan, true
	}
}

// inVain tells whether attempt a may have come to nothing in a way that lets
// another account be tried; see [refused] and [closed].
func inVain(p *payment.Payment, a *payment.Attempt, x connector.Exchange) bool {
	switch {
	case a == nil || x.Outcome == connector.Unknown:
		return false
	case a.Kind == payment.KindVoid:
		charge := p.Attempt(a.Charge)
		return a.Purpose == payment.PurposeClose && x.Outcome == connector.Answered &&
			charge != nil && charge.Error != nil && charge.Error.Code.Info().Elsewhere
	case a.Kind != payment.KindAuthorize || a.Doubt:
		return false
	case x.Outcome == connector.NotSent:
		return true
	case x.Result.State != connector.Declined && x.Result.State != connector.Rejected:
		return false
	}
	f := x.Result.Failure
	return !x.Result.Payable && (f == nil || f.Code.Info().Elsewhere)
}

// board goes on with the pass of the account that the job goes on to, and gives a
// pass back that is not needed.
func (j *job) board(spare *pass, goOn string) {
	if spare == nil {
		return
	}
	if a := j.fresh.Attempt(goOn); a == nil || a.Kind != payment.KindAuthorize || a.Account != spare.account {
		spare.end(false)
		return
	}
	j.pass.end(true)
	j.pass = spare
}

// land gives the job's pass back when it has ended.
func (j *job) land() { j.pass.end(j.away) }
