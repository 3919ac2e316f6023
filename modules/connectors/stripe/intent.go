package stripe

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// Statuses of a PaymentIntent; the whole list of the API version in use.
const (
	statusNeedsMethod  = "requires_payment_method"
	statusNeedsConfirm = "requires_confirmation"
	statusNeedsAction  = "requires_action"
	statusProcessing   = "processing"
	statusNeedsCapture = "requires_capture"
	statusSucceeded    = "succeeded"
	statusCanceled     = "canceled"
)

// Bounds of what an answer may hold.
const (
	maxURL       = 4096 // characters of a redirect
	maxNetworkID = 64   // characters of a network transaction ID; the networks use 15
	maxBrand     = 32
)

// readIntent turns a PaymentIntent into a result for the charge. plain allows a
// redirect to an http address.
func readIntent(pi *intent, plain bool) (connector.Result, error) {
	if err := object(pi.ID, pi.Object, "payment_intent"); err != nil {
		return connector.Result{}, err
	}
	ch, err := pi.totals()
	if err != nil {
		return connector.Result{}, err
	}
	r := connector.Result{PSPReference: pi.ID, Amount: ch.Amount, Charge: &ch}
	pi.LatestCharge.describe(&r)
	if pi.Status != statusNeedsCapture {
		r.CaptureBefore = time.Time{} // nothing is held
	}
	switch pi.Status {
	case statusSucceeded, statusNeedsCapture:
		r.State = connector.Succeeded
	case statusProcessing:
		r.State = connector.Pending
	case statusCanceled:
		r.State = connector.Canceled
	case statusNeedsAction:
		pi.action(&r, plain)
	case statusNeedsMethod, statusNeedsConfirm:
		// Nobody but us confirms, so this attempt is over; the object stays
		// open for another one until it is canceled.
		r.State, r.Payable = connector.Declined, true
		if pi.LastPaymentError != nil {
			r.Failure = pi.LastPaymentError.failure(payment.CardDeclined)
		} else {
			r.Failure = payment.FailPSP(payment.ProcessingError, pi.Status, "")
		}
	default:
		return connector.Result{}, fmt.Errorf("status %.32q is unknown", pi.Status)
	}
	return r, nil
}

// action fills in what the payer must do. Anything but a redirect needs
// Stripe's own library in the payer's browser, which is not there.
func (pi *intent) action(r *connector.Result, plain bool) {
	if n := pi.NextAction; n != nil && n.Type == "redirect_to_url" && n.RedirectToURL != nil && validURL(n.RedirectToURL.URL, plain) {
		r.State = connector.ActionRequired
		r.Action = &payment.NextAction{
			Type: payment.ActionRedirect, URL: n.RedirectToURL.URL, Method: http.MethodGet,
		}
		return
	}
	code := statusNeedsAction
	if pi.NextAction != nil && pi.NextAction.Type != "" {
		code = pi.NextAction.Type
	}
	// Whoever has the payer's browser may bring it to an end all the same.
	r.State, r.Payable, r.Unattended = connector.Declined, true, true
	r.Failure = payment.FailPSP(payment.AuthenticationRequired, code, "")
}

func validURL(s string, plain bool) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= maxURL && u.Host != "" && u.User == nil &&
		(u.Scheme == "https" || (plain && u.Scheme == "http"))
}

// totals is the PaymentIntent's view of the whole charge. What was refunded
// stands in the charge alone: it is 0 where that is not expanded, and never
// more than the truth.
func (pi *intent) totals() (connector.Charge, error) {
	amount, err := money(pi.Amount, pi.Currency)
	if err != nil {
		return connector.Charge{}, err
	}
	ch := connector.Charge{
		PSPReference: pi.ID, Reference: ours(pi.Metadata), Amount: amount, Livemode: pi.Livemode,
	}
	received, errReceived := money(pi.AmountReceived, pi.Currency)
	capturable, errCapturable := money(pi.AmountCapturable, pi.Currency)
	switch pi.Status {
	case statusNeedsCapture:
		if errReceived != nil || errCapturable != nil {
			return connector.Charge{}, errors.New("an authorization without amount_capturable and amount_received")
		}
		ch.Captured = received.Minor
		ch.Authorized = received.Minor + capturable.Minor
		ch.MultiCapture = pi.LatestCharge.multiCapture()
	case statusSucceeded:
		if errReceived != nil || received.Minor == 0 {
			return connector.Charge{}, errors.New("succeeded without amount_received")
		}
		ch.Captured = received.Minor
		ch.Authorized = max(amount.Minor, received.Minor)
		ch.Released = true
	case statusCanceled:
		ch.Released = true
		if errReceived == nil {
			ch.Captured, ch.Authorized = received.Minor, received.Minor
		}
	}
	if err := pi.LatestCharge.enrich(&ch); err != nil {
		return connector.Charge{}, err
	}
	if ch.Authorized > payment.MaxMinor {
		return connector.Charge{}, errors.New("more authorized than there can be")
	}
	return ch, nil
}

// enrich adds to a PaymentIntent's totals what its charge tells.
func (l latest) enrich(ch *connector.Charge) error {
	c := l.stripeCharge
	if c == nil || ch.Authorized == 0 && !ch.Released {
		return nil
	}
	if err := object(c.ID, c.Object, "charge"); err != nil {
		return err
	}
	own, err := c.totals()
	switch {
	case err != nil:
		return err
	case own.Amount.Currency != ch.Amount.Currency:
		return errors.New("the charge is in another currency than its PaymentIntent")
	case c.Status != "succeeded": // a failed try before the PaymentIntent was canceled
		return nil
	}
	if ch.Captured == 0 && ch.Released { // canceled: the charge still tells what was held
		ch.Authorized = max(ch.Authorized, own.Authorized)
	}
	ch.Refunded = min(own.Refunded, ch.Captured)
	return nil
}

func (l latest) card() *cardDetails {
	if l.stripeCharge == nil || l.Details == nil {
		return nil
	}
	return l.Details.Card
}

func (l latest) multiCapture() bool {
	card := l.card()
	return card != nil && card.Multicapture != nil && card.Multicapture.Status == "available"
}

// describe adds what the charge tells of the card and of the hold. None of it
// decides about money, so what is malformed is left out.
func (l latest) describe(r *connector.Result) {
	card := l.card()
	if card == nil {
		return
	}
	r.Card = card.summary()
	if at := card.CaptureBefore; at > 0 && at < maxTime {
		r.CaptureBefore = time.Unix(at, 0).UTC()
	}
	if id := card.NetworkTransactionID; len(id) <= maxNetworkID && printable(id) {
		r.NetworkTransactionID = id
	}
}

// maxTime is the start of the year 2100.
const maxTime = 4_102_444_800

// summary is what may be stored and shown of a card.
func (c *cardDetails) summary() *payment.MethodSummary {
	if c == nil {
		return nil
	}
	m := &payment.MethodSummary{Type: payment.MethodCard}
	if len(c.Brand) <= maxBrand && strings.Trim(c.Brand, "abcdefghijklmnopqrstuvwxyz_") == "" {
		m.Brand = c.Brand
	}
	if len(c.Last4) == 4 && strings.Trim(c.Last4, "0123456789") == "" {
		m.Last4 = c.Last4
	}
	if c.ExpMonth >= 1 && c.ExpMonth <= 12 && c.ExpYear >= 2000 && c.ExpYear < 2100 {
		m.ExpMonth, m.ExpYear = c.ExpMonth, c.ExpYear
	}
	return m
}

// printable tells visible ASCII.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
