package stripesim

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

const authenticationFailure = "payment_intent_authentication_failure"

// challenge makes the payer pass 3-D Secure first.
func (c *call) challenge(charge books.Charge) (document, error) {
	id := c.d.b.ID("chl_", 24)
	c.d.b.Ask(books.Challenge{
		ID: id, Connector: Connector, Kind: "3ds", PSPReference: charge.PSPReference, Reference: charge.Reference,
		URL: c.base + "/challenge/" + id, ReturnURL: charge.ReturnURL,
	})
	charge, err := c.change(charge.PSPReference, func(p *books.Charge) error {
		p.Status, p.Challenge = payment.RequiresAction, id
		return nil
	})
	if err != nil {
		return document{}, err
	}
	c.d.emit(c.op, "payment_intent.requires_action", &charge, "")
	return c.intent(&charge), nil
}

// Resolve plays out the payer's decision: the card is charged, or the attempt
// has failed. A challenge decides once; [books.ErrState] says that it has.
func (d *Dialect) Resolve(id string, succeed bool) error {
	ch, err := d.b.Decide(id, succeed)
	if err != nil {
		return err
	}
	charge, err := d.b.Get(Connector, "", ch.PSPReference)
	if err != nil {
		return err
	}
	if charge.Status != payment.RequiresAction || charge.Challenge != id {
		return books.ErrState // canceled meanwhile
	}
	if !succeed {
		charge, err = d.b.Update(Connector, "", ch.PSPReference, func(p *books.Charge) error {
			if p.Status != payment.RequiresAction {
				return books.ErrState
			}
			return p.Decline(books.Failure{
				Code:    authenticationFailure,
				Message: "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new PaymentMethod to attempt to fulfill this PaymentIntent again.",
			})
		})
		if err == nil {
			d.emit(books.OpAuthorize, "payment_intent.payment_failed", &charge, "")
		}
		return err
	}
	card, ok := books.FindCard(charge.Card)
	if !ok {
		return books.ErrNotFound
	}
	charge, err = d.b.Update(Connector, "", ch.PSPReference, func(p *books.Charge) error {
		if p.Status != payment.RequiresAction {
			return books.ErrState
		}
		p.Authenticated = true
		return nil
	})
	if err != nil {
		return err
	}
	_, err = d.finish(books.OpAuthorize, &charge, card, card.After)
	return err
}

// Pay plays a payer who passes the challenge of a charge.
func (d *Dialect) Pay(reference string) error {
	ch, err := d.b.FindChallenge(reference)
	if err != nil {
		return err
	}
	if ch.Connector != Connector {
		return books.ErrNotFound
	}
	return d.Resolve(ch.ID, true)
}

// challengePage shows the page of a payer's bank, and takes the decision.
func (d *Dialect) challengePage(w http.ResponseWriter, r *http.Request, id string) {
	ch, ok := d.b.Challenge(id)
	if !ok || ch.Connector != Connector {
		http.NotFound(w, r)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		d.b.Page(w, pageOf(d, ch))
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		err := d.Resolve(ch.ID, r.PostFormValue("result") == books.ResultSucceed)
		if err != nil && !errors.Is(err, books.ErrState) {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		d.sendBack(w, r, ch)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

func pageOf(d *Dialect, ch books.Challenge) books.PageText {
	p := books.PageText{
		Title: "3-D Secure", Lead: "A payment asks for the card holder's approval.",
		Approve: "Approve", Refuse: "Decline", Closed: ch.Result != "",
	}
	if c, err := d.b.Get(Connector, "", ch.PSPReference); err == nil {
		p.Amount = payment.Money{Minor: c.Amount, Currency: c.Currency}.String()
		p.Note = c.Description
	}
	return p
}

// sendBack takes the browser to the merchant, with what Stripe puts into the
// query.
func (d *Dialect) sendBack(w http.ResponseWriter, r *http.Request, ch books.Challenge) {
	c, err := d.b.Get(Connector, "", ch.PSPReference)
	u, bad := url.Parse(c.ReturnURL)
	if err != nil || bad != nil || c.ReturnURL == "" {
		d.b.Page(w, books.PageText{Title: "3-D Secure", Lead: "Done. This page can be closed.", Closed: true})
		return
	}
	status := "failed"
	switch c.Status {
	case payment.Succeeded, payment.RequiresCapture:
		status = "succeeded"
	case payment.Processing, payment.RequiresAction:
		status = "pending"
	default:
	}
	q := u.Query()
	q.Set("payment_intent", c.PSPReference)
	q.Set("payment_intent_client_secret", c.Secret)
	q.Set("redirect_status", status)
	q.Set("source_type", "card")
	u.RawQuery = q.Encode()
	http.Redirect(w, r, u.String(), http.StatusSeeOther)
}
