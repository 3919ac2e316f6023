package engine

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// operation is one operation on a payment that exists: claim, check and intent
// in one transaction, then the call. prepare checks the operation against p and
// begins its attempt; where it begins none, the change is the whole operation.
type operation struct {
	payment string
	object  string // what the answer shows; "" = the payment
	success int    // HTTP status of the answer
	// account is where it will be sent, as far as p tells; "" = nowhere, or prepare
	// says why not.
	account func(p *payment.Payment) string
	prepare func(tx store.Tx, p *payment.Payment, j *job) (attempt string, err error)
}

func (e *Engine) operate(ctx context.Context, c Claim, o operation) (Answer, error) {
	if o.object == "" {
		o.object = o.payment
	}
	leave, err := e.bookOperation(ctx, c, o)
	if err != nil {
		return Answer{}, err
	}
	j := &job{pass: leave}
	defer func() { j.land() }()
	var (
		body  []byte
		first *Answer
	)
	err = e.update(ctx, func(tx store.Tx) error {
		j = &job{payment: o.payment, publicURL: c.Origin, by: byAnswer, pass: leave}
		p, err := own(tx, c.Scope, o.payment)
		if err != nil {
			return err
		}
		var key store.IdempotencyKey
		if key, first, err = e.claim(tx, c, o.payment, o.object, o.success, e.leaseFor(&p)); err != nil || first != nil {
			return err
		}
		j.key, j.fresh = &key, &p
		m := mark(&p)
		if j.attempt, err = o.prepare(tx, &p, j); err != nil {
			return err
		}
		if j.attempt != "" {
			return e.intend(tx, m, &p, j)
		}
		body, err = e.finish(tx, j, m, &p, "")
		return err
	})
	if err != nil || first != nil {
		return answered(first, err)
	}
	if j.attempt == "" {
		e.nudge(store.Recover)
		return Answer{Status: o.success, ContentType: contentType, Body: body}, nil
	}
	return e.carry(ctx, j)
}

// leaseFor is how long an operation on p may take.
func (e *Engine) leaseFor(p *payment.Payment) time.Duration {
	if c := p.Current(); c != nil {
		return e.exchangeTime(c.Account)
	}
	return 0
}

// accountOf returns the account of a charge.
func (e *Engine) accountOf(charge *payment.Attempt) (*connector.Account, error) {
	if a := e.cfg.Accounts[charge.Account]; a != nil {
		return a, nil
	}
	return nil, payment.Errorf(payment.CodeNotSupported, "account %q is no longer configured", charge.Account)
}

// start checks that the PSP can express an attempt that was just begun.
func (e *Engine) start(p *payment.Payment, a *payment.Attempt, acct *connector.Account) (string, error) {
	op, err := e.operation(p, a, nil)
	if err != nil {
		return "", err
	}
	if err := check(acct, op); err != nil {
		return "", err
	}
	a.Step = connector.StepsOf(acct.Connector, op)[0].Name
	return a.ID, nil
}

// Capture takes money of an authorization.
func (e *Engine) Capture(ctx context.Context, c Claim, id string, in Capture) (Answer, error) {
	return e.operate(ctx, c, operation{
		payment: id, success: http.StatusOK, account: captureAccount,
		prepare: func(tx store.Tx, p *payment.Payment, j *job) (string, error) {
			if err := permit(p, "capture"); err != nil {
				return "", err
			}
			charge := p.Current()
			acct, err := e.accountOf(charge)
			if err != nil {
				return "", err
			}
			amount, err := captureAmount(p, charge, in, acct.Connector.Spec())
			if err != nil {
				return "", err
			}
			chargeID := charge.ID // begin may move the attempts in memory
			a, err := e.begin(tx, p, payment.Attempt{
				Kind: payment.KindCapture, Amount: amount, Account: acct.Name, Connector: charge.Connector,
				Origin: payment.OriginMerchant, Charge: chargeID, Final: in.Final,
			}, j.seed())
			if err != nil {
				return "", err
			}
			p.Error = nil
			return e.start(p, a, acct)
		},
	})
}

