package adyensim

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// resultPrefix makes a challenge's ID a redirectResult.
const resultPrefix = "X6Xtf"

// challenge sends the payer to 3-D Secure first.
func (c *call) challenge(charge *books.Charge) (answer, error) {
	id := c.d.b.ID("chl", 24)
	c.d.b.Ask(books.Challenge{
		ID: id, Connector: Connector, Kind: "3ds", PSPReference: charge.PSPReference, Reference: charge.Reference,
		URL: c.base + "/challenge/" + id, ReturnURL: charge.ReturnURL,
	})
	if _, err := c.d.b.Update(Connector, "", charge.PSPReference, func(p *books.Charge) error {
		p.Status, p.Challenge = payment.RequiresAction, id
		return nil
	}); err != nil {
		return answer{}, err
	}
	where := c.base + "/challenge/" + id
	return answer{http.StatusOK, func(int64) []byte {
		o := books.NewDocument(512).Text("resultCode", "RedirectShopper").Open("action")
		o.Text("paymentMethodType", "scheme").Text("type", "redirect").Text("method", http.MethodGet).Text("url", where)
		return o.Close().Bytes()
	}}, nil
}

// details is POST /payments/details: the payer is back. Handed in twice, other
// than under one Idempotency-Key, it is refused.
func (c *call) details() (answer, error) {
	id, ok := strings.CutPrefix(c.Details.RedirectResult, resultPrefix)
	ch, known := c.d.b.Challenge(id)
	if !ok || !known || ch.Connector != Connector {
		return answer{}, invalid("5_001", "Invalid redirectResult")
	}
	if ch.Result == "" {
		return answer{}, invalid("5_002", "The shopper has not completed the authentication")
	}
	c.executed = true
	charge, err := c.d.b.Update(Connector, "", ch.PSPReference, func(p *books.Charge) error {
		if p.Seen {
			return books.ErrDuplicate
		}
		p.Seen = true
		return nil
	})
	if errors.Is(err, books.ErrDuplicate) {
		return answer{}, errProcessed
	}
	if err != nil {
		return answer{}, err
	}
	c.d.returned(charge.PSPReference)
	if charge, err = c.d.b.Get(Connector, "", ch.PSPReference); err != nil {
		return answer{}, err
	}
	return result(charge), nil
}

// returned authorizes, or refuses, after the payer's decision. It does nothing
// where that has been done, or the payment was canceled meanwhile.
func (d *Dialect) returned(psp string) {
	charge, err := d.b.Get(Connector, "", psp)
	if err != nil {
		return
	}
	ch, ok := d.b.Challenge(charge.Challenge)
	if !ok || ch.Result == "" {
		return
	}
	refused := ""
	if ch.Result == books.ResultFail {
		refused = notAuthenticated
	} else if card, ok := books.FindCard(charge.Card); ok && card.After != nil {
		refused = "DECLINED"
	}
	_, _ = d.finish(psp, refused) // an error says that it is finished
}

// Resolve plays the payer's decision. Adyen learns the rest when the payer is
// back, or, where nobody hands in the details, by itself a little later.
func (d *Dialect) Resolve(id string, succeed bool) error {
	ch, err := d.b.Decide(id, succeed)
	if err != nil {
		return err
	}
	d.b.Later(d.b.Settle(), books.Task{Connector: Connector, Charge: ch.PSPReference, What: taskFinish})
	return nil
}

// Pay plays a payer who passes the challenge of a payment.
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
		p := books.PageText{
			Title: "3-D Secure", Lead: "A payment asks for the card holder's approval.",
			Approve: "Approve", Refuse: "Decline", Closed: ch.Result != "",
		}
		if c, err := d.b.Get(Connector, "", ch.PSPReference); err == nil {
			p.Amount = payment.Money{Minor: c.Amount, Currency: c.Currency}.String()
		}
		d.b.Page(w, p)
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

// Result is what the browser brings back for a challenge, as redirectResult.
func Result(challenge string) string { return resultPrefix + challenge }

func (d *Dialect) sendBack(w http.ResponseWriter, r *http.Request, ch books.Challenge) {
	u, err := url.Parse(ch.ReturnURL)
	if err != nil {
		d.b.Page(w, books.PageText{Title: "3-D Secure", Lead: "Done. This page can be closed.", Closed: true})
		return
	}
	q := u.Query()
	q.Set("redirectResult", Result(ch.ID))
	u.RawQuery = q.Encode()
	http.Redirect(w, r, u.String(), http.StatusSeeOther)
}
