package engine

import (
	"context"
	"log/slog"
	"strings"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// Resolution is what an operator decides where no PSP answers.
type Resolution string

// The resolutions.
const (
	ResolveSucceeded Resolution = "succeeded"
	ResolveFailed    Resolution = "failed"
	ResolveCanceled  Resolution = "canceled"
)

// Resolve settles by hand what is unknown or conflicted: id is a payment's, an
// attempt's or a refund's. Who did it and why goes to the log; the caller keeps
// the audit.
func (e *Engine) Resolve(ctx context.Context, id string, as Resolution, reason, actor string) (payment.Payment, error) {
	if as != ResolveSucceeded && as != ResolveFailed && as != ResolveCanceled {
		return payment.Payment{}, payment.Invalid("as", "%q is not one of succeeded, failed, canceled", as)
	}
	if strings.TrimSpace(reason) == "" {
		return payment.Payment{}, payment.Invalid("reason", "a reason is required")
	}
	var p payment.Payment
	err := e.update(ctx, func(tx store.Tx) (err error) {
		a, err := e.doubtful(tx, id, &p)
		if err != nil {
			return err
		}
		m := mark(&p)
		if a != nil {
			if err := e.decide(tx, &p, a, as); err != nil {
				return err
			}
		} else {
			p.Outcome = payment.Known // a conflict that an operator has looked at
			weigh(&p)
		}
		j := &job{payment: p.ID, by: byResolve}
		if a != nil {
			j.attempt = a.ID
		}
		_, err = e.finish(tx, j, m, &p, "")
		return err
	})
	if err == nil {
		e.cfg.Log.Warn("resolved by hand", slog.String("payment", p.ID), slog.String("id", id), slog.String("as", string(as)),
			slog.String("reason", payment.MaskPANs(reason)), slog.String("actor", actor))
	}
	return p, err
}

// doubtful finds what is to be resolved: an attempt in doubt, or nil where the
// payment as a whole is conflicted.
func (e *Engine) doubtful(tx store.Tx, id string, p *payment.Payment) (*payment.Attempt, error) {
	var err error
	switch {
	case payment.IsID(payment.PrefixRefund, id):
		if *p, err = tx.RefundPayment(id); err != nil {
			return nil, err
		}
		id = p.Refund(id).Attempt
	case payment.IsID(payment.PrefixPayment, id):
		if *p, err = tx.Payment(id); err != nil {
			return nil, err
		}
		id = ""
	default:
		return nil, payment.Errorf(payment.CodeNotFound, "%.40q is no payment's and no refund's id", id)
	}
	for i := range p.Attempts {
		a := &p.Attempts[i]
		if a.Status.Open() && a.Outcome == payment.Unknown && (id == "" || a.ID == id) {
			return a, nil
		}
	}
	if p.Outcome == payment.Conflicted && id == "" {
		return nil, nil
	}
	return nil, payment.Errorf(payment.CodeInvalidState, "nothing of it is unknown")
}

// decide writes an operator's word as if the PSP had given it.
func (e *Engine) decide(tx store.Tx, p *payment.Payment, a *payment.Attempt, as Resolution) error {
	a.Doubt = false
	r := connector.Result{State: connector.Declined, Failure: payment.Fail(payment.ProcessingError)}
	switch {
	case as == ResolveSucceeded:
		r = connector.Result{State: connector.Succeeded}
	case as == ResolveCanceled && a.Kind == payment.KindAuthorize:
		r = connector.Result{State: connector.Canceled}
		if p.CancelRequestedAt.IsZero() {
			p.CancelRequestedAt = e.now()
		}
	}
	v, err := learn(p, a, news{by: byResolve, exchange: connector.Exchange{Outcome: connector.Answered, Result: r}, now: e.now()})
	if err != nil {
		return err
	}
	if v.conclude != nil {
		p.Error = v.conclude
		if err := move(p, payment.Failed, byResolve); err != nil {
			return err
		}
	}
	if v.voidHold {
		_, err = e.beginVoid(tx, p, a, payment.PurposeCancel, payment.OriginGateway, "")
	}
	return err
}
