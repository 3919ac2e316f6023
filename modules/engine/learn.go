package engine

import (
	"fmt"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// news is what was learned of one attempt, from whatever source.
type news struct {
	by       cause // byAnswer, byQuery, byWebhook, byResolve
	exchange connector.Exchange
	// notFoundAfter is how long the account's "not found" is not believed.
	notFoundAfter time.Duration
	// reversible tells that the PSP undoes even what was paid: a void that is
	// under way then decides, whatever the charge looks like in the meantime.
	reversible bool
	now        time.Time
	// asOf is when the PSP was asked, at the earliest: what it did not know then it may
	// know at now.
	asOf time.Time
}

// verdict is what must be done after the news has been written into the payment.
type verdict struct {
	// stepDone: the attempt goes on with its next step.
	stepDone bool
	// elsewhere: this attempt is certainly not done, and another account may
	// be tried.
	elsewhere bool
	// closeFirst: the PSP's object of this attempt could still be paid; it must
	// be closed before another account is tried.
	closeFirst bool
	// closeLast: the payer could pay it by himself; it must be closed before the
	// payment ends, too.
	closeLast bool
	// voidHold: the merchant wants the payment canceled, and it now holds money.
	voidHold bool
	// conclude holds the failure that ends the payment where nobody else is
	// tried; nil while the payment does not hang on this attempt.
	conclude *payment.Failure
}

// learn writes what was learned of attempt a into p. The answer to a call, the
// answer to a query, a webhook and an operator's word all end here: it is the
// one function that moves a payment on account of a PSP.
//
// An attempt that somebody else has settled in the meantime is left as it is;
// totals of money are still believed, for they only grow.
func learn(p *payment.Payment, a *payment.Attempt, n news) (verdict, error) {
	a.PSP += n.exchange.Took
	switch n.exchange.Outcome {
	case connector.Unknown:
		if n.by != byQuery { // a question without an answer takes no knowledge away
			if n.by == byAnswer && a.Status.Open() {
				a.Resent = n.now // its last send may have left only now
			}
			doubt(p, a)
		}
		return verdict{}, nil
	case connector.NotSent:
		if n.by == byQuery {
			return verdict{}, nil
		}
		if a.Doubt {
			doubt(p, a)
			return verdict{}, nil
		}
		return turnedAway(p, a, payment.Fail(payment.PSPUnavailable), n)
	case connector.Answered:
	}
	r := n.exchange.Result
	// A query is about the charge, and so names no capture, void or refund. What it
	// names is kept in the transaction that believes the rest: a payment whose
	// charge nobody can find again has not succeeded.
	if r.PSPReference != "" && a.PSPReference == "" && (n.by != byQuery || a.Kind == payment.KindAuthorize) {
		a.PSPReference = r.PSPReference
	}
	switch a.Kind {
	case payment.KindAuthorize:
		return learnCharge(p, a, r, n)
	case payment.KindCapture:
		return verdict{}, learnCapture(p, a, r, n)
	case payment.KindVoid:
		if v, err := learnVoid(p, a, r, n); err != nil || v.voidHold {
			return v, err
		}
		return closed(p, a), nil
	case payment.KindRefund:
		return verdict{}, learnRefund(p, a, r, n)
	default:
		return verdict{}, fmt.Errorf("attempt %s is a %s", a.ID, a.Kind)
	}
}

// closed tells what a closing that has ended leaves to do: the declined payment
// goes on to another account, or ends.
func closed(p *payment.Payment, void *payment.Attempt) verdict {
	charge := p.Attempt(void.Charge)
	if void.Purpose != payment.PurposeClose || void.Status.Open() || charge == nil ||
		charge.Error == nil || p.Status != payment.Processing || p.Charge != charge.ID {
		return verdict{}
	}
	elsewhere := void.Status == payment.AttemptSucceeded && charge.Error.Code.Info().Elsewhere
	return verdict{elsewhere: elsewhere, conclude: charge.Error}
}

// doubt records that a send was never answered.
func doubt(p *payment.Payment, a *payment.Attempt) {
	if !a.Status.Open() {
		return
	}
	a.Doubt, a.Outcome = true, payment.Unknown
	if a.Kind == payment.KindRefund {
		if r := p.Refund(a.Refund); r != nil {
			r.Outcome = payment.Unknown
		}
	}
	weigh(p)
}

// weigh derives the payment's outcome: conflicted stays until an operator looks.
func weigh(p *payment.Payment) {
	if p.Outcome == payment.Conflicted {
		return
	}
	p.Outcome = payment.Known
	for i := range p.Attempts {
		if a := &p.Attempts[i]; a.Status.Open() && a.Outcome == payment.Unknown {
			p.Outcome = payment.Unknown
		}
	}
}

// move takes p to a status by the table.
func move(p *payment.Payment, to payment.Status, by cause) error {
	s, err := next(p.Status, to, by)
	if err != nil {
		return err
	}
	p.Status = s
	if s != payment.RequiresAction && s != payment.Processing {
		p.NextAction = nil
	}
	return nil
}

// end settles an attempt.
func end(a *payment.Attempt, s payment.AttemptStatus, f *payment.Failure, now time.Time) {
	a.Status, a.Error, a.Outcome, a.Doubt = s, f, payment.Known, false
	a.EndedAt = now
}

// taken notes that the PSP has the request and will say more later, unless it
// wants to be told again.
func taken(a *payment.Attempt, r connector.Result) {
	a.Doubt, a.Outcome, a.Answered = false, payment.Known, !r.Again
}

// refused settles an attempt that is certainly not done.
func refused(p *payment.Payment, a *payment.Attempt, f *payment.Failure, n news) (verdict, error) {
	if !a.Status.Open() {
		return verdict{}, nil
	}
	if f == nil {
		f = payment.Fail(payment.ProcessingError)
	}
	end(a, payment.AttemptFailed, f, n.now)
	defer weigh(p)
	switch a.Kind {
	case payment.KindAuthorize:
		return verdict{elsewhere: f.Code.Info().Elsewhere, conclude: f}, nil
	case payment.KindRefund:
		if r := p.Refund(a.Refund); r != nil {
			r.Status, r.Outcome, r.Error, r.UpdatedAt = payment.RefundFailed, payment.Known, f, n.now
		}
	case payment.KindVoid:
		// A closing is our own affair, and what has ended is not undone by a void that
		// came too late.
		if a.Purpose != payment.PurposeClose && !p.Status.Terminal() {
			p.Error = f
		}
	case payment.KindCapture, payment.KindSync:
		p.Error = f
	}
	return verdict{}, nil
}

// learnCharge applies the PSP's word on an authorize attempt.
func learnCharge(p *payment.Payment, a *payment.Attempt, r connector.Result, n news) (verdict, error) {
	if r.Card != nil && p.Method != nil {
		fillCard(p.Method, r.Card)
	}
	if r.NetworkTransactionID != "" {
		done(a, payment.NetworkTransaction, r.NetworkTransactionID)
	}
	switch r.State {
	case connector.StepDone:
		return verdict{stepDone: a.Status.Open()}, nil
	case connector.Succeeded:
		return learnMoney(p, a, r, n)
	case connector.Pending, connector.ActionRequired:
		return verdict{}, learnWaiting(p, a, r, n)
	case connector.Declined:
		if !a.Status.Open() {
			return verdict{}, nil
		}
		v, err := refused(p, a, r.Failure, n)
		v.closeFirst, v.closeLast = r.Payable, r.Unattended
		return v, err
	case connector.Rejected:
		return rejected(p, a, r, n)
	case connector.NotFound:
		return learnAbsence(p, a, n)
	case connector.Canceled:
		return verdict{}, learnRelease(p, a, n)
	}
	return verdict{}, fmt.Errorf("a PSP's answer has the state %q", r.State)
}

// learnMoney applies proof of an authorization, of a capture, or of both.
func learnMoney(p *payment.Payment, a *payment.Attempt, r connector.Result, n news) (verdict, error) {
	was := a.Captured
	open := a.Status.Open()
	if n.reversible && undecided(p, a) && voidOpen(p, a.ID) {
		return verdict{}, nil
	}
	totals(p, a, chargeView(p, a, r), n)
	if open {
		if p.CaptureMethod == payment.CaptureAutomatic && a.Captured == 0 {
			return verdict{}, learnWaiting(p, a, connector.Result{State: connector.Pending}, n)
		}
		end(a, payment.AttemptSucceeded, nil, n.now)
	}
	if !r.CaptureBefore.IsZero() {
		p.CaptureBefore = r.CaptureBefore
	}
	defer weigh(p)
	stranger := p.Charge != a.ID || p.Status == payment.Failed || p.Status == payment.Canceled || p.Status == payment.Expired
	if stranger {
		// Money that our status denies. It is booked (totals has done so) and
		// refundable; an operator must look.
		denied := a.Status == payment.AttemptFailed || a.Status == payment.AttemptCanceled
		if (a.Captured > was || open || denied) && (a.Captured > a.Refunded || !a.Released) {
			end(a, payment.AttemptSucceeded, nil, n.now)
			p.Outcome = payment.Conflicted
		}
		return verdict{}, nil
	}
	closing := a.Status == payment.AttemptFailed
	if closing { // and paid meanwhile
		end(a, payment.AttemptSucceeded, nil, n.now)
	}
	if open || closing || a.Captured > was { // else it is no news, and what a capture failed of still stands
		p.Error = nil
	}
	return follow(p, a, n.by)
}

// undecided tells whether a charge waits for its end: its own, or that of the closing
// of what was declined.
func undecided(p *payment.Payment, charge *payment.Attempt) bool {
	return charge.Status.Open() || charge.Status == payment.AttemptFailed && p.Status == payment.Processing && p.Charge == charge.ID
}

// chargeView is the PSP's view of the charge; where it gives no totals, what a
// plain success means.
func chargeView(p *payment.Payment, a *payment.Attempt, r connector.Result) connector.Charge {
	if r.Charge != nil {
		return *r.Charge
	}
	c := connector.Charge{Amount: p.Amount.With(a.Amount), Authorized: a.Amount, Captured: a.Captured}
	if p.CaptureMethod == payment.CaptureAutomatic {
		c.Captured, c.Released = a.Amount, true
	}
	return c
}

// follow moves the payment to where its charge stands.
func follow(p *payment.Payment, a *payment.Attempt, by cause) (verdict, error) {
	switch {
	case p.Status == payment.Succeeded:
		return verdict{}, nil
	case a.Captured > 0 && (a.Released || a.Captured >= a.Authorized):
		a.Released = true
		return verdict{}, move(p, payment.Succeeded, by)
	case a.Released:
		return verdict{}, move(p, payment.Canceled, by)
	}
	v := verdict{voidHold: !p.CancelRequestedAt.IsZero() && p.Status != payment.RequiresCapture}
	return v, move(p, payment.RequiresCapture, by)
}

// totals believes the PSP's sums where they say more than ours, and adopts what
// was done outside the gateway. Sums of captures never fall.
func totals(p *payment.Payment, a *payment.Attempt, c connector.Charge, n news) {
	a.Authorized = max(a.Authorized, min(c.Authorized, a.Amount))
	a.Released = a.Released || c.Released
	a.MultiCapture = a.MultiCapture || c.MultiCapture
	if delta := c.Captured - a.Captured; delta > 0 {
		// Captures that were settled by a sum too early, in the name of others, are in it now.
		delta -= min(delta, max(proven(p, a)-a.Captured, 0))
		a.Captured = c.Captured
		a.Authorized = max(a.Authorized, a.Captured)
		if rest := settleCaptures(p, a, delta, n.now); rest > 0 && p.CaptureMethod == payment.CaptureManual {
			adopt(p, a, payment.KindCapture, rest, n.now)
		}
	}
	a.Refunded = max(a.Refunded, c.Refunded)
	if extra := c.Refunded - knownRefunds(p, a); extra > 0 {
		r := adopt(p, a, payment.KindRefund, extra, n.now)
		refund := payment.Refund{
			ID: "re" + r.ID[len(payment.PrefixAttempt):], Attempt: r.ID, Amount: extra,
			Status: payment.RefundSucceeded, Outcome: payment.Known, Origin: payment.OriginExternal,
			CreatedAt: n.now, UpdatedAt: n.now,
		}
		r.Refund = refund.ID
		p.Refunds = append(p.Refunds, refund)
	}
}

// settleCaptures gives newly proven money to the captures that wait for it,
// oldest first, and returns what nobody asked for.
func settleCaptures(p *payment.Payment, charge *payment.Attempt, delta int64, now time.Time) int64 {
	for i := range p.Attempts { // the one that explains all of it comes first
		c := &p.Attempts[i]
		if c.Kind == payment.KindCapture && c.Charge == charge.ID && c.Status.Open() && c.Amount == delta {
			end(c, payment.AttemptSucceeded, nil, now)
			charge.Released = charge.Released || c.Final
			return 0
		}
	}
	for i := range p.Attempts {
		c := &p.Attempts[i]
		if c.Kind == payment.KindCapture && c.Charge == charge.ID && c.Status.Open() && c.Amount <= delta {
			end(c, payment.AttemptSucceeded, nil, now)
			charge.Released = charge.Released || c.Final
			delta -= c.Amount
		}
	}
	return delta
}

// proven sums up the captures of a charge that have succeeded.
func proven(p *payment.Payment, charge *payment.Attempt) (sum int64) {
	for i := range p.Attempts {
		if c := &p.Attempts[i]; c.Kind == payment.KindCapture && c.Charge == charge.ID && c.Status == payment.AttemptSucceeded {
			sum += c.Amount
		}
	}
	return sum
}

// knownRefunds is every refund of a charge that we ever asked for: one that
// failed may stay in the PSP's sum for a while.
func knownRefunds(p *payment.Payment, charge *payment.Attempt) (sum int64) {
	for i := range p.Refunds {
		r := &p.Refunds[i]
		if a := p.Attempt(r.Attempt); a != nil && a.Charge == charge.ID {
			sum += r.Amount
		}
	}
	return sum
}

// adopt records an operation that was made at the PSP, outside the gateway. Its
// ID derives from the charge's, so that adopting is the same wherever it runs.
func adopt(p *payment.Payment, charge *payment.Attempt, k payment.Kind, amount int64, now time.Time) *payment.Attempt {
	n := len(p.Attempts)
	id := sibling(charge.ID, n)
	for p.Attempt(id) != nil { // the charge's own ID may end just so
		n++
		id = sibling(charge.ID, n)
	}
	p.Attempts = append(p.Attempts, payment.Attempt{
		ID: id, Kind: k, Amount: amount, Account: charge.Account, Connector: charge.Connector,
		Status: payment.AttemptSucceeded, Outcome: payment.Known, Origin: payment.OriginExternal,
		Charge: charge.ID, StartedAt: now, EndedAt: now,
	})
	return &p.Attempts[len(p.Attempts)-1]
}

// sibling makes an ID of the same form as id for the n-th attempt of a payment:
// the last two characters count. A payment has at most [payment.MaxAttempts].
func sibling(id string, n int) string {
	const digits = "0123456789abcdefghjkmnpqrstvwxyz"
	return id[:len(id)-2] + string(digits[n/len(digits)%len(digits)]) + string(digits[n%len(digits)])
}

// learnWaiting applies "not finished": the payer, or the PSP, must do something.
func learnWaiting(p *payment.Payment, a *payment.Attempt, r connector.Result, n news) error {
	if !a.Status.Open() {
		return nil
	}
	if r.State == connector.ActionRequired && r.Action == nil && p.NextAction == nil {
		return nil // what the payer must do was lost with the answer: a repeat brings it
	}
	taken(a, r)
	defer weigh(p)
	if p.Charge != a.ID || p.Status.Terminal() || p.Status == payment.RequiresCapture {
		return nil
	}
	if r.Action != nil {
		action := *r.Action
		action.ExpiresAt = action.ExpiresAt.UTC().Truncate(time.Millisecond)
		p.NextAction = &action
	}
	if r.State == connector.ActionRequired && p.NextAction != nil && p.NextAction.Type != payment.ActionWait {
		a.Status = payment.AttemptRequiresAction
		return move(p, payment.RequiresAction, n.by)
	}
	a.Status = payment.AttemptPending
	p.NextAction = &payment.NextAction{Type: payment.ActionWait, PollAfter: n.now.Add(pollPending).UTC().Truncate(time.Millisecond)}
	return move(p, payment.Processing, n.by)
}

// learnAbsence applies "the PSP knows no such charge".
func learnAbsence(p *payment.Payment, a *payment.Attempt, n news) (verdict, error) {
	switch {
	case !a.Status.Open():
		return verdict{}, nil
	case a.Status == payment.AttemptRequiresAction:
		return verdict{}, nil // the payer has not begun: nothing is there to be found
	case n.asOf.Sub(lastSent(a)) < n.notFoundAfter:
		if a.Doubt {
			doubt(p, a)
		}
		return verdict{}, nil
	}
	a.Doubt = false
	v, err := refused(p, a, payment.Fail(payment.PSPUnavailable), n)
	v.elsewhere = false // so late, nobody waits for another account
	return v, err
}

// learnRelease applies "the charge was released or closed, and can no longer be
// paid".
func learnRelease(p *payment.Payment, a *payment.Attempt, n news) error {
	a.Released = true
	if a.Status.Open() || (a.Status == payment.AttemptSucceeded && a.Captured == 0) {
		end(a, payment.AttemptCanceled, nil, n.now)
	}
	if a.Doubt { // the doubt of a charge that is gone is over
		a.Doubt, a.Outcome = false, payment.Known
	}
	for i := range p.Attempts { // what waited for this charge can no longer happen, or just did
		w := &p.Attempts[i]
		if w.Charge != a.ID || !w.Status.Open() {
			continue
		}
		switch w.Kind {
		case payment.KindVoid:
			end(w, payment.AttemptSucceeded, nil, n.now)
		case payment.KindCapture:
			end(w, payment.AttemptFailed, payment.Fail(payment.ProcessingError), n.now)
			p.Error = w.Error
		case payment.KindAuthorize, payment.KindRefund, payment.KindSync:
		}
	}
	defer weigh(p)
	if p.Charge != a.ID || p.Status.Terminal() {
		return nil
	}
	return released(p, a, n)
}

// released moves a payment whose charge is gone.
func released(p *payment.Payment, a *payment.Attempt, n news) error {
	by := n.by
	if by == byAnswer {
		by = byReversal // the answer to a void
	}
	lapsed := !p.CaptureBefore.IsZero() && !n.now.Before(p.CaptureBefore)
	overdue := p.Status != payment.RequiresCapture && !p.ExpiresAt.IsZero() && !n.now.Before(p.ExpiresAt)
	purpose := lastPurpose(p, a)
	switch {
	case p.AmountCaptured() > 0:
		return move(p, payment.Succeeded, by)
	case purpose == payment.PurposeCancel || !p.CancelRequestedAt.IsZero():
		p.Error = nil
		return move(p, payment.Canceled, by)
	case purpose == payment.PurposeClose && p.Status == payment.Processing:
		return nil // see closed
	case purpose == payment.PurposeExpiry || lapsed || overdue:
		p.Error = payment.Fail(payment.TimeExpired)
		return move(p, payment.Expired, by)
	case purpose == payment.PurposeReverse && p.Status != payment.RequiresCapture: // else it had come to nothing
		f := payment.Fail(payment.ProcessingError)
		a.Error, p.Error = f, f
		return move(p, payment.Failed, by)
	default:
		return move(p, payment.Canceled, by)
	}
}

// lastPurpose is what the last void of a charge was for.
func lastPurpose(p *payment.Payment, charge *payment.Attempt) payment.Purpose {
	for i := len(p.Attempts) - 1; i >= 0; i-- {
		if a := &p.Attempts[i]; a.Kind == payment.KindVoid && a.Charge == charge.ID {
			return a.Purpose
		}
	}
	return ""
}

// learnCapture applies the PSP's word on a capture. The answer to a query is
// about the charge: its sums tell whether this capture is in them.
func learnCapture(p *payment.Payment, a *payment.Attempt, r connector.Result, n news) error {
	charge := p.Attempt(a.Charge)
	if charge == nil {
		return fmt.Errorf("capture %s has no charge", a.ID)
	}
	defer weigh(p)
	switch r.State {
	case connector.Succeeded:
		if n.by != byQuery && a.Status.Open() {
			sum := charge.Captured + a.Amount
			if r.Charge != nil { // a query may have shown it already, under another capture's name
				sum = min(sum, max(charge.Captured, r.Charge.Captured))
			}
			charge.Captured = sum
			charge.Released = charge.Released || a.Final
			end(a, payment.AttemptSucceeded, nil, n.now)
			p.Error = nil
		}
		if r.Charge != nil {
			totals(p, charge, *r.Charge, n)
		}
		if a.Status.Open() && r.Charge != nil && n.asOf.Sub(lastSent(a)) >= n.notFoundAfter {
			a.Doubt = false // the PSP has had the time to show it, and does not
			_, err := refused(p, a, payment.Fail(payment.ProcessingError), n)
			return err
		}
		if p.Charge != charge.ID || p.Status != payment.RequiresCapture {
			return nil
		}
		_, err := follow(p, charge, captureCause(n.by))
		return err
	case connector.Canceled:
		return learnRelease(p, charge, n)
	case connector.Pending, connector.ActionRequired:
		if a.Status.Open() && n.by != byQuery {
			taken(a, r)
		}
		return nil
	case connector.Declined:
		if n.by == byQuery {
			return nil // news of the charge, not of the capture
		}
		_, err := refused(p, a, r.Failure, n)
		return err
	case connector.Rejected:
		_, err := rejected(p, a, r, n)
		return err
	case connector.NotFound, connector.StepDone:
		return nil
	}
	return fmt.Errorf("a PSP's answer has the state %q", r.State)
}

func captureCause(by cause) cause {
	if by == byAnswer {
		return byCapture
	}
	return by
}

// rejected applies "this send was turned away": no verdict on the sends before,
// and nothing at all where it was but a question.
func rejected(p *payment.Payment, a *payment.Attempt, r connector.Result, n news) (verdict, error) {
	switch {
	case n.by == byQuery:
		return verdict{}, nil
	case a.Doubt:
		doubt(p, a)
		return verdict{}, nil
	}
	return turnedAway(p, a, r.Failure, n)
}

// insistFor is how long, at the least, a closing that is turned away is made again, and
// any void that does not help. A PSP that refuses a closing for longer refuses it for
// good; money that still comes is booked, and shown as conflicted.
const insistFor = 15 * time.Minute

// turnedAway settles an attempt that the PSP did not look at, or never got. A
// closing stays open and is made again: its payment is not declined while the
// payer can still pay it.
func turnedAway(p *payment.Payment, a *payment.Attempt, f *payment.Failure, n news) (verdict, error) {
	if a.Purpose == payment.PurposeClose && a.Status.Open() && n.now.Sub(a.StartedAt) < insistFor {
		taken(a, connector.Result{Again: true})
		weigh(p)
		return verdict{}, nil
	}
	return refused(p, a, f, n)
}

// learnVoid applies the PSP's word on a void, a closing or a reversal. The
// answer to a query is about the charge.
func learnVoid(p *payment.Payment, a *payment.Attempt, r connector.Result, n news) (verdict, error) {
	charge := p.Attempt(a.Charge)
	if charge == nil {
		return verdict{}, fmt.Errorf("void %s has no charge", a.ID)
	}
	defer weigh(p)
	switch r.State {
	case connector.Canceled:
		return verdict{}, learnRelease(p, charge, n)
	case connector.Succeeded:
		if n.by != byQuery {
			return verdict{}, learnRelease(p, charge, n)
		}
		if n.reversible && undecided(p, charge) { // it is made again until it is done
			if a.Status.Open() && shown(a, n) {
				a.Answered = false
			}
			return verdict{}, nil
		}
		paid := r.Charge != nil && r.Charge.Captured > 0
		if a.Status.Open() && (paid || shown(a, n)) {
			a.Doubt = false
			if _, err := refused(p, a, payment.Fail(payment.ProcessingError), n); err != nil {
				return verdict{}, err
			}
		}
		return learnMoney(p, charge, r, n)
	case connector.Pending, connector.ActionRequired:
		switch {
		case !a.Status.Open():
		case n.by != byQuery:
			taken(a, r)
		case shown(a, n):
			return undone(p, a, r, n)
		}
		return verdict{}, nil
	case connector.Declined:
		switch {
		case n.by == byQuery && r.Payable:
			if !shown(a, n) {
				return verdict{}, nil // it may still be on its way
			}
			a.Doubt = false
			return turnedAway(p, a, payment.Fail(payment.ProcessingError), n)
		case n.by == byQuery: // the charge itself was declined: nothing is left to void
			return verdict{}, learnRelease(p, charge, n)
		}
		return refused(p, a, r.Failure, n)
	case connector.Rejected:
		return rejected(p, a, r, n)
	case connector.NotFound:
		since := lastSent(a)
		if n.by == byWebhook { // it tells of the charge that was to be undone
			since = lastSent(charge)
		}
		if n.asOf.Sub(since) >= n.notFoundAfter {
			return verdict{}, learnRelease(p, charge, n) // there is nothing that could be paid
		}
		return verdict{}, nil
	case connector.StepDone:
		return verdict{}, nil
	}
	return verdict{}, fmt.Errorf("a PSP's answer has the state %q", r.State)
}

// shown tells whether a void has had the time to show in what the PSP says of the
// charge.
func shown(a *payment.Attempt, n news) bool { return n.asOf.Sub(lastSent(a)) >= n.notFoundAfter }

// undone applies to a void that the charge still stands as before. The void is made
// again, although the PSP has taken it: there may have been nothing to void then. For
// what waits for the payer it has failed once that has not helped for long, as some
// PSPs repeat a 500 for as long as they know the key; another void has another key.
func undone(p *payment.Payment, a *payment.Attempt, r connector.Result, n news) (verdict, error) {
	a.Answered = false
	if r.State != connector.ActionRequired || n.now.Sub(a.StartedAt) < insistFor {
		return verdict{}, nil
	}
	a.Doubt = false
	return refused(p, a, payment.Fail(payment.ProcessingError), n)
}

// learnRefund applies the PSP's word on a refund. A refund that succeeded may
// fail later; nothing else leaves a settled refund.
func learnRefund(p *payment.Payment, a *payment.Attempt, r connector.Result, n news) error {
	refund := p.Refund(a.Refund)
	charge := p.Attempt(a.Charge)
	if refund == nil || charge == nil {
		return fmt.Errorf("refund attempt %s has no refund or no charge", a.ID)
	}
	defer weigh(p)
	switch r.State {
	case connector.Succeeded:
		if a.Status.Open() {
			end(a, payment.AttemptSucceeded, nil, n.now)
			refund.Status, refund.Outcome, refund.Error = payment.RefundSucceeded, payment.Known, nil
			refund.PSPReference, refund.UpdatedAt = a.PSPReference, n.now
			charge.Refunded = max(charge.Refunded, min(charge.Refunded+refund.Amount, charge.Captured))
		}
		return nil
	case connector.Pending, connector.ActionRequired:
		if a.Status.Open() {
			taken(a, r)
			refund.Outcome = payment.Known
			refund.PSPReference = a.PSPReference
		}
		return nil
	case connector.Declined, connector.Canceled:
		if a.Status == payment.AttemptSucceeded && n.by != byAnswer {
			end(a, payment.AttemptFailed, failureOf(r), n.now)
			refund.Status, refund.Error, refund.UpdatedAt = payment.RefundFailed, failureOf(r), n.now
			charge.Refunded = max(charge.Refunded-refund.Amount, 0)
			return nil
		}
		_, err := refused(p, a, failureOf(r), n)
		return err
	case connector.Rejected:
		_, err := rejected(p, a, r, n)
		return err
	case connector.NotFound:
		if a.Status.Open() && n.asOf.Sub(lastSent(a)) >= n.notFoundAfter {
			a.Doubt = false
			_, err := refused(p, a, payment.Fail(payment.PSPUnavailable), n)
			return err
		}
		return nil
	case connector.StepDone:
		return nil
	}
	return fmt.Errorf("a PSP's answer has the state %q", r.State)
}

func failureOf(r connector.Result) *payment.Failure {
	if r.Failure != nil {
		return r.Failure
	}
	return payment.Fail(payment.ProcessingError)
}

// fillCard takes what the PSP tells of the card where we did not know it.
func fillCard(m, card *payment.MethodSummary) {
	for _, f := range []struct{ to, from *string }{{&m.Brand, &card.Brand}, {&m.Last4, &card.Last4}, {&m.BIN6, &card.BIN6}} {
		if *f.to == "" {
			*f.to = *f.from
		}
	}
	if m.ExpMonth == 0 {
		m.ExpMonth, m.ExpYear = card.ExpMonth, card.ExpYear
	}
}

// done notes what a step, or the PSP, yielded.
func done(a *payment.Attempt, name, value string) {
	if a.Done == nil {
		a.Done = map[string]string{}
	}
	a.Done[name] = value
}
