package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// defaultLife is the payer's time where the merchant sets none.
const defaultLife = 24 * time.Hour

// SettingFrozen is the name of the setting by which an operator stops new
// payments; any value but "" does.
const SettingFrozen = "frozen"

// SettingRestored is the name of the setting that tells of a store restored from
// a backup: while it has a value, refunds are refused as new payments are. One
// that was made after the backup is unknown here, and would be made again.
const SettingRestored = "gateway.restored"

// Create makes a payment, and confirms it where in.Confirm is set.
func (e *Engine) Create(ctx context.Context, c Claim, in Create) (Answer, error) {
	p := e.draft(c, in)
	if !in.Confirm {
		return e.createOnly(ctx, c, p, in)
	}
	acct, plan, leave, err := e.book(ctx, c, p, in.Method, in.Account)
	if err != nil {
		return e.replayOr(ctx, c, err)
	}
	j := &job{payment: p.ID, transient: transient(in.Method), plan: plan, publicURL: c.Origin, by: byAnswer, pass: leave}
	defer j.land()
	var first *Answer
	err = e.update(ctx, func(tx store.Tx) error {
		fresh := p
		fresh.Attempts = nil
		var key store.IdempotencyKey
		if key, first, err = e.claim(tx, c, p.ID, p.ID, http.StatusCreated, acct.Exchange()); err != nil || first != nil {
			return err
		}
		if err := refuseFrozen(tx); err != nil {
			return err
		}
		if err := spend(tx, c.Quotas, fresh.Amount.Minor, e.now()); err != nil {
			return err
		}
		j.key = &key
		if fresh.Status, err = next("", payment.Processing, byCreate); err != nil {
			return err
		}
		a, err := e.beginAuthorize(tx, &fresh, acct, plan, j)
		if err != nil {
			return err
		}
		j.attempt, j.fresh = a.ID, &fresh
		return e.intend(tx, marks{}, &fresh, j)
	})
	if err != nil || first != nil {
		return answered(first, err)
	}
	return e.carry(ctx, j)
}

// draft is the payment before anything has happened to it.
func (e *Engine) draft(c Claim, in Create) payment.Payment {
	now := e.now()
	p := payment.Payment{
		ID: e.cfg.IDs.New(payment.PrefixPayment), Merchant: c.Merchant, Mode: c.Mode, Outcome: payment.Known,
		Amount: in.Amount, CaptureMethod: in.CaptureMethod, Method: in.Method.Summary(),
		Reference: in.Reference, Description: in.Description, StatementDescriptor: in.StatementDescriptor,
		Customer: in.Customer, Billing: in.Billing, Shipping: in.Shipping, Browser: in.Browser,
		ReturnURL: in.ReturnURL, Channel: in.Channel, OffSession: in.OffSession, SetupFutureUsage: in.SetupFutureUsage,
		Metadata: in.Metadata, Account: in.Account, CreatedAt: now, ExpiresAt: in.ExpiresAt,
	}
	if p.CaptureMethod == "" {
		p.CaptureMethod = payment.CaptureAutomatic
	}
	if p.Channel == "" {
		p.Channel = payment.ChannelEcommerce
	}
	if p.ExpiresAt.IsZero() {
		p.ExpiresAt = now.Add(defaultLife)
	}
	return p
}

// createOnly makes a payment that waits for its confirmation.
func (e *Engine) createOnly(ctx context.Context, c Claim, p payment.Payment, in Create) (Answer, error) {
	to := payment.RequiresPaymentMethod
	if in.Method != nil {
		to = payment.RequiresConfirmation
	}
	if in.Account != "" {
		if err := e.ownAccount(c, in.Account); err != nil {
			return e.replayOr(ctx, c, err)
		}
	}
	var (
		body  []byte
		first *Answer
	)
	err := e.update(ctx, func(tx store.Tx) (err error) {
		fresh := p
		var key store.IdempotencyKey
		if key, first, err = e.claim(tx, c, p.ID, p.ID, http.StatusCreated, 0); err != nil || first != nil {
			return err
		}
		if err := refuseFrozen(tx); err != nil {
			return err
		}
		if fresh.Status, err = next("", to, byCreate); err != nil {
			return err
		}
		j := &job{payment: p.ID, key: &key}
		body, err = e.finish(tx, j, marks{}, &fresh, "")
		return err
	})
	if err != nil || first != nil {
		return answered(first, err)
	}
	return Answer{Status: http.StatusCreated, ContentType: contentType, Body: body}, nil
}

