package engine

import (
	"fmt"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// marks is what of a payment is watched for events: taken before a change, and
// compared after it.
type marks struct {
	status   payment.Status
	outcome  payment.Outcome
	captured int64
	refunds  []payment.RefundStatus
	open     []string // attempts
}

func mark(p *payment.Payment) marks {
	m := marks{status: p.Status, outcome: p.Outcome, captured: p.AmountCaptured()}
	for i := range p.Refunds {
		m.refunds = append(m.refunds, p.Refunds[i].Status)
	}
	for i := range p.Attempts {
		if p.Attempts[i].Status.Open() {
			m.open = append(m.open, p.Attempts[i].ID)
		}
	}
	return m
}

// statusEvents names the event of each status that is told.
var statusEvents = map[payment.Status]payment.EventType{
	payment.Processing:      payment.EventPaymentProcessing,
	payment.RequiresAction:  payment.EventPaymentRequiresAction,
	payment.RequiresCapture: payment.EventPaymentRequiresCapture,
	payment.Succeeded:       payment.EventPaymentSucceeded,
	payment.Failed:          payment.EventPaymentFailed,
	payment.Canceled:        payment.EventPaymentCanceled,
	payment.Expired:         payment.EventPaymentExpired,
}

var refundEvents = map[payment.RefundStatus]payment.EventType{
	payment.RefundPending:   payment.EventRefundPending,
	payment.RefundSucceeded: payment.EventRefundSucceeded,
	payment.RefundFailed:    payment.EventRefundFailed,
}

// happened lists what has happened to p since m, in the order of telling. That a
// payment is processing is told once the call has ended and it still is, not
// while the call runs: over tells that it has. Until then the payment remembers
// that it is untold, so that whoever takes up the call after a crash tells it.
func happened(m marks, p *payment.Payment, over bool) []payment.EventType {
	var types []payment.EventType
	if p.AmountCaptured() > m.captured && p.CaptureMethod == payment.CaptureManual {
		types = append(types, payment.EventPaymentCaptured)
	}
	news := p.Status != m.status || p.Untold
	p.Untold = p.Status == payment.Processing && news && !over
	if t, ok := statusEvents[p.Status]; ok && news && !p.Untold {
		types = append(types, t)
	}
	if p.Outcome == payment.Conflicted && m.outcome != payment.Conflicted {
		types = append(types, payment.EventPaymentConflicted)
	}
	return types
}

// happenedTo is [happened] for refund number i of p.
func happenedTo(m marks, p *payment.Payment, i int, over bool) (payment.EventType, bool) {
	r := &p.Refunds[i]
	news := i >= len(m.refunds) || m.refunds[i] != r.Status || r.Untold
	r.Untold = r.Status == payment.RefundPending && news && !over
	return refundEvents[r.Status], news && !r.Untold
}

// untold tells that the end of a call of attempt a has something to tell of.
func untold(p *payment.Payment, a *payment.Attempt) bool {
	if a.Kind != payment.KindRefund {
		return p.Untold
	}
	r := p.Refund(a.Refund)
	return r != nil && r.Untold
}

// save writes p, with an event for everything that has happened since m. ended
// is the attempt whose call has come to its end, for now at least; "" where none
// has: a call still runs, or the change has nothing to do with one. It returns
// the payment's JSON as the merchant sees it.
func (e *Engine) save(tx store.Tx, m marks, p *payment.Payment, ended string) ([]byte, error) {
	if len(p.Attempts) > payment.MaxAttempts {
		return nil, payment.Errorf(payment.CodeInvalidState, "the payment has had %d operations, which is the limit", payment.MaxAttempts)
	}
	now := e.now()
	p.Version++
	p.UpdatedAt = now
	object, err := p.Object()
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", p.ID, err)
	}
	a := p.Attempt(ended)
	for _, t := range happened(m, p, a != nil && a.Kind != payment.KindRefund) {
		if err := e.tell(tx, p, t, object, now); err != nil {
			return nil, err
		}
	}
	for i := range p.Refunds {
		r := &p.Refunds[i]
		t, ok := happenedTo(m, p, i, a != nil && a.ID == r.Attempt)
		if !ok {
			continue
		}
		body, err := p.RefundObject(r)
		if err != nil {
			return nil, fmt.Errorf("render %s: %w", r.ID, err)
		}
		if err := e.tell(tx, p, t, body, now); err != nil {
			return nil, err
		}
	}
	if err := tx.PutPayment(p); err != nil {
		return nil, fmt.Errorf("put %s: %w", p.ID, err)
	}
	return object, nil
}

func (e *Engine) tell(tx store.Tx, p *payment.Payment, t payment.EventType, object []byte, now time.Time) error {
	p.Sequence++
	err := tx.PutEvent(payment.Event{
		ID: e.cfg.IDs.New(payment.PrefixEvent), Type: t, Merchant: p.Merchant, Mode: p.Mode,
		Payment: p.ID, Sequence: p.Sequence, CreatedAt: now, Object: object,
	})
	if err != nil {
		return fmt.Errorf("put event %s of %s: %w", t, p.ID, err)
	}
	return nil
}
