package api

import (
	"context"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
)

func (a *API) createPayment(rq *request) (response, error) {
	return keyed(a, rq, false, (*checker).create, a.cfg.Engine.Create)
}

func (a *API) confirmPayment(rq *request) (response, error) {
	return keyed(a, rq, true, (*checker).confirm, onPayment(rq, a.cfg.Engine.Confirm))
}

func (a *API) capturePayment(rq *request) (response, error) {
	return keyed(a, rq, true, (*checker).capture, onPayment(rq, a.cfg.Engine.Capture))
}

func (a *API) cancelPayment(rq *request) (response, error) {
	return keyed(a, rq, true, (*checker).cancel, onPayment(rq, a.cfg.Engine.Cancel))
}

func (a *API) createRefund(rq *request) (response, error) {
	return keyed(a, rq, false, (*checker).refund, a.cfg.Engine.Refund)
}

// onPayment fills in the payment's ID.
func onPayment[In any](
	rq *request, call func(context.Context, engine.Claim, string, In) (engine.Answer, error),
) func(context.Context, engine.Claim, In) (engine.Answer, error) {
	return func(ctx context.Context, c engine.Claim, in In) (engine.Answer, error) {
		return call(ctx, c, rq.id, in)
	}
}

func (a *API) getPayment(rq *request) (response, error) {
	q, err := rq.query("sync")
	if err != nil {
		return response{}, err
	}
	sync := q["sync"] == "true"
	if v, given := q["sync"]; given && !sync && v != "false" {
		return response{}, payment.Invalid("sync", "The parameter is true or false.")
	}
	before := a.cfg.Now()
	p, err := a.cfg.Engine.Payment(rq.http.Context(), rq.scope(), rq.id, sync)
	if err != nil {
		return response{}, err
	}
	res, err := object(&p)
	if sync { // the engine does not tell how much of this the PSP took; nearly all
		res.psp = a.cfg.Now().Sub(before)
	}
	return res, err
}

func (a *API) patchPayment(rq *request) (response, error) {
	if _, err := rq.query(); err != nil {
		return response{}, err
	}
	var body patchBody
	if _, err := rq.decode(&body, false); err != nil {
		return response{}, err
	}
	c := rq.checker()
	in := c.patch(&body)
	if c.err != nil {
		return response{}, c.err
	}
	p, err := a.cfg.Engine.Patch(rq.http.Context(), rq.scope(), rq.id, in)
	if err != nil {
		return response{}, err
	}
	return object(&p)
}

func (a *API) getRefund(rq *request) (response, error) {
	if _, err := rq.query(); err != nil {
		return response{}, err
	}
	p, err := a.cfg.Engine.RefundOf(rq.http.Context(), rq.scope(), rq.id)
	if err != nil {
		return response{}, err
	}
	r := p.Refund(rq.id)
	if r == nil {
		return response{}, payment.Errorf(payment.CodeNotFound, notFoundDetail)
	}
	body, err := p.RefundObject(r)
	return response{status: 200, body: body}, err
}

func object(p *payment.Payment) (response, error) {
	body, err := p.Object()
	return response{status: 200, body: body}, err
}