// intend writes the intent of a call: after that its first byte may leave.
func (e *Engine) intend(tx store.Tx, m marks, p *payment.Payment, j *job) error {
	if _, err := e.save(tx, m, p, ""); err != nil {
		return err
	}
	return e.schedule(tx, m, p, j, j.attempt)
}

// refuseFrozen keeps new payments out while an operator wants none.
func refuseFrozen(tx store.Tx) error {
	v, err := tx.Setting(SettingFrozen)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && v == "":
		return nil
	case err != nil: // a freeze that cannot be read does not let them on
		return fmt.Errorf("read freeze: %w", err)
	}
	return &payment.Error{Code: payment.CodeFrozen, Detail: "an operator has stopped new payments", RetryAfter: time.Minute}
}

// route plans a payment and returns the account that is tried first.
func (e *Engine) route(c Claim, p payment.Payment, m *payment.Method, pinned string) (*connector.Account, *payment.Plan, error) {
	if pinned != "" {
		if err := e.ownAccount(c, pinned); err != nil {
			return nil, nil, err
		}
	}
	f := payment.Facts{
		Merchant: p.Merchant, Mode: p.Mode, Amount: p.Amount, Method: m.Type, Flow: m.Flow, Channel: p.Channel,
		Capture: p.CaptureMethod == payment.CaptureAutomatic, Account: pinned,
	}
	if p.Method != nil {
		f.Brand = p.Method.Brand
	}
	if p.Billing != nil {
		f.Country = p.Billing.Country
	}
	plan := e.cfg.Plan.Plan(f)
	acct, err := e.representable(&plan, p, m)
	return acct, &plan, err
}

// representable takes candidates off the plan that cannot express the payment,
// and returns the first that can.
func (e *Engine) representable(plan *payment.Plan, p payment.Payment, m *payment.Method) (*connector.Account, error) {
	var first error
	draft := payment.Attempt{Amount: p.Amount.Minor, StartedAt: p.CreatedAt}
	op := e.authorize(&p, &draft, m)
	var chosen *connector.Account
	for i := range plan.Candidates {
		c := &plan.Candidates[i]
		if c.Outcome == payment.CandidateRejected {
			continue
		}
		acct := e.cfg.Accounts[c.Account]
		if acct == nil {
			c.Outcome, c.Reason = payment.CandidateRejected, "not configured"
			continue
		}
		if err := check(acct, op); err != nil {
			c.Outcome, c.Reason = payment.CandidateRejected, err.Error()
			if first == nil {
				first = err
			}
			continue
		}
		c.Outcome = payment.CandidateNext
		if chosen == nil {
			c.Outcome, chosen = payment.CandidateChosen, acct
		}
	}
	switch {
	case chosen != nil:
		return chosen, nil
	case first != nil:
		return nil, first
	}
	return nil, payment.Errorf(payment.CodeNoAccount, "no account of yours takes %s in %s by %s%s", p.Amount.Currency, p.Mode, m, why(plan))
}

// why sums up a plan without a choice.
func why(plan *payment.Plan) string {
	var s strings.Builder
	for _, c := range plan.Candidates {
		s.WriteString("; " + c.Account + ": " + c.Reason)
	}
	return s.String()
}

// ownAccount refuses an account that is not the merchant's, exactly as one that
// does not exist.
func (e *Engine) ownAccount(c Claim, name string) error {
	if a := e.cfg.Accounts[name]; a != nil && a.Serves(c.Merchant, c.Mode) {
		return nil
	}
	err := payment.Errorf(payment.CodeNotFound, "there is no account %q", name)
	err.Param = "account"
	return err
}

