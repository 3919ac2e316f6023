package engine

import (
	"errors"
	"fmt"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// operation rebuilds what attempt a asks of its PSP. What of the method was
// never stored comes from transient, and is absent where that is nil.
func (e *Engine) operation(p *payment.Payment, a *payment.Attempt, transient *payment.Method) (payment.Operation, error) {
	if a.Kind == payment.KindAuthorize {
		return e.authorize(p, a, transient), nil
	}
	charge := p.Attempt(a.Charge)
	if charge == nil {
		return nil, fmt.Errorf("attempt %s has no charge", a.ID)
	}
	ref := chargeRef(p, charge)
	amount := p.Amount.With(a.Amount)
	switch a.Kind {
	case payment.KindCapture:
		return payment.Capture{Charge: ref, Amount: amount, Final: a.Final}, nil
	case payment.KindVoid:
		return payment.Void{Charge: ref, Reason: string(a.Purpose)}, nil
	case payment.KindRefund:
		op := payment.GiveBack{Charge: ref, Amount: amount}
		if r := p.Refund(a.Refund); r != nil {
			op.Reason = r.Reason
		}
		return op, nil
	case payment.KindAuthorize, payment.KindSync:
	}
	return nil, fmt.Errorf("attempt %s is a %q", a.ID, a.Kind)
}

func (e *Engine) authorize(p *payment.Payment, a *payment.Attempt, transient *payment.Method) payment.Authorize {
	op := payment.Authorize{
		Amount: p.Amount.With(a.Amount), Capture: p.CaptureMethod == payment.CaptureAutomatic,
		Method: p.Method.Stored(), Payment: p.ID, Reference: p.Reference, Description: p.Description,
		StatementDescriptor: p.StatementDescriptor, Customer: p.Customer, Billing: p.Billing, Shipping: p.Shipping,
		Browser: p.Browser, Channel: p.Channel, OffSession: p.OffSession, SetupFutureUsage: p.SetupFutureUsage,
		Metadata: p.Metadata, ExpiresAt: p.ExpiresAt, CreatedAt: a.StartedAt,
	}
	if transient != nil {
		op.Method = *transient
	}
	if a.PublicURL != "" {
		op.NotifyURL = a.PublicURL + "/webhooks/" + a.Account
		// The merchant need not have a place for the payer: the gateway has.
		op.ReturnURL = a.PublicURL + "/return/" + e.returnToken(p.ID, a.ID)
	}
	return op
}

func chargeRef(p *payment.Payment, c *payment.Attempt) payment.ChargeRef {
	ref := payment.ChargeRef{
		Reference: c.Reference, PSPReference: c.PSPReference, Amount: p.Amount.With(c.Amount),
		Authorized: c.Authorized, Captured: c.Captured, Refunded: c.Refunded, CreatedAt: c.StartedAt,
	}
	if p.Method != nil {
		ref.Method, ref.Flow = p.Method.Type, p.Method.Flow
	}
	return ref
}

// call makes the call for the present step of attempt a.
func (e *Engine) call(a *payment.Attempt, op payment.Operation, acct *connector.Account) connector.Call {
	c := connector.Call{
		Op: op, Step: a.Step, Done: a.Done, Reference: a.Reference,
		Key: e.stepKey(a, a.Step), BaseURL: acct.Base(), Livemode: acct.Mode.Live(),
		Now: e.now(), Nonce: e.nonce(a, a.Step),
	}
	if a.Doubt {
		c.Sent = a.Sent
	}
	return c
}

// question makes the call that asks what became of attempt a.
func (e *Engine) question(p *payment.Payment, a *payment.Attempt, acct *connector.Account) connector.Call {
	charge := a
	if a.Kind != payment.KindAuthorize {
		charge = p.Attempt(a.Charge)
	}
	op := payment.Sync{
		Of: a.Kind, Reference: a.Reference, PSPReference: a.PSPReference, Amount: p.Amount.With(a.Amount),
	}
	if charge != nil {
		op.Charge = chargeRef(p, charge)
	}
	return connector.Call{
		Op: op, Done: a.Done, Reference: a.Reference, BaseURL: acct.Base(), Livemode: acct.Mode.Live(),
		Now: e.now(), Nonce: e.nonce(a, "sync"),
	}
}

// askable tells whether the PSP can be asked about attempt a at all.
func askable(a *payment.Attempt, p *payment.Payment, acct *connector.Account) bool {
	charge := p.Attempt(a.Charge)
	if a.Kind == payment.KindAuthorize {
		charge = a
	}
	switch acct.Connector.Spec().Query {
	case connector.QueryExact:
		return true
	case connector.QueryPSPReference:
		if charge != nil && charge.PSPReference != "" {
			return true
		}
	case connector.QueryNone:
	}
	asker, ok := acct.Connector.(connector.Asker)
	return ok && a.Status.Open() && asker.CanAsk(connector.Call{Op: payment.Sync{Of: a.Kind}, Done: a.Done})
}

// stepOf finds the present step of an attempt in the connector's list.
func stepOf(acct *connector.Account, op payment.Operation, name string) (step connector.Step, following string, ok bool) {
	steps := connector.StepsOf(acct.Connector, op)
	for i, s := range steps {
		if s.Name == name {
			if i+1 < len(steps) {
				following = steps[i+1].Name
			}
			return s, following, true
		}
	}
	return connector.Step{}, "", false
}

// check refuses, before anything is written, what the PSP cannot express.
func check(acct *connector.Account, op payment.Operation) error {
	c, ok := acct.Connector.(connector.Checker)
	if !ok {
		return nil
	}
	err := c.Check(op)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, connector.ErrNotRepresentable):
		return &payment.Error{
			Code: payment.CodeNotRepresentable, Param: "amount", Err: err,
			Detail: fmt.Sprintf("%s cannot express this amount", acct.Connector.Spec().Name),
		}
	}
	refusal := &payment.Error{
		Code: payment.CodeNotSupported, Err: err,
		Detail: fmt.Sprintf("%s does not support this %s", acct.Connector.Spec().Name, op.Kind()),
	}
	if no, ok := errors.AsType[*connector.UnsupportedError](err); ok {
		refusal.Param, refusal.Detail = no.Param, refusal.Detail+": "+no.Why
	}
	return refusal
}