// captureAmount checks what is to be captured against what is left.
func captureAmount(p *payment.Payment, charge *payment.Attempt, in Capture, spec connector.Spec) (int64, error) {
	free, left := p.AmountFree(), p.AmountUncaptured()
	amount := in.Amount
	if amount == 0 {
		amount = free
	}
	switch {
	case amount > left:
		err := payment.Errorf(payment.CodeAmountTooLarge, "%d is over the %d that can be captured", amount, left)
		err.Param = "amount"
		return 0, err
	case amount > free || free == 0:
		return 0, inProgress("%d of the %d that were authorized wait for another capture or cancel", left-free, charge.Authorized)
	case !in.Final && !charge.MultiCapture:
		err := payment.Errorf(payment.CodeNotSupported, "this authorization takes one capture only")
		err.Param = "final"
		return 0, err
	case amount < left && !spec.PartialCapture:
		err := payment.Errorf(payment.CodeNotSupported, "%s captures the whole amount only", spec.Name)
		err.Param = "amount"
		return 0, err
	}
	return amount, nil
}

func inProgress(format string, args ...any) error {
	err := payment.Errorf(payment.CodeOperationInProgress, format, args...)
	err.RetryAfter = time.Second
	return err
}

// Cancel releases an authorization, closes a payment that is not paid, or asks
// for the reversal of one in doubt.
func (e *Engine) Cancel(ctx context.Context, c Claim, id string, in Cancel) (Answer, error) {
	return e.operate(ctx, c, operation{
		payment: id, success: http.StatusOK, account: cancelAccount,
		prepare: func(tx store.Tx, p *payment.Payment, j *job) (string, error) {
			if err := permit(p, "cancel"); err != nil {
				return "", err
			}
			first := p.CancelRequestedAt.IsZero()
			if first {
				p.CancelRequestedAt = e.now()
			}
			switch p.Status {
			case payment.RequiresPaymentMethod, payment.RequiresConfirmation:
				return "", move(p, payment.Canceled, byCancel)
			case payment.Processing:
				return "", e.hurry(tx, p)
			default:
				return e.cancelCharge(tx, p, j)
			}
		},
	})
}

// cancelCharge begins the void of a charge that holds money or waits for the
// payer.
func (e *Engine) cancelCharge(tx store.Tx, p *payment.Payment, j *job) (string, error) {
	charge := p.Current()
	for i := range p.Attempts {
		if a := &p.Attempts[i]; a.Charge == p.Charge && a.Status.Open() && a.Kind != payment.KindRefund {
			return "", inProgress("a %s is under way", a.Kind)
		}
	}
	acct, err := e.accountOf(charge)
	if err != nil {
		return "", err
	}
	if !acct.Connector.Spec().Takes(payment.KindVoid) {
		return "", payment.Errorf(payment.CodeNotSupported, "%s cannot cancel", acct.Connector.Spec().Name)
	}
	p.Error = nil
	return e.beginVoid(tx, p, charge, payment.PurposeCancel, payment.OriginMerchant, j.seed())
}

// hurry makes the recovery of everything open in p due now: a merchant waits.
// An exchange that is still running is left its time.
func (e *Engine) hurry(tx store.Tx, p *payment.Payment) error {
	for i := range p.Attempts {
		a := &p.Attempts[i]
		if !a.Status.Open() {
			continue
		}
		due := e.now()
		if e.running(a) {
			due = a.Sent.Add(e.exchangeTime(a.Account) + recoverMargin)
		}
		if err := tx.Enqueue(store.Recover, store.Item{ID: a.ID, Payload: ticketFor(p, a).encode(), Due: due}); err != nil {
			return err
		}
	}
	return nil
}