// replayOr answers a request that would be refused now, but was answered
// before: the first answer wins over whatever has changed since.
func (e *Engine) replayOr(ctx context.Context, c Claim, refusal error) (Answer, error) {
	var first *Answer
	err := e.view(ctx, func(r store.Reader) error {
		held, err := r.Key(c.scope())
		if err == nil && held.Status != 0 && held.Fingerprint == c.Fingerprint && e.now().Before(held.Expires) {
			first = answerOf(held)
		}
		return nil
	})
	if err == nil && first != nil {
		return *first, nil
	}
	return Answer{}, refusal
}

// answered is how a call ends whose transaction brought the first answer, or
// none at all.
func answered(first *Answer, err error) (Answer, error) {
	if err != nil {
		return Answer{}, err
	}
	return *first, nil
}

// transient keeps a method in memory where the store cannot.
func transient(m *payment.Method) *payment.Method {
	if m.Transient() {
		return m
	}
	return nil
}

// Confirm sends a payment that waits for it.
func (e *Engine) Confirm(ctx context.Context, c Claim, id string, in Confirm) (Answer, error) {
	var (
		seen payment.Payment
		err  error
	)
	if err := e.view(ctx, func(r store.Reader) error {
		seen, err = own(r, c.Scope, id)
		return err
	}); err != nil {
		return Answer{}, err
	}
	draft, m, err := confirmed(seen, in)
	if err != nil {
		return e.replayOr(ctx, c, err)
	}
	acct, plan, leave, err := e.book(ctx, c, draft, m, draft.Account)
	if err != nil {
		return e.replayOr(ctx, c, err)
	}
	j := &job{payment: id, transient: transient(in.Method), plan: plan, publicURL: c.Origin, by: byAnswer, pass: leave}
	defer j.land()
	var first *Answer
	err = e.update(ctx, func(tx store.Tx) (err error) {
		var key store.IdempotencyKey
		if key, first, err = e.claim(tx, c, id, id, http.StatusOK, acct.Exchange()); err != nil || first != nil {
			return err
		}
		if err := refuseFrozen(tx); err != nil {
			return err
		}
		now, err := own(tx, c.Scope, id)
		if err != nil {
			return err
		}
		was := mark(&now)
		p, _, err := confirmed(now, in)
		if err != nil {
			return err
		}
		if err := spend(tx, c.Quotas, p.Amount.Minor, e.now()); err != nil {
			return err
		}
		j.key = &key
		if err := move(&p, payment.Processing, byConfirm); err != nil {
			return err
		}
		a, err := e.beginAuthorize(tx, &p, acct, plan, j)
		if err != nil {
			return err
		}
		j.attempt, j.fresh = a.ID, &p
		return e.intend(tx, was, &p, j)
	})
	if err != nil || first != nil {
		return answered(first, err)
	}
	return e.carry(ctx, j)
}

// confirmed merges what confirm brings into the payment, and returns the method
// to be used.
func confirmed(p payment.Payment, in Confirm) (payment.Payment, *payment.Method, error) {
	if err := permit(&p, "confirm"); err != nil {
		return p, nil, err
	}
	m := in.Method
	if m != nil {
		p.Method = m.Summary()
	} else if p.Method != nil {
		stored := p.Method.Stored()
		m = &stored
	}
	if m == nil {
		return p, nil, payment.Invalid("payment_method", "the payment has no payment method yet")
	}
	if in.ReturnURL != "" {
		p.ReturnURL = in.ReturnURL
	}
	if in.Browser != nil {
		p.Browser = in.Browser
	}
	if in.Account != "" {
		if p.Account != "" && p.Account != in.Account {
			return p, nil, payment.Invalid("payment_method.account", "the payment is pinned to another account")
		}
		p.Account = in.Account
	}
	p.Attempts = slices.Clone(p.Attempts)
	return p, m, nil
}
