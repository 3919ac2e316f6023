package engine

import (
	"errors"
	"log/slog"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// errLater puts an event back into the queue: what it is about still moves.
var errLater = errors.New("the event waits for what is under way")

// reaction is what an event of a PSP that cannot be asked comes to.
type reaction uint8

const (
	ignore   reaction = iota // it says nothing new
	accept                   // it is written into the payment
	later                    // something under way decides first
	conflict                 // it contradicts what was settled: an operator must look
)

// hear lets an event of a PSP that has no query act on its payment. A verified
// webhook is the last word there is: what asks elsewhere, believes here, where
// the event fits what was asked.
func (e *Engine) hear(tx store.Tx, acct *connector.Account, p *payment.Payment, a *payment.Attempt, ev connector.Event, whole bool) error {
	if !whole {
		if a = subject(p, a, ev); a == nil {
			return nil
		}
	}
	if a.Kind == payment.KindAuthorize && ev.Of == payment.KindVoid { // made outside, or by a void long settled
		if ev.Result.State != connector.Canceled {
			return nil
		}
		ev.Of, ev.PSPReference, ev.Result.PSPReference = payment.KindAuthorize, "", ""
	}
	switch e.react(acct, p, a, ev) {
	case accept:
		return e.believe(tx, acct, p, a, ev)
	case later:
		return errLater
	case conflict:
		return e.contradict(tx, p, a, ev)
	case ignore:
	}
	return nil
}

// subject finds what an event is about that names a payment, and not one of our
// attempts: some PSPs name a modification by the payment's reference. It is the
// attempt that has, or has not yet got, the PSP's name of the modification, and
// the charge where that was made outside the gateway.
func subject(p *payment.Payment, a *payment.Attempt, ev connector.Event) *payment.Attempt {
	charge := a
	if a.Kind != payment.KindAuthorize {
		charge = p.Attempt(a.Charge)
	}
	if charge == nil || ev.Of == payment.KindAuthorize {
		return charge
	}
	var waiting *payment.Attempt
	for i := range p.Attempts {
		m := &p.Attempts[i]
		if m.Kind != ev.Of || m.Charge != charge.ID {
			continue
		}
		fits := ev.Of == payment.KindVoid || ev.Result.Amount == p.Amount.With(m.Amount)
		switch {
		case ev.PSPReference != "" && m.PSPReference == ev.PSPReference:
			return m
		case waiting == nil && fits && m.Status.Open() && (m.PSPReference == "" || ev.Of == payment.KindVoid):
			waiting = m
		}
	}
	if waiting != nil {
		return waiting
	}
	return charge
}

// react decides what an event comes to.
func (e *Engine) react(acct *connector.Account, p *payment.Payment, a *payment.Attempt, ev connector.Event) reaction {
	r := ev.Result
	switch {
	case a.Kind != ev.Of:
		return foreign(p, a, ev)
	case a.Kind == payment.KindAuthorize && ev.PSPReference != "" && a.PSPReference != "" && ev.PSPReference != a.PSPReference:
		if r.State == connector.Succeeded {
			return conflict // a second authorization under one reference
		}
		return ignore
	case !a.Status.Open():
		return afterwards(p, a, r)
	case r.State == connector.NotFound && a.Kind == payment.KindVoid:
		if charge := p.Attempt(a.Charge); charge != nil && e.now().Sub(lastSent(charge)) >= acct.NotFound() {
			return accept
		}
		return later // it may only not have arrived yet
	case r.State == connector.Succeeded && r.Amount != p.Amount.With(a.Amount):
		return conflict
	case r.State == connector.Succeeded:
		n := e.news(byWebhook, p, a, acct, connector.Exchange{})
		if a.Kind == payment.KindAuthorize && n.reversible && voidOpen(p, a.ID) {
			return later // the void decides, and this tells what is left if it fails
		}
		return accept
	case e.running(a):
		return later // the answer to the call under way tells more
	case r.State == connector.Declined, r.State == connector.Canceled:
		return accept
	}
	return ignore
}

// afterwards is [Engine.react] for an attempt that has ended.
func afterwards(p *payment.Payment, a *payment.Attempt, r connector.Result) reaction {
	done := a.Status == payment.AttemptSucceeded
	switch {
	case r.State == connector.Declined && done && a.Kind == payment.KindRefund:
		return accept // a refund may fail late
	case r.State == connector.Declined && done && a.Kind == payment.KindCapture && a.Error == nil:
		return conflict
	case r.State == connector.Canceled && done && a.Kind == payment.KindAuthorize && !a.Released && a.Captured == 0:
		return accept
	case r.State == connector.Canceled && done && a.Kind == payment.KindAuthorize && p.CaptureMethod == payment.CaptureAutomatic && a.Error == nil:
		return conflict // we said that it was captured
	case r.State == connector.Canceled && a.Kind == payment.KindVoid && a.Status == payment.AttemptFailed:
		return accept
	case r.State == connector.Succeeded && a.Status == payment.AttemptFailed && a.Kind == payment.KindAuthorize:
		return accept // money that our status denies: learn calls it a conflict
	case r.State == connector.Succeeded && a.Status == payment.AttemptFailed && (a.Error == nil || a.Error.PSPCode == ""):
		return conflict // the gateway, or an operator, gave it up
	}
	return ignore
}

// foreign decides on an operation that the gateway did not make: a is the charge.
func foreign(p *payment.Payment, a *payment.Attempt, ev connector.Event) reaction {
	automatic := p.CaptureMethod == payment.CaptureAutomatic
	switch done := ev.Result.State == connector.Succeeded; {
	case ev.Of == payment.KindCapture && automatic && !done && a.Captured > 0 && a.Error == nil:
		return conflict // the PSP's own capture of what we call captured
	case ev.Of == payment.KindCapture && !automatic && done, ev.Of == payment.KindRefund && done:
		return conflict
	}
	return ignore
}

// contradict records that the PSP's word and ours differ; once, for webhooks are
// repeated.
func (e *Engine) contradict(tx store.Tx, p *payment.Payment, a *payment.Attempt, ev connector.Event) error {
	if p.Outcome == payment.Conflicted {
		return nil
	}
	m := mark(p)
	p.Outcome = payment.Conflicted
	if f := ev.Result.Failure; f != nil {
		p.Error = f
		if a.Status == payment.AttemptSucceeded {
			a.Error = f // and so it is not told again once an operator has looked
		}
	}
	e.cfg.Log.Error("webhook contradicts the payment", slog.String("payment", p.ID), slog.String("attempt", a.ID),
		slog.String("account", a.Account), slog.String("of", string(ev.Of)), slog.String("state", string(ev.Result.State)))
	_, err := e.save(tx, m, p, "")
	return err
}

// concluded ends a payment of which a webhook has told that its charge failed.
func concluded(p *payment.Payment, a *payment.Attempt, v verdict) error {
	if v.conclude == nil || a.Kind == payment.KindAuthorize && p.Charge != a.ID ||
		p.Status != payment.Processing && p.Status != payment.RequiresAction {
		return nil
	}
	p.Error = v.conclude
	return move(p, payment.Failed, byWebhook)
}