// Refund gives captured money back.
func (e *Engine) Refund(ctx context.Context, c Claim, in Refund) (Answer, error) {
	id := e.cfg.IDs.New(payment.PrefixRefund)
	return e.operate(ctx, c, operation{
		payment: in.Payment, object: id, success: http.StatusCreated, account: refundAccount(in.Amount),
		prepare: func(tx store.Tx, p *payment.Payment, j *job) (string, error) {
			if err := notRestored(tx); err != nil {
				return "", err
			}
			charge, amount, err := refundable(p, in.Amount)
			if err != nil {
				return "", err
			}
			acct, err := e.accountOf(charge)
			if err != nil {
				return "", err
			}
			if spec := acct.Connector.Spec(); amount < charge.Captured && !spec.PartialRefund {
				return "", payment.Errorf(payment.CodeNotSupported, "%s refunds the whole amount only", spec.Name)
			}
			if err := spend(tx, c.Quotas, amount, e.now()); err != nil {
				return "", err
			}
			a, err := e.begin(tx, p, payment.Attempt{
				Kind: payment.KindRefund, Amount: amount, Account: acct.Name, Connector: charge.Connector,
				Origin: payment.OriginMerchant, Charge: charge.ID, Refund: id,
			}, j.seed())
			if err != nil {
				return "", err
			}
			now := e.now()
			p.Refunds = append(p.Refunds, payment.Refund{
				ID: id, Attempt: a.ID, Amount: amount, Status: payment.RefundPending, Outcome: payment.Known,
				Reason: in.Reason, Metadata: in.Metadata, Origin: payment.OriginMerchant, CreatedAt: now, UpdatedAt: now,
			})
			return e.start(p, a, acct)
		},
	})
}

// notRestored refuses where the store may lack what happened since its backup.
func notRestored(r store.Reader) error {
	v, err := r.Setting(SettingRestored)
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && v == "":
		return nil
	case err != nil:
		return err
	default:
		return payment.Errorf(payment.CodeFrozen, "the gateway was restored from a backup and has not been reconciled with the payment providers yet")
	}
}

// refundable finds the charge that a refund is taken from: the payment's own
// first, then any other that holds captured money.
func refundable(p *payment.Payment, amount int64) (*payment.Attempt, int64, error) {
	left := p.AmountCaptured() - p.AmountRefunded()
	free := left - p.AmountReservedForRefund()
	switch {
	case p.AmountCaptured() == 0:
		return nil, 0, payment.Errorf(payment.CodeInvalidState, "the payment is %s and nothing was captured", p.Status)
	case amount > left || left == 0:
		err := payment.Errorf(payment.CodeAmountTooLarge, "%d is over the %d that can be refunded", amount, left)
		err.Param = "amount"
		return nil, 0, err
	case amount > free || free == 0:
		return nil, 0, inProgress("%d wait for another refund", left-free)
	}
	best, most := fullest(p, amount)
	if amount == 0 {
		amount = most
	}
	if amount > most {
		err := payment.Errorf(payment.CodeAmountTooLarge, "no single charge of this payment holds %d; the most is %d", amount, most)
		err.Param = "amount"
		return nil, 0, err
	}
	copied := *best // begin may move the attempts in memory
	return &copied, amount, nil
}

// fullest returns the payment's own charge where that holds amount (anything at
// all for 0), and otherwise the charge that holds the most.
func fullest(p *payment.Payment, amount int64) (best *payment.Attempt, most int64) {
	for i := range p.Attempts {
		c := &p.Attempts[i]
		if c.Kind != payment.KindAuthorize || c.Captured == 0 {
			continue
		}
		rest := chargeRest(p, c)
		if c.ID == p.Charge && rest >= max(amount, 1) {
			return c, rest
		}
		if best == nil || rest > most {
			best, most = c, rest
		}
	}
	return best, most
}

// chargeRest is what a charge still holds of captured money, reservations
// taken off.
func chargeRest(p *payment.Payment, c *payment.Attempt) int64 {
	rest := c.Captured
	for i := range p.Refunds {
		r := &p.Refunds[i]
		if a := p.Attempt(r.Attempt); r.Status != payment.RefundFailed && a != nil && a.Charge == c.ID {
			rest -= r.Amount
		}
	}
	return rest
}
